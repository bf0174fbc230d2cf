"""The split that suits the data: its own conventional cut, a calendar cut by shares, or each user's last events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import ALL_KINDS
from xrec.data.split.assigned import Assigned
from xrec.data.split.leave_last_out import LeaveLastOutSplit
from xrec.data.split.temporal import TemporalSplit
from xrec.words import did_you_mean

_ENDS = ("train", "validation", "test")


@dataclass(frozen=True)
class AutoSplit:
    """Settles to `TemporalSplit` at `ends` where the data set has a cut of its own and no share is asked for; to
    `LeaveLastOutSplit` where times count each user's own events (by baskets, where several events share a time); else,
    with dates or whole numbers that everyone shares, to `TemporalSplit` by shares.

    Args:
        validation, test: shares of the events that are to be predicted; None: the cut of the data set, or .1.
        ends: the last periods of the data set's own cut: train, validation and test, and `period` of dates.
    Raises:
        DataError: shares or ends out of range.
    """

    validation: float | None = None
    test: float | None = None
    ends: Mapping[str, Any] | None = None
    name: ClassVar[str] = "auto"
    cold_items: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in self.ends or ():
            if name not in (*_ENDS, "period"):
                hint = did_you_mean(str(name), _ENDS)
                raise DataError(f"data.ends.{name}: takes train, validation, test and period{hint}")
        for name in _ENDS if self.ends is not None else ():
            if self.ends.get(name) is None:  # type: ignore[union-attr]
                raise DataError(f"data.ends.{name} is missing; give the last period of each part, or data.ends=null")
        self._temporal()

    def key(self) -> dict[str, Any]:
        """What the cache must know of this split."""
        return {"kind": "auto", **asdict(self)}

    def at_once(self) -> TemporalSplit | None:
        """See `Unsettled`."""
        return self._temporal().at_once()

    def look(self, events: pl.DataFrame, n_targets: int, own_counter: bool) -> dict[str, Any]:
        """See `Unsettled`."""
        if not own_counter:
            return self._temporal().look(events, n_targets, own_counter)
        if self.validation is not None or self.test is not None:
            raise DataError(
                "split: times count each user's own events, so each user's last event is held out and shares say "
                "nothing; leave split.validation and split.test out, or take split=user_holdout or split=random"
            )
        shared = events.select(pl.struct("user", "time").n_unique()).item() < events.height
        what = "basket" if shared else "event"
        words = (
            f"leave-last-out, of each user the last {what} (times count each user's own {what}s; if they are a "
            "calendar that users share: split=temporal)"
        )
        return {"own_counter": True, "baskets": shared, "words": words}

    def settle(self, found: dict[str, Any]) -> TemporalSplit | LeaveLastOutSplit:
        """See `Unsettled`."""
        if found.get("own_counter"):
            return LeaveLastOutSplit(unit="basket") if found["baskets"] else LeaveLastOutSplit()
        return self._temporal().settle(found)

    def assign(self, events: pl.DataFrame, n_targets: int = ALL_KINDS) -> Assigned:
        """Of the settled split, for times that everyone shares."""
        settled = self.at_once() or self.settle(self.look(events, n_targets, own_counter=False))
        return settled.assign(events, n_targets)

    def _temporal(self) -> TemporalSplit:
        if self.ends is None or self.validation is not None or self.test is not None:
            return TemporalSplit(validation=self.validation, test=self.test)
        train, validation, test = (self.ends[name] for name in _ENDS)
        return TemporalSplit(train, validation, test, self.ends.get("period"))
