"""Gates that share out a weight of 1: deleting an item re-weighs the rest."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from xrec.models.attention.normalisers.normaliser import Normaliser
from xrec.models.attention.present_softmax import PresentMean, present_gates


class Softmax(Normaliser):
    """g_j = exp(s_j) / sum_k p_k exp(s_k)"""

    weighted_mean = True

    def gates(self, logits: Tensor, presence: Tensor) -> Tensor:
        return present_gates(logits, presence, dim=-2)

    def scores(self, logits: Tensor, value: Tensor) -> Callable[[Tensor], Tensor]:
        mean = PresentMean(logits, value)
        return lambda presence: mean(presence.unsqueeze(1)).sum(1)
