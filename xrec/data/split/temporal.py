"""Global temporal split: everyone's events are cut at the same dates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import ALL_KINDS
from xrec.data.split.assigned import Assigned
from xrec.data.split.calendar import Calendar, last_hour
from xrec.data.split.merge import ASSIGNED_COLUMNS, merge_periods, step
from xrec.data.split.settings import share
from xrec.data.split.shares import ENDS, SHARE, Cut, cut_by_shares


@dataclass(frozen=True)
class TemporalSplit:
    """Periods <= train_end train; train_end + 1 .. validation_end validate; validation_end + 1 .. test_end test.

    A validation history ends before the first validation period, a test history before the first test period. Events
    after test_end are dropped (step "span"); events of one user, item and period become one (step "merged").

    Without ends it cuts by shares: it looks at the events (see `shares`) and settles to the ends it finds.

    Args:
        train_end, validation_end, test_end: the last period of each, included. Whole numbers where the events' times
            are whole numbers, which are periods already; else ISO dates, the last day of each, or with period=hour also
            the last hour ('2017-10-29T17').
        period: of dates: 'hour', 'day', 'week' (Monday to Sunday), 'month', or a number of days ('10 days'), in UTC.
            Period 0 is the calendar unit that holds the first event; spans of days begin with the day of the first
            event. The dates above must be the last day of a unit. None where times are whole numbers; by shares, where
            it is to be found out.
        validation, test: shares of the events that are to be predicted, instead of ends; None: .1.
    Raises:
        DataError: ends that are not ordered, or are neither all numbers nor all dates; some ends, or ends and shares;
            an unknown period.
    """

    train_end: int | str | None = None
    validation_end: int | str | None = None
    test_end: int | str | None = None
    period: str | None = None
    validation: float | None = None
    test: float | None = None
    name: ClassVar[str] = "temporal"
    cold_items: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self._by_share():
            Calendar.of(self.period)
            for name, value in zip(("validation", "test"), self._shares(), strict=True):
                share(name, value)
            if sum(self._shares()) >= 1:
                raise DataError(f"split: validation and test of {self._shares()} leave nothing to train on")
            return
        ends = self._ends()
        if missing := [n for n, e in ends.items() if e is None]:
            raise DataError(
                f"split.{missing[0]}: got null, but {self._shown()}; give all three ends, or none of them and the "
                "shares split.validation and split.test"
            )
        if self.validation is not None or self.test is not None:
            raise DataError(
                f"split: got the ends {self._shown()} and the shares validation={self.validation}, test={self.test}; "
                "give one of the two (the ends that a data set brings are data.ends; data.ends=null leaves them out)"
            )
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
        shares = {"validation": self.validation, "test": self.test} if self._by_share() else {}
        return {"kind": "temporal", **self._ends(), "period": self.period, **shares}

    def at_once(self) -> TemporalSplit | None:
        """See `Unsettled`."""
        return None if self._by_share() else self

    def look(self, events: pl.DataFrame, n_targets: int, own_counter: bool) -> dict[str, Any]:
        """See `Unsettled`.

        Raises:
            DataError: no common calendar, or too few periods to cut between.
        """
        if events.is_empty():
            raise DataError("split: there are no events to split")
        if own_counter:
            raise DataError(
                "split=temporal: times count each user's own events, and are no calendar that everyone shares; take "
                "split=leave_last_out, or give the ends of periods"
            )
        if self.period is not None and not events.schema["time"].is_temporal():
            raise DataError(
                f"split.period: got {self.period!r}, but times are whole numbers, which are periods already "
                f"({_span(events)}); leave it null"
            )
        cut, ends = cut_by_shares(events, n_targets, self._shares(), self.period)
        return {**ends, "words": _words(cut, ends)}

    def settle(self, found: dict[str, Any]) -> TemporalSplit:
        """See `Unsettled`."""
        return TemporalSplit(**{name: found[name] for name in ENDS}, period=found.get("period"))

    def assign(self, events: pl.DataFrame, n_targets: int = ALL_KINDS) -> Assigned:
        """See `Split.assign`.

        Raises:
            DataError: ends that do not suit the times, or that leave the training or a part empty.
        """
        if self._by_share():
            return self.settle(self.look(events, n_targets, own_counter=False)).assign(events, n_targets)
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

    def _by_share(self) -> bool:
        return all(end is None for end in self._ends().values())

    def _shares(self) -> tuple[float, float]:
        validation, test = (SHARE if s is None else s for s in (self.validation, self.test))
        return validation, test

    def _ends(self) -> dict[str, int | str | None]:
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


def _words(cut: Cut, ends: dict[str, Any]) -> str:
    """'temporal by share, weeks; train to 2024-03-31, ... (9.8 % and 10.2 % of the events)'"""
    unit = "" if cut.unit is None else cut.unit if " " in cut.unit else f"{cut.unit}s"
    kind = unit or "times are period numbers (if they count each user's own events: split=leave_last_out)"
    parts = ", ".join(f"{part} to {ends[end]}" for part, end in zip(("train", "validation", "test"), ENDS, strict=True))
    _, validation, test = cut.shares
    return f"temporal by share, {kind}; {parts} ({validation:.1%} and {test:.1%} of the events)".replace("%", " %")


def _span(events: pl.DataFrame) -> str:
    first, last = events.select(pl.col("time").min().alias("first"), pl.col("time").max().alias("last")).row(0)
    return f"events run from {first} to {last}"
