"""A table of items or users -> attributes by type, and names for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import Step
from xrec.data.sources.files import Opened, check_columns, collect, is_text, stray
from xrec.data.sources.logs import Log
from xrec.words import did_you_mean

TYPES = ("categorical", "numeric", "list", "text")
_NUMBER = r"^-?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?$"
#: a number as people write it, with commas between thousands or without
_WRITTEN = r"^[+-]?(?:\d{1,3}(?:,\d{3})+|\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?$"
#: a column of which this share are numbers is meant to be one of numbers
_MOST = 0.9
_ROW, _ID = "(row)", "(id)"


@dataclass
class Attributes:
    """frame: the key and its attributes, typed as `RawData` wants them. notes: what was left out, for people.
    strange: ids, as written, that no event can have."""

    frame: pl.DataFrame
    names: dict[str, str] = field(default_factory=dict)
    text: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    strange: pl.Series = field(default_factory=lambda: pl.Series(dtype=pl.String))


def attribute_table(
    source: str,
    opened: Opened,
    key: tuple[str, str],
    columns: Mapping[str, str],
    *,
    name: str | None,
    types: Mapping[str, str],
    separator: str,
    dtype: pl.DataType,
) -> Attributes:
    """The attributes and names that a file gives.

    Args:
        key: item or user, and the column of its ids. columns: attribute -> column. name: the column of names.
        types: attribute -> one of TYPES. Others are categorical if they are text or truth values, numeric if all their
            values are numbers without leading zeros, lists if they are lists. NaN and nan are missing values.
        separator: between the values of a list that is text. dtype: of the ids in the events.
    Raises:
        DataError: lacking columns, rows of one entity that differ, values that are not of the type that was set, a
            column of numbers with a few that are none.
    """
    entity, ids = key
    check_columns(source, opened, {entity: ids, **({"name": name} if name else {}), **columns}, f"{entity}s.columns")
    _check_types(source, entity, types, columns)
    if entity in columns:
        raise DataError(
            f"{source}: {opened.path.name}: no attribute can be called {entity!r}, as the id is; give it another name"
        )
    chosen = list(dict.fromkeys([ids, *([name] if name else []), *columns.values()]))
    rows = collect(source, opened, opened.frame.select(chosen).with_row_index(_ROW))
    if opened.rows is not None and rows.height != opened.rows:
        raise DataError(
            f"{source}: {opened.path.name} has {opened.rows} rows, but {rows.height} can be told apart; "
            f"{stray(source, opened)}"
        )
    table = _Table(source, opened, entity, ids, rows)
    table.check_types()
    known = _as_ids(rows[ids], dtype)
    strange = rows[ids].cast(pl.String).filter(known.is_null()).replace("", None).drop_nulls()
    notes = table.one_row_each(known)
    guessed = {a: table.guess(a, column) for a, column in columns.items() if a not in types}
    kinds = {**guessed, **types}
    typed = [table.typed(attribute, column, kinds[attribute], separator) for attribute, column in columns.items()]
    if guessed:
        notes.append("types found out: " + ", ".join(f"{a} {kind}" for a, kind in guessed.items()))
    names: dict[str, str] = {}
    if name is not None:
        named = pl.DataFrame(
            [table.ids.cast(pl.String), _joined(_plain(table.rows[name])).alias("(name)")]
        ).drop_nulls()
        names = dict(named.iter_rows())
    text = tuple(a for a in columns if types.get(a) == "text")
    return Attributes(pl.DataFrame([table.ids, *typed]), names, text, notes, strange)


def matched(source: str, log: Log, key: str, found: Attributes, file: str) -> Step:
    """The step that says how many entities of the log the table knows, and what was left out of it.

    Raises:
        DataError: it knows none.
    """
    entities = log.events.select(pl.col(key).unique()).drop_nulls().collect(engine="streaming")[key]
    known = int(entities.is_in(found.frame[key].implode()).sum())
    given = found.frame[key] if found.frame.height else found.strange
    if len(given) and not known:
        raise DataError(
            f"{source}: no {key} of the events has a row in {file}: events have {key}s such as {_some(entities)}, "
            f"{file} such as {_some(given)}"
        )
    last = log.steps[-1]
    notes = [f"{known} of {len(entities)} {key}s have a row in {file}", *found.notes]
    if len(found.strange):
        notes.append(f"ids of {file} that no event can have: {_some(found.strange)}")
    return Step(f"{key} table", "; ".join(notes), last.rows, last.users, last.items)


def _check_types(source: str, entity: str, types: Mapping[str, str], attributes: Mapping[str, str]) -> None:
    takes = TYPES if entity == "item" else TYPES[:-1]  # the text of users is not hashed
    for attribute, kind in types.items():
        if attribute not in attributes:
            hint = did_you_mean(attribute, attributes)
            raise DataError(f"{source}: {entity}s.types.{attribute}: there is no such attribute{hint}")
        if kind not in takes:
            hint = did_you_mean(str(kind), takes)
            raise DataError(f"{source}: {entity}s.types.{attribute} is {kind!r}, takes one of {', '.join(takes)}{hint}")


def _as_ids(ids: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Ids in the type they have in the events; one that cannot be there is null."""
    if ids.dtype.is_float():
        ids = ids.cast(pl.Int64, strict=False) if (ids.drop_nulls() == ids.drop_nulls().round()).all() else ids
    text = ids.cast(pl.String)
    if dtype == pl.String:
        return text.replace("", None)
    whole = text.cast(dtype, strict=False)
    return whole.set(whole.cast(pl.String) != text, None)


