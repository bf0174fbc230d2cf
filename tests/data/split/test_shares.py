"""Temporal splits by shares: where they cut, and that a cut keeps what it promises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.splits import dated, in_part, table
from xrec.data.errors import DataError
from xrec.data.split.calendar import Calendar
from xrec.data.split.leakage import check
from xrec.data.split.temporal import TemporalSplit

MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2060, 12, 31))


def days(n: int, per_day: int = 1, start: str = "2024-01-01") -> pl.DataFrame:
    """`per_day` events on each of n days, each of another user and item."""
    first = datetime.fromisoformat(start)
    return dated(
        [(k, d * per_day + k, f"{first + timedelta(days=d, hours=k)}") for d in range(n) for k in range(per_day)]
    )


def settled(events: pl.DataFrame, **settings) -> TemporalSplit:
    split = TemporalSplit(**settings)
    return split.settle(split.look(events, 255, own_counter=False))


@given(MOMENTS, st.integers(0, 500), st.sampled_from([*Calendar.KINDS, "3 days", "10 days"]))
def test_the_last_day_of_a_unit_is_the_end_of_that_unit(first: datetime, number: int, kind: str) -> None:
    calendar = Calendar.of(kind)
    assert calendar is not None
    micros = int(first.replace(tzinfo=UTC).timestamp() * 1e6)
    assert calendar.end("split.train_end", calendar.last(number, micros), micros) == number


@pytest.mark.parametrize(
    ("number", "kind", "last"),
    [
        (0, "week", "2024-01-07"),  # 2024-01-03 is a Wednesday
        (2, "week", "2024-01-21"),
        (1, "month", "2024-02-29"),
        (12, "month", "2025-01-31"),
        (0, "day", "2024-01-03"),
        (1, "10 days", "2024-01-22"),
        (25, "hour", "2024-01-04T18"),
    ],
)
def test_the_last_days_by_hand(number: int, kind: str, last: str) -> None:
    first = int(datetime(2024, 1, 3, 17, 30, tzinfo=UTC).timestamp() * 1e6)
    calendar = Calendar.of(kind)
    assert calendar is not None and calendar.last(number, first) == last


def test_whole_numbers_are_cut_at_the_nearest_edges() -> None:
    # 10 events in each of periods 1 .. 10: .8 and .9 are edges
    events = table([(u, u, p) for p in range(1, 11) for u in range(10)])
    assert settled(events) == TemporalSplit(8, 9, 10)
    assert settled(events, validation=0.2, test=0.3) == TemporalSplit(5, 7, 10)
    # the last period holds 40 %: it is the test, nearer than nothing
    heavy = table([(u, u, p) for p in range(1, 7) for u in range(10)] + [(u, u, 7) for u in range(40)])
    assert settled(heavy) == TemporalSplit(5, 6, 7)


def test_only_events_to_be_predicted_make_up_shares() -> None:
    views = [(u, 50 + u, p, 1, 1.0) for p in range(1, 11) for u in range(30 if p < 4 else 0)]
    events = table([(u, u, p, 0, 1.0) for p in range(1, 11) for u in range(10)] + views)
    split = TemporalSplit()
    assert split.settle(split.look(events, 1, own_counter=False)) == TemporalSplit(8, 9, 10)
    assert split.settle(split.look(events, 255, own_counter=False)) == TemporalSplit(6, 8, 10)


@pytest.mark.parametrize(
    ("n_days", "unit"),
    [(3, "hour"), (5, "hour"), (7, "day"), (100, "day"), (140, "week"), (700, "week"), (900, "month")],
)
def test_the_unit_follows_the_time_span(n_days: int, unit: str) -> None:
    assert settled(days(n_days, per_day=4)).period == unit


def test_a_unit_that_cannot_part_the_events_gives_way_to_a_finer_one() -> None:
    # half a year, but nearly all events lie in its last nine days: no edge of a week comes near 10 %
    events = dated(
        [(0, 0, "2024-01-01 08:00"), (0, 1, "2024-02-05 08:00")]
        + [(k, d * 50 + k, f"2024-06-{d:02d} 12:{k:02d}") for d in range(21, 30) for k in range(50)]
    )
    assert settled(events) == TemporalSplit("2024-06-27", "2024-06-28", "2024-06-29", "day")
    assert settled(events, period="week").period == "week"


def test_what_was_chosen_is_said_with_what_it_came_to() -> None:
    found = TemporalSplit().look(days(100), 255, own_counter=False)
    assert found["words"] == (
        "temporal by share, days; train to 2024-03-20, validation to 2024-03-30, test to 2024-04-09 "
        "(10.0 % and 10.0 % of the events)"
    )


TIMES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 30)), min_size=4, max_size=80)


@given(TIMES, st.floats(0.05, 0.45), st.floats(0.05, 0.45), st.booleans())
def test_a_cut_keeps_the_global_order_and_leaves_no_part_empty(
    rows, validation: float, test: float, dates: bool
) -> None:
    start = datetime(2024, 1, 1)
    events = dated([(u, i, f"{start + timedelta(days=t)}") for u, i, t in rows]) if dates else table(rows)
    events = events.unique(["user", "item", "time"], maintain_order=True)
    if not dates and events["time"].n_unique() < 4:
        with pytest.raises(DataError, match="too few"):
            settled(events, validation=validation, test=test)
    assume(events["time"].n_unique() >= 4)
    split = settled(events, validation=validation, test=test)
    assert split.at_once() is split and "validation" not in split.key()
    assigned = split.assign(events)
    check(assigned, events)  # global_order among others
    assert all(in_part(assigned, part).height for part in ("train", "validation", "test"))
    assert sum(in_part(assigned, part).height for part in ("train", "validation", "test")) == assigned.events.height


REFUSED = [
    ({"train_end": 3}, "split.validation_end: got null, but train_end=3"),
    (
        {"train_end": 3, "validation_end": 4, "test_end": 5, "test": 0.2},
        "got the ends .* and the shares .*data.ends=null",
    ),
    ({"validation": 0}, "split.validation: got 0, takes a number between 0 and 1"),
    ({"validation": 0.5, "test": 0.5}, "leave nothing to train on"),
    ({"period": "wek"}, "split.period: got 'wek'.*did you mean 'week'"),
]


@pytest.mark.parametrize(("settings", "says"), REFUSED)
def test_settings_that_do_not_fit_are_refused(settings, says: str) -> None:
    with pytest.raises(DataError, match=says):
        TemporalSplit(**settings)


def test_data_that_cannot_be_cut_is_refused_with_the_reason() -> None:
    with pytest.raises(DataError, match="fall into 3 periods, too few .*split=user_holdout"):
        settled(table([(0, 0, 1), (0, 1, 2), (0, 2, 3)]))
    with pytest.raises(DataError, match="fall into 2 periods of split.period=week.* shorter split.period"):
        settled(days(10), period="week")
    with pytest.raises(DataError, match="split.period: got 'week', but times are whole numbers"):
        settled(table([(0, 0, 1)]), period="week")
    with pytest.raises(DataError, match="count each user's own events.*split=leave_last_out"):
        TemporalSplit().look(table([(0, 0, 0), (0, 1, 1)]), 255, own_counter=True)
