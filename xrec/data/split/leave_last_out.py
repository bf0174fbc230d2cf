"""Leave the last event of every user out for the test, the one before it for validation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import ALL_KINDS, Step
from xrec.data.split.assigned import Assigned
from xrec.data.split.merge import (
    ASSIGNED_COLUMNS,
    first_of_pairs,
    in_time_order,
    merge_periods,
    merge_simultaneous,
    step,
    user_runs,
)
from xrec.data.split.settings import choice, whole
from xrec.types import Bools, Ints


@dataclass(frozen=True)
class LeaveLastOutSplit:
    """Fit on x[:-2], validate on x[-2] with x[:-2] as history, test on x[-1] with x[:-1] as history (Kang and McAuley,
    SASRec, 2018).

    A user's events stand in time order, ties in the order of the given rows. The last one gets period T, the one before
    it T - 1, and so on, so that ages count events; train_end = T - 2, validation is period T - 1, test is period T. T
    is the smallest number that lets every period be >= 0. Where only some kinds of events are to be predicted, x[-1]
    and x[-2] are the last two of those; events of other kinds between them get period T - 1, too, as history of the
    test, and events after x[-1] are dropped (step "after the last").

    No user is dropped: those of fewer than `min_events` events that are to be predicted only train. Their last event
    gets period T - 2.

    Args:
        min_events: of a user who has targets; only events of the kinds that are to be predicted count.
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

    def assign(self, events: pl.DataFrame, n_targets: int = ALL_KINDS) -> Assigned:
        """See `Split.assign`.

        Raises:
            DataError: no user has `min_events` events.
        """
        ordered, steps = merge_simultaneous(in_time_order(events))
        if self.repeats == "drop":
            ordered, dropped = _first_of_items(ordered)
            steps += dropped
        place, length = user_runs(ordered)
        wanted = ordered["kind"].to_numpy() < n_targets
        left, n_wanted = _to_come(wanted, place, length)
        long = n_wanted >= self.min_events
        if not long.any():
            longest = int(n_wanted.max(initial=0))
            raise DataError(
                f"split: no user has split.min_events={self.min_events} events (the longest history has {longest}); "
                "lower split.min_events, or data.clean leaves too little"
            )
        # the place that period T - 1 stands for: x[-2], or what would follow the last event of who only trains
        anchor = np.where(long, np.repeat(_places(place, long & wanted & (left == 2)), length[place == 0]), length)
        last = 1 + int(anchor.max())
        period = last - 1 - np.maximum(anchor - place, 0) + (long & wanted & (left == 1))
        timed = ordered.with_columns(period=pl.Series(period)).select(ASSIGNED_COLUMNS)
        late = long & (left == 0)
        if late.any():
            timed = timed.filter(pl.Series(~late))
            steps = [*steps, step("after the last", "after the user's last event that is to be predicted", timed)]
        timed, more = merge_periods(timed, among=(long & (left <= 2) & (period == last - 1))[~late])
        short = int((place[~long] == 0).sum())
        users = "user" if short == 1 else "users"
        return Assigned(
            timed,
            train_end=last - 2,
            parts={"validation": (last - 1, last - 1), "test": (last, last)},
            steps=[*steps, *more],
            note=f"{short} {users} of fewer than {self.min_events} events only train" if short else "",
            promises=("user_order", "last_out"),
        )


def _to_come(wanted: Bools, place: Ints, length: Ints) -> tuple[Ints, Ints]:
    """[n] how many wanted events the user has from each event on, itself included; [n] and in all."""
    heads = np.flatnonzero(place == 0)
    seen = np.cumsum(wanted) - wanted  # wanted events before each event, of all users
    in_all = np.add.reduceat(wanted.astype(np.int64), heads)
    in_all = np.repeat(in_all, length[heads])
    return np.repeat(seen[heads], length[heads]) + in_all - seen, in_all


def _places(place: Ints, chosen: Bools) -> Ints:
    """[n_users] the place of each user's chosen event (one at most), 0 without any."""
    run = np.cumsum(place == 0) - 1
    found = np.zeros(run[-1] + 1, dtype=np.int64)
    found[run[chosen]] = place[chosen]
    return found


def _first_of_items(events: pl.DataFrame) -> tuple[pl.DataFrame, list[Step]]:
    """Each user's first event of every item; events stand in time order."""
    kept = events.filter(pl.Series(first_of_pairs(events)))
    if kept.height == events.height:
        return events, []
    return kept, [step("repeats", "events of an item that the user had before (split.repeats=drop)", kept)]
