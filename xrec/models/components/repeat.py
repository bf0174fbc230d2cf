"""Repeat features: what a history item adds to its own score, by how often and how lately it was bought."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from xrec.models.component import Component
from xrec.models.history import History, at_own_item
from xrec.models.item_statistics import N_STATISTICS
from xrec.models.recommender import Capabilities, Context, FitData
from xrec.types import HALF_LIVES, Catalogue


class Repeat(Component):
    """What a history item adds to its own score: a linear map and a small net on recency and frequency of the pair.

    Depends on nothing but the pair's own channels and the item's statistics, so it is exactly additive.

    Args:
        hidden: widths of the net's two hidden layers.
    """

    capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True)
    linear = True
    group = "wide"
    sees_targets = "every target of a profile is an item of the history, which is all that it looks at"

    def __init__(self, catalogue: Catalogue, embedding_size: int, hidden: tuple[int, int] = (48, 24)) -> None:
        super().__init__()
        self.n_items = catalogue.n_items
        n_inputs = _N_PAIR_FEATURES + N_STATISTICS
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
        self.register_buffer("mean", torch.zeros(_N_PAIR_FEATURES))
        self.register_buffer("deviation", torch.ones(_N_PAIR_FEATURES))

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
        return (self.direct(inputs) + self.net(inputs)).squeeze(-1) * history.presence

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        present = context.presence(presence)
        if targets is not None:
            return present @ self.contributions(context, targets)
        item = context.history.item
        own = self.own(context.history, context.tables["statistics"]).unsqueeze(1) * present
        nothing = own.new_zeros(*own.shape[:2], self.n_items)
        return nothing.scatter_add(2, item.unsqueeze(1).expand_as(own), own)

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        own = self.own(context.history, context.tables["statistics"])
        return at_own_item(context.history.item, own, targets, self.n_items)


_N_PAIR_FEATURES = 10 + len(HALF_LIVES)


def pair_features(history: History) -> Tensor:
    """[B, L, 16] recency and frequency of each (user, item): logs of baskets, periods, age, first age and mean gap;
    due = age / (mean gap + 1); rate; single purchase; two recency kernels; log decayed baskets."""
    age, first, times = history.age, history.first_age, history.n_periods
    gap = torch.where(times > 1, (first - age) / (times - 1).clamp_min(1), 0.0)
    due = torch.where(times > 1, age / (gap + 1), 0.0).clamp(0, 5)
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
