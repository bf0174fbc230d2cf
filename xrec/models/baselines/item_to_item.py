"""Recommenders that are one item-to-item matrix: score(u, i) = sum over history items j of amount_j weights[j, i]."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.models.closed_form import gathered, summed_rows
from xrec.models.history import History
from xrec.models.recommender import AdditiveRecommender, Context, FitData
from xrec.types import HALF_LIVES, Catalogue


class ItemToItem(AdditiveRecommender):
    """Items without an event of a kind that is to be predicted (seen, not bought) count nothing.

    Args:
        history_decay: the last event's item counts 1, and decay^(age - 1) at age periods; null: all count 1.
        half_life: an item counts log(1 + its events, halved every so many periods), one of `xrec.types.HALF_LIVES`;
            for calendars, where an item is bought again. null: not.
    Raises:
        SettingError: settings out of range, or both.
    """

    def __init__(
        self, catalogue: Catalogue, history_decay: float | None = None, half_life: float | None = None
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if history_decay is not None and not 0 < history_decay <= 1:
            raise SettingError(f"{name}: history_decay must be above 0 and at most 1, or null, got {history_decay}")
        if half_life is not None and half_life not in HALF_LIVES:
            raise SettingError(f"{name}: half_life must be one of {HALF_LIVES}, or null, got {half_life}")
        if history_decay is not None and half_life is not None:
            raise SettingError(f"{name}: history_decay and half_life are both given; set one of them to null")
        self.n_items = catalogue.n_items
        self.history_decay = history_decay
        self.channel = None if half_life is None else HALF_LIVES.index(half_life)
        self.weights: Tensor

    @abstractmethod
    def fitted(self, data: FitData) -> Tensor:
        """weights [I, I], from `data.cache`."""

    def attach(self, data: FitData) -> None:
        self.register_buffer("weights", self.fitted(data), persistent=False)

    def amounts(self, history: History) -> Tensor:
        """[B, L] how much each history item counts while it is there."""
        there = (history.presence > 0) * history.positive
        if self.history_decay is not None:
            return there * torch.pow(self.history_decay, (history.age - 1).clamp_min(0))  # padding has age 0
        return there if self.channel is None else there * history.decayed[..., self.channel].log1p()

    def prior(self, context: Context, targets: Tensor | None) -> Tensor:
        return self.weights.new_zeros(1, 1)

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        history = context.history
        return gathered(self.weights, history.item, targets) * self.amounts(history).unsqueeze(-1)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        if presence is None and targets is None:  # one copy: no [B, L, I] table is needed
            history = context.history
            amounts = self.amounts(history) * history.presence
            return summed_rows(self.weights, history.item, amounts).unsqueeze(1)
        return super().score(context, presence, targets)
