"""A split is a re-timing: it gives every event a period on one axis, on which training ends at `train_end` and each
part is a span of periods; a history at a moment is what lies before it. So models and metrics know one kind of split
only.

    temporal         periods are calendar spans; everyone is cut at the same dates
    leave_last_out   each user's last event (or basket) falls on period T, the one before it on T - 1, ...
    user_holdout     training users come first; then the validation users' fold-in events and their targets; then the
                     test users' fold-in events and their targets
    cold_item        another split, without the cold items' events before their part
    random           a share of each user's events per part (for replication only)
    given            the parts that the log came with
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

from xrec.data.schema import ALL_KINDS, Step
from xrec.types import Ints

#: what a split can promise -> in words
PROMISES = {
    "global_order": "every training event is before every validation event, and those before every test event",
    "user_order": "a user's targets are not before the events of the same user's history",
    "last_out": "a user has at most one target in a part",
    "last_basket_out": "a user's targets in a part are of one time",
    "users_apart": "a user's events lie in training, in validation or in test, never in two of them",
}


@dataclass
class Assigned:
    """What a split makes of clean events.

    events: columns user, item (Int codes as given), time (as the source has it), period (Int64, re-timed), kind,
        strength; one row per (user, item, period). Where several events became one, its time is the latest
        (of a basket, the basket's).
    train_end: the last period that may train. parts: 'validation' (which may be missing) and 'test' -> (first,
        last) period.
    steps: what the split dropped, and why. folds: entity ('user' or 'item'), id (code), part; saved with the run.
    cold: part -> item codes that are ranked among themselves (cold_item only). note: what a reader of its numbers must
        know (printed with the data card), or "".
    promises: of PROMISES, what `leakage.check` must find kept beyond what holds for every split.
    """

    events: pl.DataFrame
    train_end: int
    parts: dict[str, tuple[int, int]]
    steps: list[Step] = field(default_factory=list)
    folds: pl.DataFrame | None = None
    cold: dict[str, Ints] = field(default_factory=dict)
    note: str = ""
    promises: tuple[str, ...] = ()


class Split(Protocol):
    """What `conf/split` must name. A split that looks at the events before it is one is `settling.Unsettled`, too. One
    whose periods count each user's own events, and are no calendar, says so by `own_periods = True`; one that holds
    items out for being ranked among themselves by `cold_items = True`; one that is given the parts of a log that comes
    split, as a column `part` of its events, by `takes_parts = True`."""

    @property
    def name(self) -> str: ...

    def key(self) -> dict[str, Any]:
        """What the cache must know of this split (JSON-able)."""
        ...

    def assign(self, events: pl.DataFrame, n_targets: int = ALL_KINDS) -> Assigned:
        """Clean events -> re-timed events.

        Args:
            events: columns user, item (integer codes), time (Datetime or Int64), kind (UInt8), strength (Float32); no
                nulls; sorted by user, time, item.
            n_targets: events of kinds 0 .. n_targets - 1 are to be predicted; the others are history only.
        Raises:
            DataError: settings that leave a part or the training empty.
        """
        ...
