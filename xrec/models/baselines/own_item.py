"""Recommenders in which a history item speaks for itself only."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from xrec.models.history import History, at_own_item, summed_at_items
from xrec.models.recommender import AdditiveRecommender, Context


class OwnItem(AdditiveRecommender):
    """score(u, i) = prior(i) + what i adds to itself where it is in the history."""

    @abstractmethod
    def own(self, history: History) -> Tensor:
        """[B, L] what each history item adds to its own score while it is there; 0 for padding."""

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        return at_own_item(context.history.item, self._own(context), targets, self.n_items)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        if targets is not None:
            return super().score(context, presence, targets)
        added = context.presence(presence) * self._own(context).unsqueeze(1)  # no [B, L, I] table is needed
        own = summed_at_items(context.history.item.unsqueeze(1), added, self.n_items)
        return self.prior(context, None).unsqueeze(-2) + own

    def _own(self, context: Context) -> Tensor:
        """`own`, kept: the same for every masked copy."""
        if "own" not in context.tables:
            context.tables["own"] = self.own(context.history)
        return context.tables["own"]
