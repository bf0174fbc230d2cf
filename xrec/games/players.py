"""What is explained: which players a history has, and which channels each of them holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from xrec.models.history import History


class Players(Protocol):
    """Sparse players x channels."""

    name: str

    def ids(self, history: History, item_ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """External ids of each history's players."""
        ...

    def expand(self, masks: Tensor) -> Tensor:
        """Players present [B, M, P] -> channels present [B, M, L], differentiable."""
        ...


class Items:
    """Every history item is a player."""

    name = "items"

    def ids(self, history: History, item_ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        lengths = history.presence.sum(1).long().tolist()
        rows: list[list[int]] = history.item.tolist()
        return tuple(tuple(item_ids[i] for i in row[:n]) for row, n in zip(rows, lengths, strict=True))

    def expand(self, masks: Tensor) -> Tensor:
        return masks
