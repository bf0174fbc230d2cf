"""Mapped columns of one file -> the event log, every row of it accounted for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from xrec.data.errors import DataError, refuse_all
from xrec.data.schema import EVENT_COLUMNS, Step
from xrec.data.sources.files import Opened, check_columns, collect, is_text, stray
from xrec.data.sources.parts import TAKES, WORDS, part_code
from xrec.data.sources.times import Reading, as_periods, check_settings, reading, settle
from xrec.words import did_you_mean

_HEAD = 1000
_IDS = ("user", "item")
#: what a column can be; `part` only where the log comes split
ROLES = (*EVENT_COLUMNS, "part")
#: values are kept as Float32
_LARGEST = 3.4e38
_TAKEN = {"time": "time like those before it", "value": f"number from -{_LARGEST:g} to {_LARGEST:g}"}


@dataclass(frozen=True)
class Rules:
    """How the columns of a log are read; the arguments of the same names of `Table`."""

    time_format: str | None = None
    timezone: str = "UTC"
    kinds: Sequence[str] | None = None
    unreadable: str = "error"
    empty_value: float | None = None

    def checked(self, source: str) -> Rules:
        """Itself; `DataError` names a setting with a value it does not take."""
        check_settings(source, self.time_format, self.timezone)
        if self.unreadable not in ("error", "drop"):
            raise DataError(f"{source}: unreadable is {self.unreadable!r}, takes error or drop")
        if self.kinds is not None and (not self.kinds or len(set(self.kinds)) < len(self.kinds)):
            raise DataError(f"{source}: kinds is {list(self.kinds)}, takes each kind once, or null for all there are")
        return self


def roles_of(source: str, columns: Mapping[str, str | None]) -> dict[str, str]:
    """Role -> column, without the roles set to null; `DataError` for an unknown or a lacking role. Without times the
    order of the rows is that of the events."""
    for role in columns:
        if role not in ROLES:
            hint = did_you_mean(str(role), ROLES)
            raise DataError(f"{source}: columns.{role}: takes {', '.join(ROLES)}{hint}")
    found = {role: column for role, column in columns.items() if column is not None}
    for role in ("user", "item", "time"):
        if role not in found and (role != "time" or role not in columns):
            without = ", or null where the rows stand in the order of the events" if role == "time" else ""
            raise DataError(f"{source}: columns.{role} is missing; name the column that holds it{without}")
    return found


@dataclass
class Log:
    """events: lazy, EVENT_COLUMNS, and `part` where the log comes split. ids: the types of `user` and `item` there.
    own_counter: there were no times; they are places among the user's rows."""

    events: pl.LazyFrame
    kinds: tuple[str, ...]
    steps: list[Step] = field(default_factory=list)
    ids: dict[str, pl.DataType] = field(default_factory=dict)
    own_counter: bool = False


def event_log(source: str, opened: Opened, columns: Mapping[str, str], rules: Rules) -> Log:
    """The event log of `opened`; columns: role (of ROLES) -> its column, `kind`, `value` and `part` optional.

    Three passes over the mapped columns: the kinds, then everything there is to count and check, so that the lazy
    events cannot fail later, then (by whoever collects them) the events. Ids that are text in the file but whole
    numbers throughout, written the usual way, become numbers.

    Raises:
        DataError: lacking columns, values that cannot be read, kinds that are not there, a file that gives fewer rows
            than it has lines.
    """
    check_columns(source, opened, columns, "columns")
    return _Log(source, opened, columns, rules).build()


