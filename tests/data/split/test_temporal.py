"""The temporal split, by hand: periods, dates, what is dropped and what is merged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.splits import dated, in_part, periods, table
from xrec.data.errors import DataError
from xrec.data.split.calendar import Calendar
from xrec.data.split.temporal import TemporalSplit


def test_periods_are_cut_and_later_events_dropped():
    events = table([(1, 1, 1), (1, 2, 3), (1, 3, 4), (2, 1, 5), (2, 2, 6), (2, 2, 7)])
    assigned = TemporalSplit(3, 4, 6).assign(events)
    assert (assigned.train_end, assigned.parts) == (3, {"validation": (4, 4), "test": (5, 6)})
    assert periods(assigned) == {1: [(1, 1), (3, 2), (4, 3)], 2: [(5, 1), (6, 2)]}
    (span,) = assigned.steps
    assert (span.step, span.reason, span.rows, span.users, span.items) == ("span", "after period 6", 5, 2, 3)
    assert assigned.events.columns == ["user", "item", "time", "period", "kind", "strength"]
    assert assigned.events.schema["period"] == pl.Int64


def test_events_of_one_period_become_one():
    rows = [(1, 1, "2017-01-02 08:00"), (1, 1, "2017-01-02 09:00"), (1, 1, "2017-01-02 10:00"), (1, 2, "2017-01-02")]
    rows += [(1, 1, "2017-01-03"), (2, 1, "2017-01-04 23:59:59")]
    events = dated(rows).with_columns(
        kind=pl.Series([0, 2, 1, 0, 1, 0], dtype=pl.UInt8),
        strength=pl.Series([0.5, 1.0, 4.0, 4.0, 3.0, 1.0], dtype=pl.Float32),
    )
    assert events["item"].to_list() == [2, 1, 1, 1, 1, 1]
    assigned = TemporalSplit("2017-01-02", "2017-01-03", "2017-01-04", period="day").assign(events)
    found = assigned.events.sort("period", "item").rows()
    latest = datetime(2017, 1, 2, 10, tzinfo=UTC)
    assert found[0] == (1, 1, latest, 0, 0, 9.0)  # 1 + 4 + 4; kind 0 comes first
    assert found[1][:2] == (1, 2)
    assert [(s.step, s.rows, s.merged) for s in assigned.steps] == [("span", 6, False), ("merged", 4, True)]


@pytest.mark.parametrize(
    ("strengths", "kinds", "kind"),
    [((1, 2, 1.5), (0, 2, 1), 0), ((2, 1, 2), (2, 3, 1), 1), ((1, 1, 1), (3, 2, 0), 0)],
)
def test_the_first_ranked_kind_stays_whatever_its_strength(strengths, kinds, kind):
    same = [(5, 7, 1, k, float(s)) for k, s in zip(kinds, strengths, strict=True)]
    assigned = TemporalSplit(1, 2, 3).assign(table([*same, (5, 7, 2), (5, 7, 3), (4, 7, 1)]))
    row = assigned.events.filter((pl.col("user") == 5) & (pl.col("period") == 1))
    assert (row["kind"].to_list(), row["strength"].to_list()) == ([kind], [float(sum(strengths))])


WEDNESDAY = "2017-02-01 05:30"


@pytest.mark.parametrize(
    ("period", "time", "number"),
    [
        ("hour", "2017-02-01 05:59:59.999999", 0),
        ("hour", "2017-02-01 06:00", 1),
        ("hour", "2017-02-02 05:00", 24),
        ("day", "2017-02-01 23:59:59", 0),
        ("day", "2017-03-01", 28),
        ("week", "2017-02-05 23:59:59", 0),  # Sunday
        ("week", "2017-02-06", 1),  # Monday
        ("month", "2017-02-28 23:00", 0),
        ("month", "2018-01-01", 11),
        ("10 days", "2017-02-10 23:59:59", 0),
        ("10 days", "2017-02-11", 1),
        ("1 day", "2017-02-02", 1),
    ],
)
def test_units_count_from_the_first_events_own(period, time, number):
    events = dated([(1, 1, WEDNESDAY), (1, 2, time)])
    first = events["time"].dt.epoch("us").min()
    calendar = Calendar.of(period)
    assert calendar is not None
    assert events.select(calendar.numbers(pl.col("time"), first))["time"].to_list() == [0, number]  # type: ignore[arg-type]


@given(
    st.sampled_from(["hour", "day", "week", "month", "3 days", "30 days"]),
    st.lists(st.datetimes(datetime(1960, 1, 1), datetime(2090, 1, 1)), min_size=1, max_size=20),
)
def test_numbers_of_units_equal_a_slow_reference(period, moments):
    first = min(moments)
    days = int(period.split()[0]) if period[0].isdigit() else 1

    def slow(moment: datetime) -> int:
        if period == "month":
            return (moment.year - first.year) * 12 + moment.month - first.month
        if period == "hour":
            start = first.replace(minute=0, second=0, microsecond=0)
            return int((moment - start) // timedelta(hours=1))
        day = datetime(first.year, first.month, first.day)
        day -= timedelta(days=day.weekday() if period == "week" else 0)
        return int((moment - day) // timedelta(days=7 if period == "week" else days))

    calendar = Calendar.of(period)
    assert calendar is not None
    series = pl.Series("time", [m.replace(tzinfo=UTC) for m in moments], dtype=pl.Datetime("us", "UTC")).to_frame()
    start = int(series["time"].dt.epoch("us").min())  # type: ignore[arg-type]
    assert series.select(calendar.numbers(pl.col("time"), start))["time"].to_list() == [slow(m) for m in moments]


def test_weeks_of_dates():
    days = ["2016-12-28", "2017-01-01 23:59", "2017-01-02", "2017-01-08 23:59:59.999999", "2017-01-09", "2017-01-16"]
    events = dated([(1, i, day) for i, day in enumerate(days)])
    assigned = TemporalSplit("2017-01-01", "2017-01-08", "2017-01-15", period="week").assign(events)
    assert (assigned.train_end, assigned.parts) == (0, {"validation": (1, 1), "test": (2, 2)})
    assert periods(assigned) == {1: [(0, 0), (0, 1), (1, 2), (1, 3), (2, 4)]}
    assert assigned.steps[0].reason == "after 2017-01-15, the end of period 2"
    assert in_part(assigned, "test")["time"].to_list() == [datetime(2017, 1, 9, tzinfo=UTC)]


def test_hours_as_ends():
    events = dated([(1, 1, "2017-01-01 10:30"), (1, 2, "2017-01-01 11:00"), (1, 3, "2017-01-02 01:00")])
    assigned = TemporalSplit("2017-01-01T10", "2017-01-01", "2017-01-02 01:00", period="hour").assign(events)
    assert (assigned.train_end, assigned.parts) == (0, {"validation": (1, 13), "test": (14, 15)})
    assert periods(assigned) == {1: [(0, 1), (1, 2), (15, 3)]}


def test_other_units_and_no_zone_are_the_same_times():
    rows = [(1, 1, "2017-01-01 10:30"), (1, 2, "2017-01-02 11:00"), (1, 3, "2017-01-03 01:00"), (1, 1, "2017-01-01")]
    split = TemporalSplit("2017-01-01", "2017-01-02", "2017-01-03", period="day")
    wanted = split.assign(dated(rows)).events
    for kind in (pl.Datetime("ms"), pl.Datetime("ns", "UTC")):
        changed = dated(rows).with_columns(pl.col("time").dt.replace_time_zone(None).cast(pl.Datetime(kind.time_unit)))
        if kind.time_zone:
            changed = changed.with_columns(pl.col("time").dt.replace_time_zone("UTC"))
        found = split.assign(changed).events
        assert found.schema["time"] == kind
        assert found.drop("time").rows() == wanted.drop("time").rows()
        same = pl.col("time").dt.epoch("us")
        assert found.select(same).rows() == wanted.select(same).rows()


def test_the_numbers_of_the_default_are_weeks_of_complete_journey():
    split = TemporalSplit(train_end=43, validation_end=47, test_end=53)
    assigned = split.assign(table([(1, 1, t) for t in range(1, 55)]))
    assert (assigned.train_end, assigned.parts) == (43, {"validation": (44, 47), "test": (48, 53)})
    assert split.key() == {
        "kind": "temporal", "train_end": 43, "validation_end": 47, "test_end": 53, "period": None,
    }  # fmt: skip


def test_codes_too_wide_for_one_number_are_merged_too():
    wide = {"user": pl.Int64, "item": pl.Int64}
    rows = [(0, 0, 1), (2**40, 2**40, 1), (2**40, 2**40, 1), (2**40, 0, 2), (0, 5, 3)]
    events = pl.DataFrame(
        [(*r, 0, 1.0) for r in rows],
        schema={**wide, "time": pl.Int64, "kind": pl.UInt8, "strength": pl.Float32}, orient="row",
    )  # fmt: skip
    assigned = TemporalSplit(1, 2, 3).assign(events)
    assert assigned.events.select("user", "item", "period", "strength").sort("period", "user", "item").rows() == [
        (0, 0, 1, 1.0), (2**40, 2**40, 1, 2.0), (2**40, 0, 2, 1.0), (0, 5, 3, 1.0),
    ]  # fmt: skip


def test_an_empty_table_is_refused():
    with pytest.raises(DataError, match="^split: there are no events to split$"):
        TemporalSplit(1, 2, 3).assign(table([]))
