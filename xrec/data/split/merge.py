"""What every split needs of an event table: time order, users' runs, several events merged into one, counted steps.

numpy throughout: 25 million events pass in seconds, and nothing here makes more than a few arrays of that length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from xrec.data.schema import Step
from xrec.types import Bools, Ints

Key = npt.NDArray[np.uint64]

#: columns of `Assigned.events`, in order
ASSIGNED_COLUMNS = ("user", "item", "time", "period", "kind", "strength")


def whole_numbers(events: pl.DataFrame, column: str) -> Ints:
    """[n] a column as Int64; times as microseconds since 1970 where they are dates."""
    series = events[column]
    return (series.dt.epoch("us") if series.dtype.is_temporal() else series.cast(pl.Int64)).to_numpy()


def step(name: str, reason: str, events: pl.DataFrame, *, merged: bool = False) -> Step:
    """What is left after a step."""
    return Step(name, reason, events.height, events["user"].n_unique(), events["item"].n_unique(), merged)


def in_time_order(events: pl.DataFrame) -> pl.DataFrame:
    """By user and time; ties keep the order of the given rows. A table in that order is returned as it is."""
    user, time = whole_numbers(events, "user"), whole_numbers(events, "time")
    later_user = user[1:] > user[:-1]
    if bool((later_user | ((user[1:] == user[:-1]) & (time[1:] >= time[:-1]))).all()):
        return events
    return events.sort("user", "time", maintain_order=True)


def run_starts(events: pl.DataFrame, columns: Sequence[str]) -> Bools:
    """[n] which rows differ from the row before them in one of these columns; the first row does."""
    starts = np.zeros(events.height, dtype=bool)
    starts[:1] = True
    for column in columns:
        values = whole_numbers(events, column)
        starts[1:] |= values[1:] != values[:-1]
    return starts


def user_runs(events: pl.DataFrame) -> tuple[Ints, Ints]:
    """(position of each event in its user's history [n], length of that history [n]); rows stand user by user."""
    user = whole_numbers(events, "user")
    start = np.flatnonzero(np.append(True, user[1:] != user[:-1])[: len(user)])
    length = np.diff(np.append(start, len(user)))
    return np.arange(len(user)) - np.repeat(start, length), np.repeat(length, length)


def random_places(events: pl.DataFrame, generator: np.random.Generator) -> Ints:
    """[n] a random place of each event in its user's history, by (user, time, item) and the generator alone.

    Rows stand user by user, and hold one event per (user, item, time).
    """
    user, time, item = (whole_numbers(events, c) for c in ("user", "time", "item"))
    tied = (user[1:] == user[:-1]) & (time[1:] == time[:-1]) & (item[1:] < item[:-1])
    canonical = np.lexsort((item, time, user)) if bool(tied.any()) else None
    draws = generator.integers(0, 2**40, len(user), dtype=np.int64)
    if canonical is not None:
        draws[canonical] = draws.copy()
    run = np.cumsum(np.append(False, user[1:] != user[:-1])[: len(user)], dtype=np.int64)
    places = np.empty(len(user), dtype=np.int64)
    places[np.argsort((run << 40) | draws, kind="stable")] = user_runs(events)[0]
    return places


def first_of_pairs(events: pl.DataFrame) -> Bools:
    """[n] which events are the first of their user and item in the order of the rows."""
    first = np.zeros(events.height, dtype=bool)
    if events.height:
        key = _key(events, None, np.zeros(events.height, dtype=np.int8))
        order = np.argsort(key)
        key = key[order]
        starts = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
        del key
        first[np.minimum.reduceat(order, starts)] = True
    return first


def merge_simultaneous(
    events: pl.DataFrame, moment_of: Sequence[str] = ("user", "time")
) -> tuple[pl.DataFrame, list[Step]]:
    """One event per item and run of rows that are equal in `moment_of`; rows stand in time order, and stay in it."""
    starts = run_starts(events, moment_of)
    tied = ~starts
    tied[:-1] |= ~starts[1:]
    rows = np.flatnonzero(tied)
    moment: Ints = np.cumsum(starts, dtype=np.int64)[rows]  # one number per (user, time)
    return _merge(events, rows, moment, "several events of one user, item and time became one")


def merge_periods(
    events: pl.DataFrame, among: Bools | None = None, *, earliest: bool = False
) -> tuple[pl.DataFrame, list[Step]]:
    """One event per (user, item, period), on the place of the first; `among` [n]: only these rows can have doubles.

    The merged event has the summed strength, the latest (or `earliest`) time and the lowest (first-ranked) kind. Rows
    that went are counted in a step "merged"; without any there is none.
    """
    rows = None if among is None else np.flatnonzero(among)
    period = whole_numbers(events, "period")
    moment = period if rows is None else period[rows]
    reason = "several events of one user, item and period became one"
    return _merge(events, rows, moment, reason, np.minimum if earliest else np.maximum)


def _merge(
    events: pl.DataFrame, rows: Ints | None, moment: Ints, reason: str, time_of: np.ufunc = np.maximum
) -> tuple[pl.DataFrame, list[Step]]:
    """Merge those of `rows` [m] (None: all) that agree in user, item and `moment` [m]."""
    if len(moment) < 2:
        return events, []
    key = _key(events, rows, moment)
    order = np.argsort(key)
    key = key[order]
    same = key[1:] == key[:-1]
    del key
    if not bool(same.any()):
        return events, []
    doubled = np.append(False, same)
    doubled[:-1] |= same
    first_of_group = doubled & ~np.append(False, same)
    group = np.cumsum(first_of_group[doubled])
    index = order[doubled] if rows is None else rows[order[doubled]]
    del order
    strength, kind = events["strength"].to_numpy()[index].astype(np.float64), events["kind"].to_numpy()[index]
    starts = np.flatnonzero(np.append(True, np.diff(group) > 0))
    place = np.minimum.reduceat(index, starts)
    totals = np.add.reduceat(strength, starts)
    times = time_of.reduceat(whole_numbers(events, "time")[index], starts)
    kept = np.ones(events.height, dtype=bool)
    kept[index] = False
    kept[place] = True
    merged = events.with_columns(
        _replaced(events["strength"], place, totals),
        _replaced(events["kind"], place, np.minimum.reduceat(kind, starts)),
        _replaced(events["time"], place, times),
    ).filter(pl.Series(kept))
    return merged, [step("merged", reason, merged, merged=True)]


def _key(events: pl.DataFrame, rows: Ints | None, moment: np.ndarray) -> Key:
    """[m] one number per (user, item, moment)."""
    key, size = np.zeros(len(moment), dtype=np.uint64), 1
    for column in ("user", "item", None):
        part = moment if column is None else events[column].to_numpy()
        part = part if column is None or rows is None else part[rows]
        low = int(part.min())
        span = int(part.max()) - low + 1
        size *= span
        if size >= 2**64:
            return _ranked_key(events, rows, moment)
        key *= np.uint64(span)
        key += part.astype(np.uint64) - np.uint64(low % 2**64)  # modulo 2 ** 64, as negative numbers are, too
    return key


def _ranked_key(events: pl.DataFrame, rows: Ints | None, moment: np.ndarray) -> Key:
    """The same for codes too wide to be written side by side."""
    pairs = events.select("user", "item")
    columns = (pairs if rows is None else pairs[rows]).with_columns(moment=pl.Series(moment))
    return columns.select(pl.struct("user", "item", "moment").rank("dense")).to_series().to_numpy().astype(np.uint64)


def _replaced(column: pl.Series, place: Ints, values: np.ndarray) -> pl.Series:
    """The column with `values` at `place`, of its own type."""
    physical = (column.dt.epoch("us") if column.dtype.is_temporal() else column).to_numpy().copy()
    physical[place] = values
    changed = pl.Series(column.name, physical)
    return changed.cast(pl.Datetime("us")).cast(column.dtype) if column.dtype.is_temporal() else changed
