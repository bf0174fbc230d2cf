"""Popularity: the number of distinct users who bought an item, over all training periods or the latest ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.models.recommender import AdditiveRecommender, Capabilities, Context, FitData
from xrec.types import Catalogue


class Popularity(AdditiveRecommender):
    """score(u, i) = number of distinct users of item i. The history plays no part, so every contribution is 0.

    Args:
        periods: count only the latest `periods` training periods; None counts all of them.
    """

    capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True)

    def __init__(self, catalogue: Catalogue, periods: int | None = None) -> None:
        super().__init__()
        if periods is not None and periods < 1:
            raise SettingError(f"popularity: periods must be at least 1 or null, got {periods}")
        self.n_items = catalogue.n_items
        self.periods = periods
        self.counts: Tensor
        self.register_buffer("counts", torch.zeros(catalogue.n_items))

    def fit(self, data: FitData) -> None:
        end = data.dataset.train_end
        targets = data.dataset.targets(0 if self.periods is None else end - self.periods + 1, end)
        counts = np.bincount(targets.item, minlength=self.n_items).astype(np.float32)
        self.counts = torch.from_numpy(counts).to(data.device)

    def prior(self, context: Context, targets: Tensor | None) -> Tensor:
        return self.counts.unsqueeze(0) if targets is None else self.counts[targets]

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        shape = (*context.history.item.shape, self.n_items if targets is None else targets.shape[1])
        return self.counts.new_zeros(1).expand(shape)
