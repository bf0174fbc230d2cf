"""Events user by user: sorted in pieces, so that the memory of a sort does not grow with the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from xrec.types import Bools

#: events that are sorted together (a user with more of them is still one piece)
PIECE = 4_000_000


def by_user(events: pl.DataFrame, order: Sequence[str], piece: int = PIECE) -> Iterator[pl.DataFrame]:
    """The events in pieces of whole users, in the order of users, each sorted by `order` (which begins with user)."""
    counts = np.bincount(events["user"].to_numpy()) if events.height else np.zeros(1, dtype=np.int64)
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + piece, side="right")))
        inside = events if stop - start == len(counts) else events.filter(pl.col("user").is_between(start, stop - 1))
        yield inside.sort(order)
        start = stop


def last_of_runs(events: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Which rows are the last of a run of rows that are equal in `columns`."""
    return pl.Series(np.append(_starts(events, columns)[1:], True)[: events.height])


def merge_runs(events: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Runs of rows that are equal in `columns` as one row: strengths add up, the lowest (first-ranked) kind stays, of
    the other columns the last value."""
    starts = _starts(events, columns)
    first = np.flatnonzero(starts)
    if len(first) == events.height:
        return events
    strength = np.add.reduceat(events["strength"].to_numpy().astype(np.float64), first).astype(np.float32)
    kind = np.minimum.reduceat(events["kind"].to_numpy(), first)
    kept = events.filter(pl.Series(np.append(starts[1:], True)))
    return kept.with_columns(pl.Series("strength", strength), pl.Series("kind", kind))


def _starts(events: pl.DataFrame, columns: Sequence[str]) -> Bools:
    starts = np.zeros(events.height, dtype=bool)
    starts[:1] = True
    for column in columns:
        values = events[column].to_physical().to_numpy()
        starts[1:] |= values[1:] != values[:-1]
    return starts
