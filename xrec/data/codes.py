"""From the ids of a source to codes 0 .. n - 1 in a stable order, in one pass and without keeping text columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.data.interactions import PARTS
from xrec.data.schema import RawData

#: integer ids that lie in a range of this size, or of four times their number, are coded by a table
_TABLE = 1 << 24


@dataclass
class Coded:
    """events: user and item (UInt32 codes, null where there was none), time, kind (UInt8), value (Float32), and part
    (UInt8) where the log comes split.
    users, items: the ids by code, of the source's type."""

    events: pl.DataFrame
    users: pl.Series
    items: pl.Series


def code_events(raw: RawData, source: str) -> Coded:
    """Read the event log and code its ids.

    Codes follow the numeric order of ids that are numbers, then the order of the text of the others: ties in scores go
    to the lower code, so the order must not depend on the file's.

    Raises:
        DataError: the log cannot be read, is empty, has no time from 1970 on, a kind that is not in `event_kinds`,
            or a part that there is not.
    """
    schema = raw.events.collect_schema()
    time = pl.col("time")
    columns = [
        *(pl.col(c).cast(pl.Categorical(pl.Categories.random())) if schema[c] == pl.String else c
          for c in ("user", "item")),
        time.cast(pl.Int64) if schema["time"].is_integer() else time.dt.cast_time_unit("us"),
        pl.col("kind").cast(pl.UInt8, strict=False),
        pl.col("value").cast(pl.Float32),
        *(pl.col(c).cast(pl.UInt8, strict=False) for c in ("part",) if c in schema),
    ]  # fmt: skip
    try:
        events = raw.events.select(columns).collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{source}: the event log cannot be read: {str(error).strip().splitlines()[0]}; mend the file"
        ) from error
    if events.height == 0:
        raise DataError(f"{source}: no events at all; change the settings under data.source")
    _check_times(events["time"], source)
    _check_kinds(events["kind"], raw.event_kinds, source)
    if "part" in events.columns:
        _check_parts(events["part"], source)
    ids: dict[str, pl.Series] = {}
    for column in ("user", "item"):  # one at a time: a log of 100 million rows has 400 MB of codes
        codes, ids[column] = _code(events[column])
        events = events.with_columns(codes.alias(column))
    return Coded(events, ids["user"], ids["item"])


def natural_order(ids: pl.Series) -> pl.Series:
    """Distinct ids sorted: whole numbers by value, then the others by their text."""
    if ids.dtype.is_integer():
        return ids.sort()
    number = ids.str.contains(r"^[0-9]+$")
    digits = pl.select(pl.when(number).then(ids.str.strip_chars_start("0")).otherwise(pl.lit(""))).to_series()
    keys = pl.DataFrame({"text": ~number, "size": digits.str.len_bytes(), "digits": digits, "id": ids})
    return keys.sort("text", "size", "digits", "id")["id"]


def _check_times(time: pl.Series, source: str) -> None:
    """Cleaning drops events without a time, and those before 1970; when those are all, it is another fault."""
    latest = time.max()
    if latest is None:
        raise DataError(f"{source}: no event has a time; name the field or column that holds it")
    if isinstance(latest, datetime) and latest.year < 1970:
        raise DataError(
            f"{source}: every time lies before 1970 (the latest is {latest:%Y-%m-%d}), where no event is taken; check "
            "the unit and format that times are read in, or shift them"
        )


def _check_kinds(kinds: pl.Series, names: tuple[str, ...], source: str) -> None:
    bad = kinds.is_null().sum() + int((kinds >= len(names)).sum())
    if bad:
        raise DataError(
            f"{source}: {bad} events have a kind that is not a number from 0 to {len(names) - 1} "
            f"(event_kinds: {', '.join(names)})"
        )


def _check_parts(parts: pl.Series, source: str) -> None:
    bad = parts.is_null().sum() + int((parts >= len(PARTS)).sum())
    if bad:
        known = ", ".join(f"{number} {name}" for number, name in enumerate(PARTS))
        raise DataError(f"{source}: {bad} events have a part that there is not (parts: {known})")


def _code(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """(codes, ids by code) of a column of integers or categories. An empty text is no id."""
    if isinstance(column.dtype, pl.Categorical):
        return _code_texts(column)
    ids = natural_order(column.drop_nulls().unique())
    if not len(ids):
        return pl.Series(dtype=pl.UInt32).extend_constant(None, len(column)), ids
    low, high = int(ids[0]), int(ids[-1])
    filled = column.fill_null(low).to_numpy()
    if high - low < max(_TABLE, 4 * len(ids)):
        table = np.zeros(high - low + 1, dtype=np.uint32)
        table[_offset(ids.to_numpy(), low)] = np.arange(len(ids), dtype=np.uint32)
        codes = table[_offset(filled, low)]
    else:
        codes = np.searchsorted(ids.to_numpy(), filled).astype(np.uint32)
    return _with_nulls(codes, column.is_not_null()), ids


def _offset(values: np.ndarray[Any, Any], low: int) -> np.ndarray[Any, Any]:
    """values - low; the difference may not fit the signed type, but fits the unsigned one."""
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    return values if not low else (values - np.asarray(low, dtype=values.dtype)).view(unsigned)


def _code_texts(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    present = pl.DataFrame({"category": column.drop_nulls().unique()})
    named = present.select(
        pl.col("category").to_physical().cast(pl.Int64).alias("physical"),
        pl.col("category").cast(pl.String).alias("id"),
    ).filter(pl.col("id") != "")
    ids = natural_order(named["id"])
    physical = pl.DataFrame({"id": ids}).join(named, on="id", how="left", maintain_order="left")["physical"].to_numpy()
    codes = column.to_physical()
    table = np.zeros(int(codes.max() or 0) + 1, dtype=np.uint32)  # type: ignore[arg-type]
    there = np.zeros(len(table), dtype=bool)
    table[physical], there[physical] = np.arange(len(ids), dtype=np.uint32), True
    filled = codes.fill_null(0).to_numpy()
    return _with_nulls(table[filled], column.is_not_null() & pl.Series(there[filled])), ids


def _with_nulls(codes: np.ndarray[Any, Any], there: pl.Series) -> pl.Series:
    series = pl.Series(codes)
    return series if there.all() else pl.select(pl.when(there).then(series)).to_series()
