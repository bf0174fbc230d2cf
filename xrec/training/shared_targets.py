"""Sampled softmax with targets that all examples of a step share: each example's positives, and negatives drawn half by
popularity, half uniformly, with the correction of Bengio and Senecal (2008), known as log-q: a drawn negative stands
for 1 / (n q) items, so that the sum over the catalogue is estimated without bias.

One matrix product scores all examples, where targets of their own would gather [B, T, d] features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from xrec.errors import SettingError
from xrec.types import Doubles, Floats, Ints


@dataclass(frozen=True)
class Negatives:
    """Distinct items drawn, and the log [N] of the number of items that each stands for."""

    item: Ints
    log_weight: Floats


@dataclass(frozen=True)
class NegativeSampler:
    """q = share * popularity + (1 - share) * uniform over the items that training may touch.

    Args:
        count: [n_items] training events of each item. warm: the items that may be drawn.
    Raises:
        SettingError: a share outside [0, 1), or no draws.
    """

    count: Doubles
    warm: Ints
    n_draws: int
    popularity_share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.popularity_share < 1:
            raise SettingError(f"training.popularity_share must be in [0, 1), got {self.popularity_share}")
        if self.n_draws < 1:
            raise SettingError(f"training.n_negatives must be at least 1, got {self.n_draws}")

    @property
    def q(self) -> Doubles:
        """[n_warm], sums to 1."""
        count = self.count[self.warm]
        uniform = np.full(len(self.warm), 1.0 / len(self.warm))
        popular = count / count.sum() if count.sum() else uniform
        return self.popularity_share * popular + (1 - self.popularity_share) * uniform

    def draw(self, generator: torch.Generator) -> Negatives:
        """n_draws with replacement; an item drawn c times stands for c / (n q) items."""
        q = self.q
        places = torch.rand(self.n_draws, generator=generator, dtype=torch.float64).numpy()
        found, times = np.unique(np.searchsorted(np.cumsum(q), places).clip(max=len(q) - 1), return_counts=True)
        return Negatives(self.warm[found], np.log(times / (self.n_draws * q[found])).astype(np.float32))


def shared_targets(positive: Ints, negatives: Negatives) -> tuple[Ints, Floats, Floats]:
    """Targets [T], labels and log weights [N, T] (see `losses.reconstruction`) of examples with one positive item
    [N] each: it stands for itself, negatives for what was not drawn; other examples' positives are not there.
    """
    item, place = np.unique(np.concatenate([negatives.item, positive]), return_inverse=True)
    drawn = np.full(len(item), -math.inf, dtype=np.float32)
    drawn[place[: len(negatives.item)]] = negatives.log_weight
    labels, log_weight = np.zeros((len(positive), len(item)), dtype=np.float32), np.tile(drawn, (len(positive), 1))
    example, own = np.arange(len(positive)), place[len(negatives.item) :]
    labels[example, own], log_weight[example, own] = 1.0, 0.0
    return item, labels, log_weight
