"""Delimited files of millions of rows: scanned lazily, checked in one streaming pass, a fault traced to its line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import EVENT_COLUMNS, Step
from xrec.data.sources.files import no_twice
from xrec.data.sources.reading import decoded, fetch_again
from xrec.words import did_you_mean

#: The first second of 2100: a later time is a wrong unit or a broken file.
LATEST = 4_102_444_800
PER_SECOND = {"s": 1, "ms": 1_000}
POLARS_FAULTS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)

_WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Column:
    """One column of a file: its name here, its type, its name in the file's header, and what it may hold.

    low, high: bounds of a number; note: what they are, for people. choices: the only texts. optional: may be empty. A
    column without a name is a gap that must be empty.
    """

    name: str
    dtype: Any
    header: str = ""
    low: float | None = None
    high: float | None = None
    note: str = ""
    choices: tuple[str, ...] = ()
    optional: bool = False

    @property
    def label(self) -> str:
        return self.header or self.name

    def fault(self, text: str) -> str | None:
        """What is wrong with `text` as a value of this column."""
        if not self.name:
            return f"{text!r} stands where nothing may" if text else None
        if not text:
            return None if self.optional else f"{self.label} is empty"
        if self.choices and text not in self.choices:
            return f"{self.label} {text!r} is none of {', '.join(self.choices)}"
        if self.dtype == pl.String:
            return None
        if self.dtype.is_integer() and not _WHOLE.fullmatch(text):
            return f"{self.label} {text!r} is not a whole number"
        try:
            number = float(text)
        except ValueError:
            return f"{self.label} {text!r} is not a number"
        low, high = self._bounds()
        if not low <= number <= high:
            return f"{self.label} {text} is outside {low:.15g} to {high:.15g}{self.note}"
        return None

    def is_bad(self, column: str) -> pl.Expr:
        """Rows whose `column` breaks these rules, as far as the type let them through."""
        value = pl.col(column)
        if not self.name:
            return value.is_not_null()
        bad = pl.lit(False) if self.optional else value.is_null()
        if self.choices:
            bad |= ~value.is_in(list(self.choices))
        elif self.dtype == pl.String:
            bad |= value.str.contains("\n", literal=True)  # a quote that was never closed has swallowed lines
        elif self.low is not None or self.high is not None:
            bad |= ~value.is_between(*self._bounds())
        return bad.fill_null(not self.optional)

    def _bounds(self) -> tuple[float, float]:
        low, high = float("-inf"), float("inf")
        if self.dtype.is_integer():
            low, high = (float(v) for v in _limits(self.dtype))
        return (low if self.low is None else self.low), (high if self.high is None else self.high)


def _limits(dtype: Any) -> tuple[int, int]:
    bits = {pl.Int32: 31, pl.Int64: 63}[dtype]
    return -(2**bits), 2**bits - 1


@dataclass(frozen=True)
class Delimited:
    """A file of rows. Without a header, `columns` are all columns in order; with one, those that are needed.

    quote: the quoting character; None where the format has none (faster, and a stray quote is then a fault).
    """

    source: str
    path: Path
    columns: tuple[Column, ...]
    separator: str = ","
    header: bool = True
    quote: str | None = None

    def scan(self) -> pl.LazyFrame:
        """The named columns, not yet read; `checked` says whether they can be.

        Raises:
            DataError: the header lacks a column.
        """
        return self._raw().select(c.name for c in self.columns if c.name)

    def checked(self, *aggregates: pl.Expr) -> dict[str, Any]:
        """Aggregates over the columns of `scan`, taken in one streaming pass that checks every row of the file.

        Raises:
            DataError: names the first line that breaks the rules of its columns, and why.
        """
        names = self._names()
        blank = pl.all_horizontal(pl.col(n).is_null() for n in names)
        bad = pl.any_horizontal(c.is_bad(n) for n, c in zip(names, self.columns, strict=True)) & ~blank
        raw = self._raw()
        if self.header and self.quote:  # columns that nobody needs can swallow lines too
            bad |= pl.any_horizontal(pl.selectors.exclude(names).str.contains("\n", literal=True), False).fill_null(
                False
            )
        try:
            found = raw.select(bad.any().alias("_bad"), *aggregates).collect(engine="streaming")
        except POLARS_FAULTS as error:
            raise self.fault(error) from error
        result = found.row(0, named=True)
        if result.pop("_bad"):
            raise self.fault(None)
        return result

    def fault(self, error: BaseException | None) -> DataError:
        """The first fault of the file as an error; the slow way, line by line."""
        try:
            for number, fields in self.rows():
                for column, text in zip(self.columns, fields, strict=True):
                    if reason := column.fault(text):
                        return self._line(number, reason)
        except DataError as found:
            return found
        reason = str(error).split("\n", 1)[0] if error is not None else "a quoted field runs over several lines"
        return DataError(f"{self.source}: {self.path.name} cannot be read: {reason}; {fetch_again(self.source)}")

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line number, the fields of `columns`) of every line, read by Python.

        Raises:
            DataError: a line with too few or too many fields, an open quote, or one that is not UTF-8.
        """
        lines = decoded(self.source, self.path)
        wanted = range(len(self.columns))
        width = len(self.columns)
        if self.header:
            names = self._header()
            wanted, width = [names.index(c.header) for c in self.columns], len(names)
            next(lines)
        for number, line in lines:
            fields = self._fields(number, line)
            if len(fields) != width:
                raise self._line(number, f"{len(fields)} fields, where {width} are needed")
            yield number, [fields[i] for i in wanted]

    def _fields(self, number: int, line: str) -> list[str]:
        if self.quote is None or self.quote not in line:
            return line.split(self.separator)
        try:
            return next(csv.reader([line], delimiter=self.separator, quotechar=self.quote, strict=True))
        except csv.Error as error:
            raise self._line(number, f"a quote is never closed ({error})") from error

    def _line(self, number: int, reason: str) -> DataError:
        return DataError(
            f"{self.source}: {self.path.name}, line {number}: {reason}; mend the line, or {fetch_again(self.source)}"
        )

    def _header(self) -> list[str]:
        number, line = next(decoded(self.source, self.path, size=1 << 16), (0, ""))
        if not number:
            raise DataError(f"{self.source}: {self.path.name} is empty; {fetch_again(self.source)}")
        names = self._fields(number, line)
        lacking = [c.header for c in self.columns if c.header not in names]
        if lacking:
            raise DataError(
                f"{self.source}: {self.path.name} lacks the columns {', '.join(lacking)}; its first line is "
                f"{line[:200]!r}{did_you_mean(lacking[0], names)}"
            )
        no_twice(self.source, self.path, names)
        return names

    def _names(self) -> list[str]:
        return [c.name or f"_gap_{i}" for i, c in enumerate(self.columns)]

    def _raw(self) -> pl.LazyFrame:
        types = {
            (c.header if self.header else name): c.dtype for name, c in zip(self._names(), self.columns, strict=True)
        }
        frame = pl.scan_csv(
            self.path,
            has_header=self.header,
            separator=self.separator,
            quote_char=self.quote,
            schema=None if self.header else types,
            schema_overrides=types if self.header else None,
            infer_schema=False,
            glob=False,
        )
        if not self.header:
            return frame
        spare = [n for n in self._header() if n not in types]
        return frame.select(
            *(pl.col(c.header).alias(c.name) for c in self.columns),
            *(pl.col(n).alias(f"_spare_{i}") for i, n in enumerate(spare)),
        )


