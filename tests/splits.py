"""Event tables and splits for the tests of `xrec.data.split`."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
from hypothesis import strategies as st

from xrec.data.split.assigned import Assigned

SCHEMA = {"user": pl.Int32, "item": pl.Int32, "time": pl.Int64, "kind": pl.UInt8, "strength": pl.Float32}


def table(rows: list[tuple], times: pl.DataType | None = None) -> pl.DataFrame:
    """Rows of (user, item, time), and kind and strength where they matter, sorted by user, time, item."""
    full = [(*r, 0, 1.0)[:5] if len(r) == 3 else r for r in rows]
    schema = {**SCHEMA, "time": times} if times is not None else SCHEMA
    return pl.DataFrame(full, schema=schema, orient="row").sort("user", "time", "item", maintain_order=True)


def dated(rows: list[tuple[int, int, str]]) -> pl.DataFrame:
    """The same with times such as '2017-01-31 12:00'."""
    found = [(u, i, datetime.fromisoformat(t).replace(tzinfo=UTC)) for u, i, t in rows]
    return table(found, pl.Datetime("us", "UTC"))


def periods(assigned: Assigned) -> dict[int, list[tuple[int, int]]]:
    """user -> (period, item), by period."""
    found: dict[int, list[tuple[int, int]]] = {}
    for user, item, period in assigned.events.select("user", "item", "period").sort("user", "period", "item").rows():
        found.setdefault(user, []).append((period, item))
    return found


def in_part(assigned: Assigned, part: str) -> pl.DataFrame:
    """The events of 'train', 'validation' or 'test'."""
    period = pl.col("period")
    chosen = period <= assigned.train_end if part == "train" else period.is_between(*assigned.parts[part])
    return assigned.events.filter(chosen)


_EVENT = st.tuples(
    st.integers(0, 7), st.integers(0, 5), st.integers(0, 12), st.integers(0, 2), st.sampled_from([0.5, 1.0, 2.0])
)
#: any event table: repeated items, several events at once, users of one event
TABLES = st.lists(_EVENT, min_size=1, max_size=60).map(table)