class _Table:
    """The rows of an attribute file; `ids` are those of `rows` in the type of the events."""

    def __init__(self, source: str, opened: Opened, entity: str, column: str, rows: pl.DataFrame) -> None:
        self.source, self.opened, self.entity, self.column, self.rows = source, opened, entity, column, rows
        self.ids = rows[column]

    def check_types(self) -> None:
        """Raise `DataError` for a column that holds neither text, numbers, dates, truth values nor lists of them."""
        for column in self.rows.columns:
            dtype = self.rows[column].dtype
            where = f"{self.source}: {self.opened.path.name}, column {column!r}: values of type {dtype}"
            if column == self.column and not (is_text(dtype) or dtype.is_integer() or dtype.is_float()):
                raise DataError(f"{where}, takes text or whole numbers")
            inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
            assert isinstance(inner, pl.DataType)
            dated = isinstance(inner, pl.Date | pl.Datetime)
            if not (is_text(inner) or inner.is_numeric() or dated or inner == pl.Boolean):
                raise DataError(f"{where}; leave it out, by naming the columns to take")

    def one_row_each(self, ids: pl.Series) -> list[str]:
        """Leave out rows without an id and repetitions of a row; returns what was left out, for people."""
        file, notes = self.opened.path.name, []
        kept = self.rows.with_columns(ids.alias(_ID)).drop_nulls(_ID)
        if lost := self.rows.height - kept.height:
            notes.append(f"{lost} rows of {file} left out: their {self.entity} is empty or cannot be in the events")
        distinct = kept.unique([c for c in kept.columns if c != _ROW], keep="first", maintain_order=True)
        if lost := kept.height - distinct.height:
            notes.append(f"{lost} rows of {file} left out: they repeat another")
        twice = distinct.filter(pl.col(_ID).is_duplicated())
        if twice.height:
            one, other = twice.filter(pl.col(_ID) == twice[_ID][0])[_ROW].to_list()[:2]
            raise DataError(
                f"{self.source}: {file}, {self.opened.place(one)} and {self.opened.place(other)}: both describe "
                f"{self.entity} {str(twice[_ID][0])!r} and differ; keep one row per {self.entity}"
            )
        self.ids, self.rows = distinct[_ID].alias(self.entity), distinct.drop(_ID)
        return notes

    def guess(self, attribute: str, column: str) -> str:
        """The type of an attribute whose type was not set."""
        values = _plain(self.rows[column])
        dtype = values.dtype
        if dtype == pl.String:
            return self._guess_text(attribute, column, values)
        if dtype == pl.Boolean:
            return "categorical"
        if dtype.is_numeric():
            return "numeric"
        if isinstance(dtype, pl.List):
            return "list"
        raise DataError(
            f"{self.source}: {self.opened.path.name}, column {column!r}: an attribute of type {dtype}; leave it out, "
            "or set its type to categorical"
        )

    def _guess_text(self, attribute: str, column: str, values: pl.Series) -> str:
        present = values.drop_nulls()
        number = present.str.contains(_NUMBER)
        if len(present) and number.all():
            return "numeric"
        written = present.str.contains(_WRITTEN) & present.str.contains(r"\d")
        if present.str.contains(r"^0\d").any() or not len(present) or (written.mean() or 0.0) < _MOST:  # type: ignore[operator]
            return "categorical"
        odd = present.filter(~number)[0]
        row = self.rows[_ROW][int((values == odd).arg_true()[0])]
        raise DataError(
            f"{self.source}: {self.opened.path.name}, {self.opened.place(row)}: {column} is {odd!r}, but "
            f"{number.sum()} of {len(present)} values are numbers; mend it, or set {self.entity}s.types.{attribute} to "
            "categorical"
        )

    def typed(self, attribute: str, column: str, kind: str, separator: str) -> pl.Series:
        """One attribute as RawData has it: String or Boolean, List(String), or a number."""
        values = _plain(self.rows[column])
        if kind == "numeric":
            found = self._numbers(column, values)
        elif kind == "list":
            found = _lists(values, separator)
        else:
            found = values if values.dtype == pl.Boolean else _joined(values)
        return found.alias(attribute)

    def _numbers(self, column: str, values: pl.Series) -> pl.Series:
        file = self.opened.path.name
        if values.dtype.is_nested() or values.dtype.is_temporal():
            raise DataError(f"{self.source}: {file}, column {column!r}: values of type {values.dtype} are no numbers")
        number = values.cast(pl.Float64, strict=False)
        number = number.set(~number.is_finite(), None)
        bad = values.is_not_null() & number.is_null() & (values.cast(pl.String).str.to_lowercase() != "nan")
        if bad.any():
            first = int(bad.arg_true()[0])
            place = f"{self.source}: {file}, {self.opened.place(self.rows[_ROW][first])}"
            got = repr(str(values[first]))
            raise DataError(
                f"{place}: {column} is {got}, takes a finite number; mend it, or set its type to categorical"
            )
        return number


def _plain(values: pl.Series) -> pl.Series:
    dtype = values.dtype
    if isinstance(dtype, pl.Array):
        return values.arr.to_list()
    if isinstance(dtype, pl.Categorical | pl.Enum) or dtype == pl.Null:
        values = values.cast(pl.String)
    if values.dtype != pl.String:
        return values
    return values.str.strip_chars().replace(["", "NaN", "nan"], None)  # NaN as pandas writes it


def _lists(values: pl.Series, separator: str) -> pl.Series:
    """Lists of text: stripped, without empty ones, each value once."""
    if isinstance(values.dtype, pl.List):
        parts = values.cast(pl.List(pl.String))
    else:
        parts = _joined(values).str.split(separator)
    element = pl.element().str.strip_chars()
    return parts.list.eval(element.filter(element.str.len_bytes() > 0).unique(maintain_order=True))


def _joined(values: pl.Series) -> pl.Series:
    """One text each; a list is joined by spaces."""
    if isinstance(values.dtype, pl.List):
        values = values.cast(pl.List(pl.String)).list.join(" ")
    return values.cast(pl.String).str.strip_chars().replace("", None)


def _some(values: pl.Series) -> str:
    return ", ".join(repr(str(v)) for v in values.sort().head(3))
