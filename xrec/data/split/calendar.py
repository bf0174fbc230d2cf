"""Dates as numbers of calendar units, and settings that name the last day (or hour) of a unit. All in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import polars as pl

from xrec.data.errors import DataError
from xrec.words import did_you_mean

_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d(:00(:00)?)?)?")


@dataclass(frozen=True)
class Calendar:
    """Counts units of `kind` ('hour', 'day', 'week', 'month', or 'days' for spans of `days` days) from the first
    event's own unit, which is number 0; spans of days begin with the first event's day. Weeks are Monday to Sunday."""

    kind: str
    days: int = 1
    KINDS: ClassVar[tuple[str, ...]] = ("hour", "day", "week", "month")
    TAKES: ClassVar[str] = "takes hour, day, week, month, or a number of days such as '10 days'"

    @staticmethod
    def of(period: str | None) -> Calendar | None:
        """From the setting `split.period`; None where it is None.

        Raises:
            DataError: no such unit.
        """
        if period is None:
            return None
        spans = re.fullmatch(r"([1-9]\d{0,4}) days?", str(period))
        if spans:
            return Calendar("days", int(spans[1]))
        if period not in Calendar.KINDS:
            raise DataError(f"split.period: got {period!r}, {Calendar.TAKES}{did_you_mean(period, Calendar.KINDS)}")
        return Calendar(period)

    def numbers(self, time: pl.Expr, first: int) -> pl.Expr:
        """Datetime -> Int64; `first` is the time of the first event in microseconds since 1970."""
        start = pl.lit(first, dtype=pl.Int64).cast(pl.Datetime("us"))
        return (self._units(time) - self._units(start)).floordiv(self.days)

    def end(self, name: str, value: str, first: int) -> int:
        """The number of the unit whose last day (or hour) is `value`.

        Raises:
            DataError: not a date, or one inside a unit.
        """
        hour = last_hour(name, value)
        number = self._number(hour, first)
        if self._number(hour + timedelta(hours=1), first) > number:
            return number
        before, after = self._around(hour, first)
        unit = f"{self.days} days" if self.kind == "days" else self.kind
        raise DataError(
            f"{name}: got {value}, which is not the end of a {self.kind if self.kind != 'days' else 'span'} "
            f"(split.period={unit}); give {before} or {after}"
        )

    def last(self, number: int, first: int) -> str:
        """The last day (or hour) of a unit, as `end` takes it."""
        start = datetime(1970, 1, 1) + timedelta(microseconds=first)
        if self.kind == "hour":
            return f"{start + timedelta(hours=number):%Y-%m-%dT%H}"
        day = start.replace(hour=0, minute=0, second=0, microsecond=0)
        if self.kind == "month":
            months = day.year * 12 + day.month + number  # of the next month, counted from 0
            after = day.replace(year=months // 12, month=months % 12 + 1, day=1)
        elif self.kind == "week":
            after = day + timedelta(days=7 * (number + 1) - day.weekday())
        else:
            after = day + timedelta(days=self.days * (number + 1))
        return f"{after - timedelta(days=1):%Y-%m-%d}"

    def _units(self, time: pl.Expr) -> pl.Expr:
        if self.kind == "month":
            return (time.dt.year().cast(pl.Int64) - 1970) * 12 + time.dt.month().cast(pl.Int64) - 1
        since = time.dt.epoch("us")
        if self.kind == "hour":
            return since.floordiv(_HOUR)
        days = since.floordiv(_DAY)
        return (days + 3).floordiv(7) if self.kind == "week" else days  # 1970-01-01 was a Thursday

    def _number(self, moment: datetime, first: int) -> int:
        return int(pl.select(self.numbers(pl.lit(moment, dtype=pl.Datetime("us")), first)).item())

    def _around(self, hour: datetime, first: int) -> tuple[str, str]:
        """The last days of the unit before, and of the unit of this hour."""
        day = hour.replace(hour=23)
        number, after, before = self._number(hour, first), day, day
        while self._number(after + timedelta(hours=1), first) == number:
            after += timedelta(days=1)
        while self._number(before, first) == number:
            before -= timedelta(days=1)
        return f"{before:%Y-%m-%d}", f"{after:%Y-%m-%d}"


def last_hour(name: str, value: str) -> datetime:
    """The last hour that a date, or an hour, includes.

    Raises:
        DataError: neither of them.
    """
    refusal = f"{name}: got {value!r}, takes a date such as 2017-10-29, or an hour such as 2017-10-29T17 (UTC)"
    match = _DATE.fullmatch(value)
    if match is None:
        raise DataError(refusal)
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise DataError(f"{refusal}: {error}") from error
    return found if match[1] else found.replace(hour=23)
