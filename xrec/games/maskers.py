"""What 'absent' means. A masker turns players present [B, M, P] into presence."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Masker(Protocol):
    name: str

    def presence(self, present: Tensor) -> Tensor:
        """Channels present [B, M, L] in [0, 1] -> presence that the model sees."""
        ...


class Zero:
    """An absent item has presence 0: as if it had never been bought."""

    name = "zero"

    def presence(self, present: Tensor) -> Tensor:
        return present
