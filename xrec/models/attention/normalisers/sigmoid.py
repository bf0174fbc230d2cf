"""Gates that know nothing of each other: deleting an item changes the score by exactly its term."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from xrec.models.attention.normalisers.normaliser import Normaliser


class Sigmoid(Normaliser):
    """g_j = sigmoid(s_j)"""

    linear = True

    def gates(self, logits: Tensor, presence: Tensor) -> Tensor:
        return logits.sigmoid()

    def scores(self, logits: Tensor, value: Tensor) -> Callable[[Tensor], Tensor]:
        table = (logits.sigmoid() * value).sum(1)  # one table serves all heads and copies
        return lambda presence: presence @ table
