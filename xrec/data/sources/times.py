"""A column of times, however a file writes them -> Datetime in UTC, or whole periods.

A reading is chosen by the setting or, without one, by what most of the first values look like; a column that more than
one reading fits is refused, with the settings to choose from. Values that the reading does not fit become null.
"""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass

import polars as pl

from xrec.data.errors import DataError
from xrec.data.sources.files import first_line
from xrec.words import did_you_mean

UTC = pl.Datetime("us", "UTC")
#: unit of a count since 1970 -> microseconds
UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
#: what a count since 1970 must lie in for its unit to be guessed: the years 1973 to 2286
BANDS = {unit: (1e14 / factor, 1e16 / factor) for unit, factor in UNITS.items()}
PERIOD = "period"
#: microseconds of the years 1 and 9999
_EARLIEST, _LATEST = -62_135_596_800e6, 253_402_300_799e6
_OFFSET = r"(?:[+-]\d{2}(?::?\d{2})?|Z|z| ?UTC| ?GMT)$"
_ISO = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)?"
_NUMBER = r"^[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?$"
#: dates written as whole numbers: 20240131
_DAYS = (19_000_101, 21_001_231)
_DAY_NUMBER = r"^(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$"
_CHOICES = "s, ms, us, ns (since 1970), period (a week's or a line's number), or a pattern such as '%d/%m/%Y %H:%M'"


@dataclass(frozen=True)
class Reading:
    """How a column is read. count: its number before the unit is known (epochs), else None; settled by `settle`."""

    name: str
    time: pl.Expr | None
    count: pl.Expr | None = None


def check_settings(source: str, time_format: str | None, timezone: str) -> None:
    """Raises:
    DataError: a format or a time zone that does not exist.
    """
    if time_format is not None and time_format not in (*UNITS, PERIOD) and "%" not in time_format:
        hint = did_you_mean(time_format, (*UNITS, PERIOD))
        raise DataError(f"{source}: time_format is {time_format!r}, takes {_CHOICES}{hint}")
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DataError(f"{source}: timezone is {timezone!r}, takes a name such as UTC or Europe/Paris") from error


def reading(where: str, column: str, head: pl.Series, time_format: str | None, timezone: str) -> Reading:
    """How `column` is read; `head` are its first values that are not null.

    Raises:
        DataError: values that no reading, or more than one, fits; starts with `where`.
    """
    raw = pl.col(column)
    if time_format is None and head.dtype.is_temporal():
        return Reading("dates", _native(raw, head.dtype, timezone))
    text = raw.cast(pl.String).str.strip_chars()
    if time_format is None and _share(head, _DAY_NUMBER) == 1:
        time_format = "%Y%m%d"
    if time_format == PERIOD:
        return Reading(PERIOD, _whole(raw, head.dtype, text))
    if time_format in UNITS or (time_format is None and (head.dtype.is_numeric() or _share(head, _NUMBER) > 0.5)):
        count = raw.cast(pl.Float64) if head.dtype.is_numeric() else text.cast(pl.Float64, strict=False)
        count = pl.when(count.is_finite()).then(count)
        return Reading(time_format or "", None, count)
    if time_format is not None:
        return Reading(time_format, _patterned(where, text, head, time_format, timezone))
    iso = head.cast(pl.String).str.strip_chars()
    iso = iso.filter(iso.str.contains(f"{_ISO} ?(?:{_OFFSET[:-1]})?$"))
    if len(iso) <= len(head) / 2:
        raise DataError(
            f"{where}: times such as {_sample(head)} can be read in several ways; set time_format: {_CHOICES}"
        )
    offsets = iso.str.slice(10).str.contains(_OFFSET)
    if offsets.any() and not offsets.all():
        raise DataError(
            f"{where}: some times have an offset and some have none ({_sample(iso.filter(~offsets))}); write all the "
            "same way"
        )
    return Reading("ISO", _iso(text, bool(offsets.any()), timezone))


