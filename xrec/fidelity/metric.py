"""What a fidelity metric is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from xrec.fidelity.removal import Removal
from xrec.types import Doubles, Metric


@dataclass(frozen=True)
class Measured:
    """One metric's values per case [B]; NaN where a case is left out. `k`, `step` and `variant` where they apply.

    variant: 'normalised' by the history's effect; 'discrete', after exactly `step` players, or both
    ('discrete_normalised'); 'curve', normalised, at the share `step`.
    """

    metric: str
    values: Doubles
    k: int | None = None
    step: float | None = None
    variant: str | None = None

    @property
    def key(self) -> Key:
        return self.metric, self.variant, self.k, self.step


#: metric, variant, k, step: what tells the values of one attribution apart
Key = tuple[str, str | None, int | None, float | None]


class FidelityMetric(ABC):
    """A family of metrics measured on one attribution. Each is declared in `metrics`, with its direction."""

    metrics: tuple[Metric, ...]

    @abstractmethod
    def measure(self, removal: Removal) -> list[Measured]:
        """Values per case."""
