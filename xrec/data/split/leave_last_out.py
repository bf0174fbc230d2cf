"""Leave the last event of every user out for the test, the one before it for validation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import Step
from xrec.data.split.base import Assigned
from xrec.data.split.merge import ASSIGNED_COLUMNS, first_of_pairs, in_time_order, merge_simultaneous, step, user_runs
from xrec.data.split.settings import choice, whole


@dataclass(frozen=True)
class LeaveLastOutSplit:
    """Fit on x[:-2], validate on x[-2] with x[:-2] as history, test on x[-1] with x[:-1] as history (Kang and McAuley,
    SASRec, 2018).

    A user's events stand in time order, ties in the order of the given rows. The last one gets period T, the one before
    it T - 1, and so on, so that ages count events; train_end = T - 2, validation is period T - 1, test is period T. T
    is the smallest number that lets every period be >= 0: the longest history - 1 (or, when a user who only trains has
    a longer one than that allows, that history + 1).

    Nobody is dropped: users of fewer than `min_events` events only train. Their last event gets period T - 2.

    Args:
        min_events: of a user who has targets.
        repeats: 'keep' gives every event of a repeated item its place; 'drop' keeps a user's first event of an item
            (the rest is counted in the step "repeats").
    Raises:
        DataError: settings out of range.
    """

    min_events: int = 3
    repeats: str = "keep"
    name: ClassVar[str] = "leave_last_out"

    def __post_init__(self) -> None:
        whole("min_events", self.min_events, 3, " (one event each for training, validation and test)")
        choice("repeats", self.repeats, ("keep", "drop"))

    def key(self) -> dict[str, Any]:
        """What the cache must know of this split."""
        return {"kind": "leave_last_out", **asdict(self)}

    def assign(self, events: pl.DataFrame) -> Assigned:
        """See `Split.assign`.

        Raises:
            DataError: no user has `min_events` events.
        """
        ordered, steps = merge_simultaneous(in_time_order(events))
        if self.repeats == "drop":
            ordered, dropped = _first_of_items(ordered)
            steps += dropped
        place, length = user_runs(ordered)
        long = length >= self.min_events
        if not long.any():
            longest = int(length.max(initial=0))
            raise DataError(
                f"split: no user has split.min_events={self.min_events} events (the longest history has {longest}); "
                "lower split.min_events, or data.clean leaves too little"
            )
        last = max(int(length[long].max()) - 1, int(length[~long].max(initial=0)) + 1)
        period = last - (length - 1 - place) - np.where(long, 0, 2)
        short = int((place[~long] == 0).sum())
        users = "user" if short == 1 else "users"
        return Assigned(
            ordered.with_columns(period=pl.Series(period)).select(ASSIGNED_COLUMNS),
            train_end=last - 2,
            parts={"validation": (last - 1, last - 1), "test": (last, last)},
            steps=steps,
            note=f"{short} {users} of fewer than {self.min_events} events only train" if short else "",
            promises=("user_order", "last_out"),
        )


def _first_of_items(events: pl.DataFrame) -> tuple[pl.DataFrame, list[Step]]:
    """Each user's first event of every item; events stand in time order."""
    kept = events.filter(pl.Series(first_of_pairs(events)))
    if kept.height == events.height:
        return events, []
    return kept, [step("repeats", "events of an item that the user had before (split.repeats=drop)", kept)]
