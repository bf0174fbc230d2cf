"""What a source must deliver."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from xrec.data.errors import DataError

#: The event log, one row per event as the source has it. `user` and `item` are String or any integer type; `time` is
#: Datetime("us", "UTC"), or Int64 where the source counts periods or positions itself; `kind` indexes
#: `RawData.event_kinds`; `value` is the rating, the number of baskets, or 1. A log that comes split has a column `part`
#: more: 0 train, 1 validation, 2 test.
EVENT_COLUMNS = ("user", "item", "time", "kind", "value")
#: the most kinds of events that a log can have; as a number of target kinds: every kind is to be predicted
ALL_KINDS = 255


@dataclass(frozen=True)
class Step:
    """One line of the drop accounting: what is left after a step, and why rows went. merged: the rows that went were
    added to others, not dropped."""

    step: str
    reason: str
    rows: int
    users: int
    items: int
    merged: bool = False


@dataclass
class RawData:
    """A source's output; nothing of it is cleaned, merged, cored or split yet (`clean.py`, `split/` do that).

    events: lazy, columns EVENT_COLUMNS, and `part` where the log comes split; null users, items or times are legal
        here; cleaning drops and counts them.
    items, users: one row per entity; column `item` (or `user`) of the type it has in `events`; every other column is
        an attribute by its type: String or Boolean = categorical, List(String) = several values, a number = numeric.
    item_names: item id as text -> a name for people.
    text: names of String columns of `items` that are free text (hashed), not categories.
    item_history: attributes that change: columns item, attribute (String), value (String), time (as in `events`);
        the latest value of training times becomes a categorical attribute, later ones are dropped and counted.
    steps: what the source itself dropped, the first step being what it read.
    truth: the causes of target events, where they are known: columns user, item, time, cause_item (null: no earlier
        item is the cause), strength, mechanism (String); one row per event, mechanism and cause.
    history_only: the kinds of events that are not to be predicted, unless `data.clean.target_kinds` says otherwise.
    own_counter: times are places in each user's own history, and no calendar that users share.
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
    history_only: tuple[str, ...] = ()
    own_counter: bool = False


def check_events(raw: RawData, source: str) -> None:
    """The schema of the event log.

    Raises:
        DataError: names the columns that are missing, or the type each should have.
    """
    found = raw.events.collect_schema()
    lacking = [c for c in EVENT_COLUMNS if c not in found]
    if lacking:
        raise DataError(
            f"{source}: events must have the columns {', '.join(EVENT_COLUMNS)}, but lack {', '.join(lacking)} (they "
            f"have {', '.join(found.names()) or 'none'})"
        )
    rules = {
        "user": ("String or an integer type", _is_id),
        "item": ("String or an integer type", _is_id),
        "time": ("Datetime in UTC or an integer type", _is_time),
        "kind": ("an integer type", lambda t: t.is_integer()),
        "value": ("a number", lambda t: t.is_numeric()),
    }
    if "part" in found:
        rules["part"] = ("an integer type", lambda t: t.is_integer())
    wrong = [f"{c} is {found[c]}, must be {takes}" for c, (takes, accepts) in rules.items() if not accepts(found[c])]
    if wrong:
        raise DataError(f"{source}: events have the wrong types: {'; '.join(wrong)}")
    if len(raw.event_kinds) > ALL_KINDS:
        raise DataError(f"{source}: {len(raw.event_kinds)} kinds of events; at most {ALL_KINDS} can be told apart")
    if not raw.event_kinds:
        raise DataError(f"{source}: event_kinds is empty; name at least one kind of event")


def _is_id(dtype: pl.DataType) -> bool:
    return dtype == pl.String or dtype.is_integer()


def _is_time(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or (isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC")
