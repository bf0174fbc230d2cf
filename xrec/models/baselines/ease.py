"""EASE (Steck, WWW 2019) on binary histories: score(u, i) = sum over history items j of B[j, i]. Items without an
event of a kind that is to be predicted (seen, not bought) are no part of either."""

from __future__ import annotations

from torch import Tensor

from xrec.errors import SettingError
from xrec.models.closed_form import fitted_weights, gathered, summed_rows
from xrec.models.recommender import AdditiveRecommender, Context, FitData
from xrec.types import Catalogue


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
