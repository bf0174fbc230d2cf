"""What a source must deliver, and how attributes become coded fields."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.types import Field

MISSING = "(missing)"
RARE = "(rare)"

#: The event log, one row per event as the source has it. `user` and `item` are String or any integer type; `time` is
#: Datetime("us", "UTC"), or Int64 where the source counts periods or positions itself; `kind` indexes
#: `RawData.event_kinds`; `value` is the rating, the number of baskets, or 1.
EVENT_COLUMNS = ("user", "item", "time", "kind", "value")


@dataclass(frozen=True)
class Step:
    """One line of the drop accounting: what is left after a step, and why rows went."""

    step: str
    reason: str
    rows: int
    users: int
    items: int


@dataclass
class RawData:
    """A source's output; nothing of it is cleaned, merged, cored or split yet (`clean.py`, `split/` do that).

    events: lazy, columns EVENT_COLUMNS; null users, items or times are legal here and dropped (and counted) by cleaning.
    items, users: one row per entity; column `item` (or `user`) of the type it has in `events`; every other column is
        an attribute by its type: String or Boolean = categorical, List(String) = several values, a number = numeric.
    item_names: item id as text -> a name for people.
    text: names of String columns of `items` that are free text (hashed), not categories.
    item_history: attributes that change: columns item, attribute (String), value (String), time (as in `events`);
        the latest value of training times becomes a categorical attribute, later ones are dropped and counted.
    steps: what the source itself dropped, the first step being what it read.
    truth: the causes of target events, where they are known: columns user, item, time, cause_item, strength.
    """

    events: pl.LazyFrame
    items: pl.DataFrame
    users: pl.DataFrame
    item_names: dict[str, str] = field(default_factory=dict)
    event_kinds: tuple[str, ...] = ("interaction",)
    text: tuple[str, ...] = ()
    item_history: pl.DataFrame | None = None
    steps: list[Step] = field(default_factory=list)
    truth: pl.DataFrame | None = None


def check_events(events: pl.DataFrame, source: str) -> None:
    """Raise `DataError` unless `events` has exactly the columns and types of EVENT_SCHEMA, no nulls, and some rows."""
    found = dict(events.schema)
    if found != EVENT_SCHEMA:
        wanted = ", ".join(f"{k}: {v.__name__}" for k, v in EVENT_SCHEMA.items())
        got = ", ".join(f"{k}: {v}" for k, v in found.items())
        raise DataError(f"{source}: events must have the columns ({wanted}), but have ({got})")
    if events.height == 0:
        raise DataError(f"{source}: no events at all; check the path and the filter settings under `data`")
    nulls = {c: n for c, n in events.null_count().row(0, named=True).items() if n}
    if nulls:
        raise DataError(
            f"{source}: events hold missing values {nulls}; fill or drop them in the source, and count what is dropped"
        )
    bad = events.filter(~pl.col("strength").is_finite() | (pl.col("strength") <= 0)).height
    if bad:
        raise DataError(f"{source}: {bad} events have a strength that is not a positive number")


def encode_fields(frame: pl.DataFrame, key: str, ids: tuple[str, ...], min_count: int) -> tuple[Field, ...]:
    """Code every attribute column of `frame` for the entities `ids`, in the order of `ids`.

    An entity without a row, or with a null, gets the level "(missing)"; levels held by fewer than `min_count` entities
    are pooled in "(rare)". Levels are sorted by name; "(missing)" is always level 0 and "(rare)" level 1.
    """
    joined = pl.DataFrame({key: list(ids)}, schema={key: pl.String}).join(
        frame, on=key, how="left", maintain_order="left"
    )
    if joined.height != len(ids):
        raise DataError(f"{key} attributes: some {key} ids have several rows; keep one row per {key}")
    return tuple(_encode(name, joined[name], min_count) for name in frame.columns if name != key)


def _encode(name: str, column: pl.Series, min_count: int) -> Field:
    values = column.cast(pl.String).fill_null(MISSING).to_list()
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    kept = sorted(v for v, n in counts.items() if v != MISSING and n >= min_count)
    levels = (MISSING, RARE, *kept)
    position = {level: i for i, level in enumerate(levels)}
    codes = np.array([position.get(v, 1) for v in values], dtype=np.int64)
    return Field(name=name, codes=codes, levels=levels)
