"""Global temporal split: everyone's events are cut at the same dates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from xrec.data.errors import DataError


@dataclass(frozen=True)
class TemporalSplit:
    """Periods <= train_end train; train_end + 1 .. validation_end validate; validation_end + 1 .. test_end test.

    A validation history ends before the first validation period, a test history before the first test period.
    """

    train_end: int
    validation_end: int
    test_end: int

    def __post_init__(self) -> None:
        if not self.train_end < self.validation_end < self.test_end:
            raise DataError(
                f"split: needs train_end < validation_end < test_end, got {self.train_end}, "
                f"{self.validation_end}, {self.test_end}"
            )

    def period(self, part: str) -> tuple[int, int]:
        """(first, last) period of a part.

        Raises:
            DataError: unknown part.
        """
        parts = {
            "validation": (self.train_end + 1, self.validation_end),
            "test": (self.validation_end + 1, self.test_end),
        }
        if part not in parts:
            raise DataError(f"split: no part {part!r}; parts are {', '.join(parts)}")
        return parts[part]

    def key(self) -> dict[str, Any]:
        """What the cache must know of this split."""
        return {"kind": "temporal", **asdict(self)}