class _Log:
    """One reading of a file; expressions below are over `frame`, whose columns are named by their roles."""

    def __init__(self, source: str, opened: Opened, columns: Mapping[str, str], rules: Rules) -> None:
        self.source, self.opened, self.columns, self.rules = source, opened, columns, rules
        types = opened.frame.collect_schema()
        self.frame = opened.frame.select(_raw(types[column], role, column) for role, column in columns.items())
        self.types = self.frame.collect_schema()
        refusals = {role: takes for role in columns if (takes := _refusal(role, self.types[role]))}
        refuse_all(
            [f"{self._where(r)}: values of type {self.types[r]}, takes {takes}" for r, takes in refusals.items()]
        )
        self.blank = pl.all_horizontal(pl.col(role).is_null() for role in columns if role != "part")
        self.steps: list[Step] = []

    def build(self) -> Log:
        head = self._head()
        found, (kinds, kind) = _each(lambda: self._reading(head), self._kinds)
        known = found.count if found.time is None else found.time
        assert known is not None
        bad = (self._time().is_not_null() & known.is_null()) | self._value().is_null()
        survey = self._survey(found.count, kind, bad)
        found, periods = as_periods(found, survey["low"], survey["high"], survey["whole_time"])
        time = (
            self._order()
            if "time" not in self.columns
            else settle(self._where("time"), found, survey["low"], survey["high"])
        )
        ids = {c: self._id(c, survey[f"whole_{c}"]) for c in _IDS}
        unread = [c for c in self.opened.columns if c not in self.columns.values()]
        note = f"; columns not read: {', '.join(unread)}" if unread else ""
        note += f"; whole numbers in {self.columns['time']} are taken as numbers of periods" if periods else ""
        note += "; no times: the rows stand in the order of the events" if "time" not in self.columns else ""
        sizes = (survey["rows"], survey["users"], survey["items"])
        self.steps.append(Step("read", f"rows of {self.opened.name}{note}", *sizes))
        self._drop(~self.blank, "empty", "rows with nothing in them", survey["blank"])
        among = "" if self.rules.kinds is None else f", or of another than {', '.join(kinds)}"
        self._drop(kind.is_not_null(), "kind", f"rows without a kind{among}", survey["other"])
        if survey["strange"]:
            raise self._strange(kind, survey["strange"])
        if survey["bad"] and self.rules.unreadable == "error":
            raise self._first(bad, known, survey["bad"])
        self._drop(~bad, "unreadable", "rows whose time or value cannot be read", survey["bad"])
        chosen = {**ids, "time": time, "kind": kind, "value": self._value()}
        if "part" in self.columns:
            chosen["part"] = part_code(pl.col("part"))
        events = self.frame.select(chosen[c].alias(c) for c in ROLES if c in chosen)
        types = events.collect_schema()
        return Log(events, kinds, self.steps, {c: types[c] for c in _IDS}, "time" not in self.columns)

    def _head(self) -> pl.Series | None:
        """The first times; None where there are no times."""
        if "time" not in self.columns:
            return None
        return self._collect(self.frame.select("time").drop_nulls().head(_HEAD))["time"]

    def _reading(self, head: pl.Series | None) -> Reading:
        """How times are read; without times as a constant, see `_order`."""
        if head is None:
            return Reading("order", pl.lit(0, pl.Int64))
        if not len(head):
            raise DataError(f"{self._where('time')}: no row has a time")
        return reading(self._where("time"), "time", head, self.rules.time_format, self.rules.timezone)

    def _time(self) -> pl.Expr:
        return pl.col("time") if "time" in self.columns else pl.lit(0)

    def _order(self) -> pl.Expr:
        """The place of each row among those of its user, from 0."""
        return pl.int_range(pl.len(), dtype=pl.Int64).over("user")

    def _collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        return collect(self.source, self.opened, frame)

    def _where(self, role: str) -> str:
        return f"{self.source}: {self.opened.name}, column {self.columns[role]!r}"

    def _drop(self, kept: pl.Expr, step: str, reason: str, count: int) -> None:
        if count:
            self.frame = self.frame.filter(kept)
            left = self._collect(self.frame.select(_sizes())).row(0)
            self.steps.append(Step(step, f"{count} {reason}", *left))

    def _kinds(self) -> tuple[tuple[str, ...], pl.Expr]:
        """The kinds, and each row's code (null for another kind); without a column of kinds there is one."""
        wanted = self.rules.kinds
        if "kind" not in self.columns:
            if wanted:
                raise DataError(f"{self.source}: kinds are given, but columns.kind is not; name the column they are in")
            return ("interaction",), pl.lit(0, pl.UInt8)
        where = self._where("kind")
        text = pl.col("kind").cast(pl.String)
        found = self._collect(self.frame.select(text.unique()).drop_nulls().sort("kind"))["kind"].to_list()
        refuse_all(
            [
                f"{where}: no row is of the kind {kind!r}{did_you_mean(kind, found)} (it has {', '.join(found[:10])})"
                for kind in wanted or ()
                if kind not in found
            ]
        )
        kinds = tuple(found if wanted is None else wanted)
        if not 1 <= len(kinds) <= 255:
            raise DataError(f"{where}: {len(kinds)} kinds of events; takes 1 to 255: is it the right column?")
        code = text.replace_strict(list(kinds), list(range(len(kinds))), default=None, return_dtype=pl.UInt8)
        return kinds, code

    def _survey(self, count: pl.Expr | None, kind: pl.Expr, bad: pl.Expr) -> dict[str, Any]:
        """Everything that has to be known of all rows, in one pass."""
        kept = ~self.blank & kind.is_not_null()
        query = [
            *_sizes(),
            self.blank.sum().alias("blank"),
            (~self.blank & kind.is_null()).sum().alias("other"),
            (kept & bad).sum().alias("bad"),
            (kept & self._no_part()).sum().alias("strange"),
            *(_is_whole(self.types[c], pl.col(c)).alias(f"whole_{c}") for c in _IDS),
        ]
        if count is not None:
            query += [count.filter(kept).min().alias("low"), count.filter(kept).max().alias("high")]
            query.append((count == count.round()).filter(kept).all().alias("whole_time"))
        found = self._collect(self.frame.select(query)).row(0, named=True)
        survey = {"low": None, "high": None, "whole_time": False, **found}
        if self.opened.rows is not None and survey["rows"] != self.opened.rows:
            raise DataError(
                f"{self.source}: {self.opened.name} has {self.opened.rows} rows, but {survey['rows']} can be told "
                f"apart; {stray(self.source, self.opened)}"
            )
        for role in _IDS:
            if not survey[f"{role}s"]:
                raise DataError(f"{self._where(role)}: no row has anything there")
        return survey

    def _id(self, role: str, whole: bool) -> pl.Expr:
        raw, dtype = pl.col(role), self.types[role]
        if dtype.is_integer() or (dtype == pl.String and not whole):
            return raw
        if dtype == pl.String or (dtype.is_float() and whole):
            return raw.cast(pl.Int64)
        raise DataError(f"{self._where(role)}: the ids are fractions; takes text or whole numbers")

    def _value(self) -> pl.Expr:
        if "value" not in self.columns:
            return pl.lit(1.0)
        value = pl.col("value").cast(pl.Float64, strict=False)
        value = pl.when(value.abs() <= _LARGEST).then(value)
        empty = self.rules.empty_value
        return value if empty is None else pl.when(pl.col("value").is_null()).then(empty).otherwise(value)

    def _no_part(self) -> pl.Expr:
        """Where a row has no word of a part."""
        return part_code(pl.col("part")).is_null() if "part" in self.columns else pl.lit(value=False)

    def _first(self, bad: pl.Expr, time: pl.Expr, count: int) -> DataError:
        """The error for the first row that cannot be read."""
        kind = pl.lit(0) if "kind" not in self.columns else self._kinds()[1]
        is_time = self._time().is_not_null() & time.is_null()
        place, first = self._row(kind.is_not_null() & bad, is_time.alias("is_time"))
        role = "time" if first["is_time"] else "value"
        got = "empty" if first[role] is None else repr(str(first[role]))
        what = "a number; set empty_value to what an empty one counts" if first[role] is None else f"a {_TAKEN[role]}"
        return DataError(
            f"{place}: {self.columns[role]} is {got}, takes {what}; mend it, or set unreadable=drop{_more(count)}"
        )

    def _strange(self, kind: pl.Expr, count: int) -> DataError:
        """The error for the first row that is of no part."""
        place, first = self._row(kind.is_not_null() & self._no_part())
        word = first["part"]
        got, hint = ("empty", "") if word is None else (repr(word), did_you_mean(word.lower(), WORDS))
        return DataError(
            f"{place}: {self.columns['part']} is {got}, takes {TAKES}{hint}; mend it, or set columns.part to the "
            f"column of the parts{_more(count)}"
        )

    def _row(self, wanted: pl.Expr, *more: pl.Expr) -> tuple[str, dict[str, Any]]:
        """Where the first row of these stands, and its values. Line numbers are those before anything was dropped."""
        types = self.opened.frame.collect_schema()
        roles = [_raw(types[column], role, column) for role, column in self.columns.items()]
        rows = self.opened.frame.with_row_index("(row)").select("(row)", *roles).filter(~self.blank & wanted)
        first = self._collect(rows.with_columns(*more).head(1)).row(0, named=True)
        return f"{self.source}: {self.opened.where(first['(row)'])}", first


