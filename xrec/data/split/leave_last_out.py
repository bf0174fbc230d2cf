"""Leave the last event (or basket) of every user out for the test, the one before it for validation."""

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
    run_starts,
    step,
    user_runs,
)
from xrec.data.split.settings import choice, whole
from xrec.types import Bools, Ints

#: the setting `unit` -> what a split's error and note call it
UNITS = {"event": "events", "basket": "baskets"}


@dataclass(frozen=True)
class LeaveLastOutSplit:
    """Fit on x[:-2], validate on x[-2] with x[:-2] as history, test on x[-1] with x[:-1] as history (Kang and McAuley,
    SASRec, 2018).

    A user's events stand in time order, ties in the order of the given rows. The last one gets period T, the one before
    it T - 1, and so on, so that ages count events; train_end = T - 2, validation is period T - 1, test is period T. T
    is the smallest number that lets every period be >= 0. Where only some kinds of events are to be predicted, x[-1]
    and x[-2] are the last two of those; events of other kinds between them get period T - 1, too, as history of the
    test, and events after x[-1] are dropped (step "after the last").

    With unit='basket' all of that holds of baskets, which are a user's events of one time: x[-1] is the last basket
    with an event that is to be predicted, all such events of it are the user's targets, and ages count baskets. Events
    of other kinds in a basket of targets stay in its period, and so out of its history.

    No user is dropped: those of fewer than `min_events` events (or baskets) that are to be predicted only train. Their
    last one gets period T - 2.

    Args:
        min_events: of a user who has targets, or baskets with unit='basket'; only those of (or with) the kinds that are
            to be predicted count.
        repeats: 'keep' gives every event of a repeated item its place; 'drop' keeps a user's first event of an item
            (the rest is counted in the step "repeats").
        unit: 'event', or 'basket'.
    Raises:
        DataError: settings out of range.
    """

    min_events: int = 3
    repeats: str = "keep"
    unit: str = "event"
    name: ClassVar[str] = "leave_last_out"
    cold_items: ClassVar[bool] = False
    own_periods: ClassVar[bool] = True

    def __post_init__(self) -> None:
        choice("unit", self.unit, tuple(UNITS))
        whole("min_events", self.min_events, 3, f" (one {self.unit} each for training, validation and test)")
        choice("repeats", self.repeats, ("keep", "drop"))

    def key(self) -> dict[str, Any]:
        """What the cache must know of this split: of events what it was before there were baskets, so that what was
        made then is found."""
        return {"kind": "leave_last_out", **{k: v for k, v in asdict(self).items() if (k, v) != ("unit", "event")}}

    def assign(self, events: pl.DataFrame, n_targets: int = ALL_KINDS) -> Assigned:
        """See `Split.assign`.

        Raises:
            DataError: no user has `min_events` events.
        """
        ordered, steps = merge_simultaneous(in_time_order(events))
        if self.repeats == "drop":
            ordered, dropped = _first_of_items(ordered)
            steps += dropped
        unit, heads, wanted = self._units(ordered, n_targets)
        place, length = user_runs(heads)
        left, n_wanted = _to_come(wanted, place, length)
        long = n_wanted >= self.min_events
        if not long.any():
            longest = int(n_wanted.max(initial=0))
            raise DataError(
                f"split: no user has split.min_events={self.min_events} {UNITS[self.unit]} (the longest history has "
                f"{longest}); lower split.min_events, or data.clean leaves too little"
            )
        # the place that period T - 1 stands for: x[-2], or what would follow the last unit of who only trains
        anchor = np.where(long, np.repeat(_places(place, long & wanted & (left == 2)), length[place == 0]), length)
        last = 1 + int(anchor.max())
        period = last - 1 - np.maximum(anchor - place, 0) + (long & wanted & (left == 1))
        timed = ordered.with_columns(period=pl.Series(period[unit])).select(ASSIGNED_COLUMNS)
        late = (long & (left == 0))[unit]
        if late.any():
            timed = timed.filter(pl.Series(~late))
            steps = [*steps, step("after the last", "after the user's last event that is to be predicted", timed)]
        between = (long & (left <= 2) & (period == last - 1))[unit][~late]
        # a basket is of the time of its own, whatever was done with its items afterwards
        timed, more = merge_periods(timed, among=between, earliest=self.unit == "basket")
        short = int((place[~long] == 0).sum())
        users = "user" if short == 1 else "users"
        return Assigned(
            timed,
            train_end=last - 2,
            parts={"validation": (last - 1, last - 1), "test": (last, last)},
            steps=[*steps, *more],
            note=f"{short} {users} of fewer than {self.min_events} {UNITS[self.unit]} only train" if short else "",
            promises=("user_order", "last_out" if self.unit == "event" else "last_basket_out"),
        )

    def _units(self, ordered: pl.DataFrame, n_targets: int) -> tuple[Ints | slice, pl.DataFrame, Bools]:
        """The unit of each event, as an index of U units; the first event of each unit; [U] which units hold an event
        that is to be predicted. Rows stand user by user in time order."""
        wanted = ordered["kind"].to_numpy() < n_targets
        if self.unit == "event":
            return slice(None), ordered, wanted
        starts = run_starts(ordered, ("user", "time"))
        first = np.flatnonzero(starts)
        return np.cumsum(starts) - 1, ordered[first], np.logical_or.reduceat(wanted, first)


def _to_come(wanted: Bools, place: Ints, length: Ints) -> tuple[Ints, Ints]:
    """[U] how many wanted units the user has from each unit on, itself included; [U] and in all."""
    heads = np.flatnonzero(place == 0)
    seen = np.cumsum(wanted) - wanted  # wanted units before each unit, of all users
    in_all = np.add.reduceat(wanted.astype(np.int64), heads)
    in_all = np.repeat(in_all, length[heads])
    return np.repeat(seen[heads], length[heads]) + in_all - seen, in_all


def _places(place: Ints, chosen: Bools) -> Ints:
    """[n_users] the place of each user's chosen unit (one at most), 0 without any."""
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
