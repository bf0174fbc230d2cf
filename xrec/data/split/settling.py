"""Splits that must see the events before they know where to cut: they look, and what they find makes them settled.

What was found is kept in the cache, so that the events are read once, and the settled split is what is saved with a
run: a run that is resumed or done again looks at nothing.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Protocol, runtime_checkable

import polars as pl

#: shares of the users, of `counts_own`: rows that are missing or stray must not decide how a whole log is split
_BEGIN, _WHOLE = 0.9, 0.5


@runtime_checkable
class Unsettled(Protocol):
    """A split by what is found in the events. A split without these methods is settled."""

    def at_once(self) -> Any:
        """The settled split, where no event has to be seen for it, else None."""
        ...

    def look(self, events: pl.DataFrame, n_targets: int, own_counter: bool) -> dict[str, Any]:
        """What there is to know of the events, JSON-able; its `words` say in a line what is chosen, and why.

        Args:
            events, n_targets: as `Split.assign` takes them.
            own_counter: times count each user's own events (see `counts_own`), and are no common calendar.
        Raises:
            DataError: events that cannot be split so.
        """
        ...

    def settle(self, found: dict[str, Any]) -> Any:
        """The settled split, by what `look` found."""
        ...


def at_once(split: Any) -> Any:
    """The split as it stands, or what it is by its settings alone; None where events must be seen."""
    return split.at_once() if isinstance(split, Unsettled) else split


def counts_own(events: pl.DataFrame) -> bool:
    """Whether whole-number times count each user's own events (or baskets): nine users in ten begin with the same first
    number, which is 0 or 1, most have distinct times without a gap, and some user has more than one. Of a common
    calendar hardly everybody is there from its first period on."""
    if events.schema["time"] != pl.Int64:
        return False
    time = pl.col("time")
    present = events.lazy().drop_nulls(["user", "time"]).group_by("user")
    of_user = present.agg(low=time.min(), high=time.max(), n=time.n_unique()).collect(engine="streaming")
    low, most = of_user["low"].min(), of_user["n"].max()
    if low not in (0, 1) or most < 2:  # type: ignore[operator]
        return False
    begins, whole = of_user.select(pl.col("low") == low, whole=pl.col("high") - pl.col("low") + 1 == pl.col("n"))
    return bool(begins.mean() >= _BEGIN and whole.mean() > _WHOLE)  # type: ignore[operator]


def node_of(split: Any) -> dict[str, Any]:
    """The config node that a split of ours is built from."""
    kind = type(split)
    node: dict[str, Any] = {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
    for field in fields(split):
        value = getattr(split, field.name)
        node[field.name] = node_of(value) if hasattr(value, "assign") else value
    return node
