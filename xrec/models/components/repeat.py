"""Repeat features: what a history item adds to its own score, by how often and how lately it was bought."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import SettingError
from xrec.models.component import Component
from xrec.models.history import History, at_own_item, summed_at_items
from xrec.models.item_statistics import N_STATISTICS
from xrec.models.recommender import Capabilities, Context, FitData
from xrec.types import HALF_LIVES, Catalogue


class Repeat(Component):
    """What a history item adds to its own score: a bias of the item, a linear map and a small net on recency and
    frequency of the pair and on the item's statistics.

    Depends on nothing but the pair's own channels and the item, so it is exactly additive under masking. Features that
    look at the rest of the history (a pair's share of all purchases, the user's activity) are left out for that reason:
    a masked history would not be a removed one. Its loss term `own_item_bias` is the mean of squared biases.

    Args:
        hidden: widths of the net's two hidden layers.
    Raises:
        SettingError: a width below 1, or not two of them.
    """

    capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True)
    linear = True
    sparse = True
    group = "wide"
    in_mixture = "factor"
    sees_targets = "every target of a profile is an item of the history, which is all that it looks at"
    term_names = ("own_item_bias",)

    def __init__(self, catalogue: Catalogue, embedding_size: int, hidden: tuple[int, int] = (48, 24)) -> None:
        super().__init__()
        if len(hidden) != 2 or min(hidden) < 1:
            raise SettingError(f"repeat: hidden takes two widths of at least 1, got {list(hidden)}")
        self.n_items = catalogue.n_items
        n_inputs = N_PAIR_FEATURES + N_STATISTICS
        self.bias = nn.Parameter(torch.zeros(catalogue.n_items))
        self.direct = nn.Linear(n_inputs, 1)
        self.net = nn.Sequential(
            nn.Linear(n_inputs, hidden[0]),
            nn.SiLU(),
            nn.Linear(hidden[0], hidden[1]),
            nn.SiLU(),
            nn.Linear(hidden[1], 1),
        )
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(N_PAIR_FEATURES))
        self.register_buffer("deviation", torch.ones(N_PAIR_FEATURES))

    def fit(self, data: FitData) -> None:
        """Standardise on the histories at the end of training."""
        table = data.dataset.histories(data.dataset.train_end + 1)
        if len(table.item):
            whole = replace(table, indptr=np.array([0, len(table.item)]))  # as one history, so that nothing is padded
            features = pair_features(History.from_table(whole, [0]))[0]
            self.mean.copy_(features.mean(0))
            self.deviation.copy_(features.std(0) + 1e-6)

    def own(self, history: History, statistics: Tensor) -> Tensor:
        """[B, L] contribution of each history item to itself as a target; 0 for padding."""
        pair = (pair_features(history) - self.mean) / self.deviation
        inputs = torch.cat([pair, statistics[history.item]], dim=-1)
        own = (self.direct(inputs) + self.net(inputs)).squeeze(-1) + self.bias[history.item]
        return own * history.presence

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        history = context.history
        own = self.own(history, context.tables["statistics"]).unsqueeze(1) * context.presence(presence)  # [B, M, L]
        if targets is None:
            return summed_at_items(history.item.unsqueeze(1), own, self.n_items)
        position = context.own_position(targets, self.n_items).unsqueeze(1).expand(-1, own.shape[1], -1)
        return functional.pad(own, (1, 0)).gather(2, position)

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        own = self.own(context.history, context.tables["statistics"])
        return at_own_item(context.history.item, own, targets, self.n_items)

    def item_terms(self, generator: torch.Generator, wanted: set[str]) -> dict[str, Tensor]:
        return {"own_item_bias": self.bias.square().mean()} if "own_item_bias" in wanted else {}


N_PAIR_FEATURES = 10 + len(HALF_LIVES)


def pair_features(history: History) -> Tensor:
    """[B, L, 16] recency and frequency of each (user, item): logs of baskets, periods, age, first age and mean gap;
    due = age / (mean gap + 1); rate; single purchase; two recency kernels; log decayed baskets."""
    age, first, times = history.age, history.first_age, history.n_periods
    gap, due = history.rhythm()
    columns = [
        history.strength.log1p(),
        times.log1p(),
        age.log1p(),
        first.log1p(),
        gap.log1p(),
        due,
        times / first.clamp_min(1),
        (times == 1).to(age.dtype),
        torch.exp(-age / 4),
        torch.exp(-age / 16),
    ]
    return torch.cat([torch.stack(columns, dim=-1), history.decayed.log1p()], dim=-1)