def _more(count: int) -> str:
    return f" ({count} such rows)" if count > 1 else ""


def _each(*steps: Callable[[], Any]) -> list[Any]:
    """What steps that do not depend on each other give; what is wrong with any of them is said together."""
    done, problems = [], []
    for step in steps:
        try:
            done.append(step())
        except DataError as error:
            problems.append(str(error))
    refuse_all(problems)
    return done


def _raw(dtype: pl.DataType, role: str, column: str) -> pl.Expr:
    """The column under its role; text with nothing in it is null, numbers and times in text are stripped."""
    raw = pl.col(column)
    if isinstance(dtype, pl.Categorical | pl.Enum):
        raw, dtype = raw.cast(pl.String), pl.String()
    if dtype == pl.String:
        raw = raw if role in _IDS else raw.str.strip_chars()
        raw = pl.when(raw.str.len_bytes() > 0).then(raw)
    elif dtype.is_float():
        raw = pl.when(raw.is_not_nan()).then(raw)
    return raw.alias(role)


def _refusal(role: str, dtype: pl.DataType) -> str:
    """What a role takes, when it does not take columns of that type."""
    if is_text(dtype):
        return ""
    match role:
        case "user" | "item":
            return "" if dtype.is_integer() or dtype.is_float() else "text or whole numbers"
        case "time":
            dated = dtype.is_numeric() or isinstance(dtype, pl.Date | pl.Datetime)
            return "" if dated else "dates, dates with times, numbers or text"
        case "part":
            return f"text: {TAKES}"
        case "kind":
            return "" if dtype.is_integer() or dtype == pl.Boolean else "text or whole numbers"
        case _:
            return "" if dtype.is_numeric() or dtype == pl.Boolean else "numbers"


def _sizes() -> tuple[pl.Expr, ...]:
    return (
        pl.len().alias("rows"),
        pl.col("user").drop_nulls().n_unique().alias("users"),
        pl.col("item").drop_nulls().n_unique().alias("items"),
    )


def _is_whole(dtype: pl.DataType, raw: pl.Expr) -> pl.Expr:
    """Whether ids are whole numbers written the one usual way, so that they can be numbers here ('007' is not 7)."""
    if dtype == pl.String:
        return (raw.cast(pl.Int64, strict=False).cast(pl.String) == raw).fill_null(raw.is_null()).all()
    return (raw.is_finite() & (raw == raw.round())).all() if dtype.is_float() else pl.lit(True)
