"""Comprehensiveness and sufficiency (DeYoung et al., ACL 2020)."""

from __future__ import annotations

from xrec.errors import SettingError
from xrec.fidelity.metric import FidelityMetric, Measured
from xrec.fidelity.removal import Removal, mean_over, step_sizes
from xrec.types import Metric


class Eraser(FidelityMetric):
    """Mean over the shares r of f(x) - f(x without the top r), and of f(x) - f(only the top r).

    Args:
        shares: of the players, each in (0, 1).
    """

    metrics = (
        Metric(
            "comprehensiveness",
            "Comprehensiveness",
            "higher",
            ".3f",
            "f(x) - f(x without r), r the most supportive players up to each share; mean (ERASER).",
            family="scores",
            headline=True,
        ),
        Metric(
            "sufficiency",
            "Sufficiency",
            "lower",
            ".3f",
            "f(x) - f(only r), r the most supportive players up to each share; mean (ERASER).",
            family="scores",
            headline=True,
        ),
    )

    def __init__(self, shares: list[float]) -> None:
        if not shares or not all(0 < s < 1 for s in shares):
            raise SettingError(f"fidelity.eraser.shares must lie in (0, 1), got {list(shares)}")
        self.shares = tuple(sorted(shares))

    def measure(self, removal: Removal) -> list[Measured]:
        sizes, fresh = step_sizes(removal.n_players, self.shares)
        whole, scale = removal.whole[:, None], removal.scale()
        lost = mean_over(whole - removal.game.values(removal.without_top(sizes)), fresh)
        missing = mean_over(whole - removal.game.values(removal.only_top(sizes)), fresh)
        return [
            Measured("comprehensiveness", lost),
            Measured("sufficiency", missing),
            Measured("comprehensiveness", lost / scale, variant="normalised"),
            Measured("sufficiency", missing / scale, variant="normalised"),
        ]