def time_column(header: str, unit: str, since: int) -> Column:
    """Times in `unit` since 1970, none before the year `since`: an earlier one is a wrong unit or a torn number."""
    first = int(datetime(since, 1, 1, tzinfo=UTC).timestamp())
    note = f" ({'seconds' if unit == 's' else 'milliseconds'} since 1970, of {since} to 2099)"
    return Column("time", pl.Int64, header, first * PER_SECOND[unit], LATEST * PER_SECOND[unit], note)


def event_columns(
    user: str, item: str, value: str, time: str, *, ids: Any, unit: str, since: int, bounds: tuple[float, float]
) -> dict[str, Column]:
    """The four columns of a rating log by their names in the header (or for people, where there is none)."""
    return {
        "user": Column("user", ids, user),
        "item": Column("item", ids, item),
        "value": Column("value", pl.Float32, value, *bounds),
        "time": time_column(time, unit, since),
    }


def event_log(table: Delimited, unit: str, kinds: tuple[str, ...] = ()) -> tuple[pl.LazyFrame, list[Step]]:
    """The event log of a file with columns user, item, time (in `unit` since 1970) and value or, with `kinds`, kind.

    Raises:
        DataError: a line that breaks the rules of its columns; no rows at all.
    """
    present = pl.any_horizontal(pl.col("user", "item", "time").is_not_null())
    sizes = table.checked(
        pl.len().alias("all"),
        present.sum().alias("rows"),
        pl.col("user").drop_nulls().n_unique().alias("users"),
        pl.col("item").drop_nulls().n_unique().alias("items"),
    )
    if not sizes["rows"]:
        raise DataError(f"{table.source}: {table.path.name} holds no rows; {fetch_again(table.source)}")
    steps = [Step("read", f"rows of {table.path.name}", sizes["rows"], sizes["users"], sizes["items"])]
    if blank := sizes["all"] - sizes["rows"]:
        steps = [
            Step("read", f"lines of {table.path.name}", sizes["all"], sizes["users"], sizes["items"]),
            Step("blank", f"{blank} blank lines", sizes["rows"], sizes["users"], sizes["items"]),
        ]
    kind = pl.lit(0, pl.UInt8)
    if kinds:
        kind = pl.col("kind").replace_strict(dict(zip(kinds, range(len(kinds)), strict=True)), return_dtype=pl.UInt8)
    value = pl.lit(1.0, pl.Float32) if kinds else pl.col("value")
    events = (
        table.scan().filter(present).with_columns(utc(pl.col("time"), unit), kind.alias("kind"), value.alias("value"))
    )
    return events.select(EVENT_COLUMNS), steps


def utc(count: pl.Expr, unit: str) -> pl.Expr:
    """Seconds or milliseconds since 1970 as Datetime("us", "UTC")."""
    return (count * (1_000_000 // PER_SECOND[unit])).cast(pl.Datetime("us", "UTC"))
