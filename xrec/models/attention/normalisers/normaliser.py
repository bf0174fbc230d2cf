"""The seam of the attentions: logits s of history items in, gates g out, so that score = sum_j p_j g_j V_j."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor


class Normaliser(ABC):
    """Gates depend on presence p such that an item at p = 0 is as if it were not there.

    linear: a gate depends on its own logit alone, so that the score is linear in presence and an item's contribution is
    what deleting it takes away. weighted_mean: a gate is its share of exp(logit) among what is there.
    """

    linear: bool = False
    weighted_mean: bool = False

    @abstractmethod
    def gates(self, logits: Tensor, presence: Tensor) -> Tensor:
        """[..., L, T] of one copy, what its presence is yet to be multiplied with: logits [..., L, T], -inf for
        padding, presence [..., L, T] or [..., L, 1]. Finite, also of what is absent."""

    @abstractmethod
    def scores(self, logits: Tensor, value: Tensor) -> Callable[[Tensor], Tensor]:
        """presence [B, M, L] -> [B, M, T] of masked copies, summed over heads; 0 for an empty one. logits [B, H, L, T]
        or, shared by all targets, [B, H, L, 1], -inf for padding; value [B, H, L, T]."""
