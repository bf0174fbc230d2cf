"""EASE (Steck, WWW 2019) on binary histories: score(u, i) = sum over history items j of B[j, i]. Items without an
event of a kind that is to be predicted (seen, not bought) are no part of either."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from xrec.errors import SettingError
from xrec.models.closed_form import ease_weights
from xrec.models.recommender import AdditiveRecommender, Context, FitData
from xrec.types import Catalogue


def fitted_weights(data: FitData, regularization: float, moment: int) -> Tensor:
    """B [I, I] fitted on the histories at `moment`; cached, and memory-mapped when it is."""
    dataset = data.dataset
    key = {"data": dataset.fingerprint, "regularization": regularization, "before": moment}

    def solve():
        table = dataset.histories(moment)
        return ease_weights(table, dataset.catalogue.n_items, regularization).numpy()

    return torch.from_numpy(data.cache.array("ease", key, solve)).to(data.device)


def gathered(weights: Tensor, items: Tensor, targets: Tensor | None) -> Tensor:
    """weights [I, I] at rows items [B, L] and columns targets [B, T] -> [B, L, T] (None: all columns)."""
    return weights[items] if targets is None else weights[items.unsqueeze(-1), targets.unsqueeze(1)]


class EASE(AdditiveRecommender):
    """Args:
    regularization: lambda of the ridge; larger shrinks more.
    """

    def __init__(self, catalogue: Catalogue, regularization: float = 500.0) -> None:
        super().__init__()
        if regularization <= 0:
            raise SettingError(f"ease: regularization must be above 0, got {regularization}")
        self.n_items = catalogue.n_items
        self.regularization = regularization
        self.weights: Tensor

    def attach(self, data: FitData) -> None:
        weights = fitted_weights(data, self.regularization, data.dataset.train_end + 1)
        self.register_buffer("weights", weights, persistent=False)

    def prior(self, context: Context, targets: Tensor | None) -> Tensor:
        return self.weights.new_zeros(1, 1)

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        history = context.history
        there = (history.presence > 0) * history.positive
        return gathered(self.weights, history.item, targets) * there.unsqueeze(-1)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        if presence is None and targets is None:  # one copy: no [B, L, I] table is needed
            history = context.history
            return summed_rows(self.weights, history.item, history.presence * history.positive).unsqueeze(1)
        return super().score(context, presence, targets)


def summed_rows(weights: Tensor, items: Tensor, amounts: Tensor) -> Tensor:
    """sum_j amounts[b, j] * weights[items[b, j]] -> [B, I], without gathering the rows."""
    if items.shape[1] == 0:  # embedding_bag refuses bags without a column
        return weights.new_zeros(len(items), weights.shape[1])
    return functional.embedding_bag(items, weights, mode="sum", per_sample_weights=amounts)
