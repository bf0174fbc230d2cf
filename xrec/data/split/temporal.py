"""Global temporal split: everyone's events are cut at the same dates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import ALL_KINDS
from xrec.data.split.assigned import Assigned
from xrec.data.split.calendar import Calendar, last_hour
from xrec.data.split.merge import ASSIGNED_COLUMNS, merge_periods, step

ENDS = ("train_end", "validation_end", "test_end")


@dataclass(frozen=True)
class TemporalSplit:
    """Periods <= train_end train; train_end + 1 .. validation_end validate; validation_end + 1 .. test_end test.

    A validation history ends before the first validation period, a test history before the first test period. Events
    after test_end are dropped (step "span"); events of one user, item and period become one (step "merged").

    Args:
        train_end, validation_end, test_end: the last period of each, included. Whole numbers where the events' times
            are whole numbers, which are periods already; else ISO dates, the last day of each, or with period=hour also
            the last hour ('2017-10-29T17').
        period: of dates: 'hour', 'day', 'week' (Monday to Sunday), 'month', or a number of days ('10 days'), in UTC.
            Period 0 is the calendar unit that holds the first event; spans of days begin with the day of the first
            event. The dates above must be the last day of a unit. None where times are whole numbers.
    Raises:
        DataError: ends that are not ordered, or are neither all numbers nor all dates; an unknown period.
    """

    train_end: int | str
    validation_end: int | str
    test_end: int | str
    period: str | None = None
    name: ClassVar[str] = "temporal"

    def __post_init__(self) -> None:
        ends = self._ends()
        kinds = {type(e) for e in ends.values()}
        if kinds not in ({int}, {str}):
            raise DataError(f"split: takes three whole numbers or three dates, got {self._shown()}")
        calendar = Calendar.of(self.period)
        order: list[Any] = [last_hour(f"split.{n}", e) if isinstance(e, str) else e for n, e in ends.items()]
        if kinds == {str} and calendar is None:
            raise DataError(f"split.period: got null, but split.train_end={self.train_end} is a date; {Calendar.TAKES}")
        if not order[0] < order[1] < order[2]:
            got = ", ".join(str(e) for e in ends.values())
            raise DataError(f"split: needs train_end < validation_end < test_end, got {got}")

    def key(self) -> dict[str, Any]:
        """What the cache must know of this split."""
        return {"kind": "temporal", **asdict(self)}

    def assign(self, events: pl.DataFrame, n_targets: int = ALL_KINDS) -> Assigned:
        """See `Split.assign`.

        Raises:
            DataError: ends that do not suit the times, or that leave the training or a part empty.
        """
        del n_targets  # periods are the same for every kind
        timed, (train, validation, test) = self._timed(events)
        inside = timed.filter(pl.col("period") <= test).select(ASSIGNED_COLUMNS)
        self._none_empty(inside["period"], (train, validation, test), events)
        end = f"period {test}" if self.period is None else f"{self.test_end}, the end of period {test}"
        late = step("span", f"after {end}", inside)
        merged, steps = merge_periods(inside)
        return Assigned(
            merged,
            train_end=train,
            parts={"validation": (train + 1, validation), "test": (validation + 1, test)},
            steps=[late, *steps],
            promises=("global_order",),
        )

    def _ends(self) -> dict[str, int | str]:
        return {n: getattr(self, n) for n in ENDS}

    def _shown(self) -> str:
        return ", ".join(f"{n}={e!r}" for n, e in self._ends().items())

    def _timed(self, events: pl.DataFrame) -> tuple[pl.DataFrame, list[int]]:
        """The events with their period, and the three ends as periods."""
        calendar, ends = Calendar.of(self.period), self._ends()
        numbers = [e for e in ends.values() if isinstance(e, int)]
        if events.is_empty():
            raise DataError("split: there are no events to split")
        if not events.schema["time"].is_temporal():
            if calendar is not None or not numbers:
                raise DataError(
                    f"split: got {self._shown()}, period={self.period!r}, but times are whole numbers, which are "
                    f"periods already ({_span(events)}); give the ends as whole numbers, and leave period null"
                )
            return events.with_columns(period=pl.col("time").cast(pl.Int64)), numbers
        if calendar is None or numbers:
            raise DataError(
                f"split: got {self._shown()}, period={self.period!r}, but times are dates ({_span(events)}); give the "
                "ends as dates such as 2017-10-29, and a period such as day"
            )
        first = int(events.select(pl.col("time").dt.epoch("us").min()).item())
        timed = events.with_columns(period=calendar.numbers(pl.col("time"), first))
        return timed, [calendar.end(f"split.{n}", str(e), first) for n, e in ends.items()]

    def _none_empty(self, period: pl.Series, ends: tuple[int, int, int], events: pl.DataFrame) -> None:
        train, validation, test = ends
        shown = {n: f"split.{n}={e}" for n, e in self._ends().items()}
        where = {
            "train_end": (period <= train, f"in periods <= {shown['train_end']}"),
            "validation_end": (
                period.is_between(train + 1, validation),
                f"after {shown['train_end']} up to {shown['validation_end']}",
            ),
            "test_end": (
                period.is_between(validation + 1, test),
                f"after {shown['validation_end']} up to {shown['test_end']}",
            ),
        }
        for name, (inside, words) in where.items():
            if not inside.any():
                raise DataError(f"split: no events {words} ({_span(events)}); check split.{name}")


def _span(events: pl.DataFrame) -> str:
    first, last = events.select(pl.col("time").min().alias("first"), pl.col("time").max().alias("last")).row(0)
    return f"events run from {first} to {last}"
