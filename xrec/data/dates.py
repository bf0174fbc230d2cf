"""Dates as settings write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from xrec.data.errors import DataError


def moment_of(value: str, *, end: bool = False, where: str = "date") -> datetime:
    """A date, or a date with a time, in UTC unless it has an offset. end: a date alone means its last microsecond.

    Raises:
        DataError: not a date; starts with `where`.
    """
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise DataError(f"{where} is {value!r}; takes a date such as 2015-01-31, or 2015-01-31 12:00") from error
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found + timedelta(days=1, microseconds=-1) if end and _is_date(value) else found


def _is_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True