def as_periods(found: Reading, low: float | None, high: float | None, whole: bool) -> tuple[Reading, bool]:
    """Whether times whose unit is not told are whole numbers that no unit since 1970 fits: a week's number, say, or
    that of an order; and then the reading that takes them so."""
    if found.count is None or found.name or low is None or high is None or not whole:
        return found, False
    if low < 0 or high >= BANDS["s"][0] or (_DAYS[0] <= low and high <= _DAYS[1]):
        return found, False
    return Reading(PERIOD, found.count.cast(pl.Int64)), True


def settle(where: str, found: Reading, low: float | None, high: float | None) -> pl.Expr:
    """The times, once the smallest and largest count of the column are known.

    Raises:
        DataError: counts whose unit cannot be told, or that lie outside the years 1 to 9999.
    """
    if found.time is not None:
        return found.time
    assert found.count is not None
    unit = found.name
    if not unit:
        fitting = [] if low is None or high is None else [u for u, (a, b) in BANDS.items() if a <= low and high < b]
        if not fitting:
            raise DataError(
                f"{where}: times from {_shown(low)} to {_shown(high)} are not in seconds, milliseconds, ... since 1970 "
                f"throughout; set time_format: {_CHOICES}"
            )
        unit = fitting[0]
    factor = UNITS[unit]
    if low is not None and high is not None and (low * factor < _EARLIEST or high * factor > _LATEST):
        raise DataError(
            f"{where}: times from {_shown(low)} to {_shown(high)} are no {unit} since 1970; set time_format: {_CHOICES}"
        )
    return (found.count * factor).round().cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _native(raw: pl.Expr, dtype: pl.DataType, timezone: str) -> pl.Expr:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return raw.dt.cast_time_unit("us").dt.convert_time_zone("UTC")
    return _local(raw.cast(pl.Datetime("us")), timezone)


def _iso(text: pl.Expr, offset: bool, timezone: str) -> pl.Expr:
    text = text.str.replace(r"^(.{10})T", "${1} ").str.replace(",", ".", literal=True)
    if not offset:
        formats = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
        return _local(pl.coalesce(_parsed(text, f) for f in formats), timezone)
    text = text.str.replace(r" ?(?:Z|z|UTC|GMT)$", "+00:00")
    return _parsed(text.str.replace(r"^(.{16}) ?([+-])", "${1}:00${2}"), "%Y-%m-%d %H:%M:%S%.f%#z")


def _patterned(where: str, text: pl.Expr, head: pl.Series, pattern: str, timezone: str) -> pl.Expr:
    try:
        head.cast(pl.String).str.to_datetime(pattern, strict=False)
    except pl.exceptions.PolarsError as error:
        reason = first_line(error).removeprefix("Invalid format string: ")
        raise DataError(f"{where}: time_format is {pattern!r}, which is no pattern ({reason})") from error
    parsed = _parsed(text, pattern)
    return parsed if "%z" in pattern or "%#z" in pattern else _local(parsed, timezone)


def _parsed(text: pl.Expr, pattern: str) -> pl.Expr:
    return text.str.to_datetime(pattern, strict=False, time_unit="us")


def _local(time: pl.Expr, timezone: str) -> pl.Expr:
    """Clock times of `timezone` -> UTC: of an hour that comes twice the earlier, an hour that is skipped is null."""
    placed = time.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return placed.dt.convert_time_zone("UTC")


def _whole(raw: pl.Expr, dtype: pl.DataType, text: pl.Expr) -> pl.Expr:
    if dtype.is_integer():
        return raw.cast(pl.Int64, strict=False)
    number = text.cast(pl.Float64, strict=False)
    return pl.when((number == number.round()) & (number.abs() < 2.0**53)).then(number).cast(pl.Int64, strict=False)


def _share(head: pl.Series, pattern: str) -> float:
    return head.cast(pl.String).str.strip_chars().str.contains(pattern).mean() or 0.0  # type: ignore[return-value]


def _sample(head: pl.Series) -> str:
    return ", ".join(repr(str(v)) for v in head.head(2))


def _shown(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.15g}"
