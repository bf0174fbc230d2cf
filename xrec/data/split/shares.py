"""Where a temporal split cuts when it is given by shares: at edges of periods, of a unit that suits the time span."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.data.split.calendar import Calendar
from xrec.types import Ints

#: share of the events of a part where none is given
SHARE = 0.1
#: so many periods at most; of the units with as many or fewer the finest is taken
MOST_PERIODS = 120
#: training periods at least, so that a model can be trained on one and judged by the next
LEAST_TRAINING = 3
#: a part may hold so many times its share, or so many times less, before a finer unit is tried
TOLERANCE = 2.0


@dataclass(frozen=True)
class Cut:
    """The last periods of training, validation and test; the shares of the events that are to be predicted in each;
    unit: of the periods, None where times are whole numbers."""

    ends: tuple[int, int, int]
    shares: tuple[float, float, float]
    unit: str | None = None

    def off(self, wanted: tuple[float, float]) -> float:
        """How many times its share a part has, or lacks, at most."""
        return max(max(got / share, share / got) for got, share in zip(self.shares[1:], wanted, strict=True))


def cut_by_shares(
    events: pl.DataFrame, n_targets: int, shares: tuple[float, float], period: str | None
) -> tuple[Cut, dict[str, Any]]:
    """Where to cut, and the arguments of the temporal split that cuts there.

    Args:
        events: user, time, kind. n_targets: only events of kinds 0 .. n - 1 make up shares.
        shares: of validation and test. period: of dates, None: of hour, day, week and month the finest with at most
            `MOST_PERIODS` periods; a finer one where the parts come out at more than twice or less than half their
            share.
    Raises:
        DataError: too few periods to cut between.
    """
    time, wanted = events["time"], events["kind"].to_numpy() < n_targets
    if not time.dtype.is_temporal():
        number = time.cast(pl.Int64).to_numpy()
        cut = _cut(number, wanted, shares, None)
        if cut is None:
            raise DataError(_too_few(number, "", "; split=user_holdout or split=random need no common calendar"))
        return cut, {name: int(end) for name, end in zip(ENDS, cut.ends, strict=True)}
    first = int(time.dt.epoch("us").min())  # type: ignore[arg-type]
    found = []
    for unit in [period] if period is not None else _units(events, first):
        calendar = Calendar.of(unit)
        assert calendar is not None
        number = events.select(calendar.numbers(pl.col("time"), first)).to_series().to_numpy()
        cut = _cut(number, wanted, shares, unit)
        if cut is not None:
            found.append((cut, {name: calendar.last(end, first) for name, end in zip(ENDS, cut.ends, strict=True)}))
        elif period is not None:
            raise DataError(_too_few(number, f" of split.period={period}", "; give a shorter split.period"))
        if found and found[-1][0].off(shares) <= TOLERANCE:
            break
    if not found:
        days = f"{time.min()} to {time.max()}"
        raise DataError(f"split: times from {days} are too few to cut by; split=user_holdout needs no common calendar")
    cut, ends = min(found, key=lambda one: max(one[0].off(shares), TOLERANCE))  # the first that is near enough
    return cut, {**ends, "period": cut.unit}


ENDS = ("train_end", "validation_end", "test_end")


def _units(events: pl.DataFrame, first: int) -> Iterator[str]:
    """The unit that suits the span, then finer ones."""
    last = events.select(pl.col("time").max()).item()
    spans = {}
    for unit in Calendar.KINDS:
        spans[unit] = int(pl.select(Calendar(unit).numbers(pl.lit(last), first)).item()) + 1
    fitting = [unit for unit in Calendar.KINDS if spans[unit] <= MOST_PERIODS] or [Calendar.KINDS[-1]]
    finest = Calendar.KINDS.index(fitting[0])
    yield from reversed(Calendar.KINDS[: finest + 1])


def _cut(period: Ints, wanted: np.ndarray, shares: tuple[float, float], unit: str | None) -> Cut | None:
    """The edges of periods at which the parts come nearest to their shares, None where there are too few periods.

    Of periods with an event that is to be predicted, one at least is left to each part, and LEAST_TRAINING to training
    (two, where there are no more).
    """
    found, counts = np.unique(period[wanted], return_counts=True)
    n = len(found)
    if n < 4:  # two periods to train on and one for each part
        return None
    share = np.cumsum(counts) / counts.sum()  # of the events up to each period
    least = min(LEAST_TRAINING, n - 2)
    train = _nearest(share, 1 - sum(shares), least - 1, n - 3)
    validation = _nearest(share, 1 - shares[1], train + 1, n - 2)
    got = (share[train], share[validation] - share[train], 1 - share[validation])
    ends = (int(found[train]), int(found[validation]), int(period.max()))
    return Cut(ends, (float(got[0]), float(got[1]), float(got[2])), unit)


def _nearest(share: np.ndarray, wanted: float, low: int, high: int) -> int:
    """The place from low to high whose value is nearest to what is wanted, the first of equals."""
    return low + int(np.argmin(np.abs(share[low : high + 1] - wanted)))


def _too_few(number: Ints, of: str, instead: str) -> str:
    n = len(np.unique(number))
    return (
        f"split: events fall into {n} period{'s' if n != 1 else ''}{of}, too few to train on two and hold out two"
        f"{instead}"
    )
