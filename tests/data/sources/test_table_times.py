"""Times of every kind come out in UTC, or are refused."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import COLUMNS, NOON, load, rows, times
from xrec.data.errors import DataError
from xrec.data.sources.table import Table


@pytest.mark.parametrize(
    "value",
    [
        "2024-01-31T12:00:00Z",
        "2024-01-31 14:00:00+02:00",
        "2024-01-31T06:30:00.000-0530",
        "2024-01-31 12:00 UTC",
        "2024-01-31 14:00:00 +0200",
        "2024-01-31 14:00 +02:00",
        "2024-01-31T14:00+02",
        "1706702400",
        "1706702400.0",
        "1.7067024e9",
        "1706702400000",
        "1706702400000000",
        "1706702400000000000",
        "2024-01-31T12:00:00",
        "2024-01-31 12:00:00,000",
        " 2024-01-31 12:00 ",
    ],
)
def test_a_time_is_found_out(tmp_path, value):
    assert times(tmp_path, value) == [NOON]


def test_fractions_of_a_second_are_kept(tmp_path):
    assert times(tmp_path, "1706702400.25", "1706702401") == [NOON.replace(microsecond=250_000), NOON.replace(second=1)]
    assert times(tmp_path, "2024-01-31 12:00:00.5") == [NOON.replace(microsecond=500_000)]


@pytest.mark.parametrize(
    ("value", "time_format"),
    [
        ("31/01/2024 12:00", "%d/%m/%Y %H:%M"),
        ("01/31/24 12:00 PM", "%m/%d/%y %I:%M %p"),
        ("31.01.2024 13:00 +0100", "%d.%m.%Y %H:%M %z"),
        ("1706702400", "s"),
        ("1706702400000", "ms"),
    ],
)
def test_a_time_is_read_as_it_is_set(tmp_path, value, time_format):
    assert times(tmp_path, value, time_format=time_format) == [NOON]


def test_dates_alone_and_periods(tmp_path):
    midnight = datetime(2024, 1, 31, tzinfo=UTC)
    assert times(tmp_path, "20240131", time_format="%Y%m%d") == [midnight]
    assert times(tmp_path, "2024-01-31") == [midnight]
    assert times(tmp_path, "5", "-1", "0", time_format="period") == [5, -1, 0]
    assert times(tmp_path, "0", time_format="s") == [datetime(1970, 1, 1, tzinfo=UTC)]


def test_clock_times_are_those_of_the_timezone(tmp_path):
    summer, winter = "2024-07-01 14:00:00", "2024-01-31 13:00:00"
    assert times(tmp_path, winter, summer, timezone="Europe/Berlin") == [NOON, datetime(2024, 7, 1, 12, tzinfo=UTC)]
    # an hour that comes twice is taken for the earlier, one that is skipped cannot be read
    twice = "2024-10-27 02:30:00"
    assert times(tmp_path, twice, timezone="Europe/Berlin") == [datetime(2024, 10, 27, 0, 30, tzinfo=UTC)]
    with pytest.raises(DataError, match="row 1: time is '2024-03-31 02:30:00', takes a time like those before it"):
        times(tmp_path, "2024-03-31 02:30:00", timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pl.Series([datetime(2024, 1, 31, 12)]), NOON),
        (pl.Series([datetime(2024, 1, 31, 12)]).dt.cast_time_unit("ms"), NOON),
        (pl.Series([datetime(2024, 1, 31, 13)]).dt.replace_time_zone("Europe/Berlin").dt.cast_time_unit("ns"), NOON),
        (pl.Series([date(2024, 1, 31)]), datetime(2024, 1, 31, tzinfo=UTC)),
        (pl.Series([1706702400]), NOON),
        (pl.Series([1706702400.0]), NOON),
        (pl.Series(["2024-01-31 12:00"], dtype=pl.Categorical), NOON),
    ],
)
def test_parquet_times_of_any_type(tmp_path, series, expected):
    pl.DataFrame({"user": [1], "item": [2], "time": series}).write_parquet(tmp_path / "a.parquet")
    assert rows(Table(str(tmp_path / "a.parquet"), COLUMNS).load(), "time") == [(expected,)]


@given(
    moment=st.datetimes(datetime(1974, 1, 1), datetime(2280, 1, 1)),
    unit=st.sampled_from(["s", "ms", "us", "iso", "offset"]),
)
def test_any_moment_comes_back(tmp_path_factory, moment, unit):
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    written = {
        "s": seconds,
        "ms": seconds * 10**3,
        "us": seconds * 10**6,
        "iso": moment.replace(tzinfo=None).isoformat(),
        "offset": moment.isoformat(),
    }[unit]
    folder = tmp_path_factory.mktemp("moment")
    assert times(folder, str(written)) == [moment]


def test_small_whole_numbers_are_periods_and_are_said_to_be(tmp_path):
    assert times(tmp_path, "5", "1", "53") == [5, 1, 53]
    assert times(tmp_path, "5.0", "1.0") == [5, 1]
    source = load(tmp_path, "user,item,time\na,b,3\n")
    assert "whole numbers in time are taken as numbers of periods" in source.steps[0].reason


@pytest.mark.parametrize("values", [("1.5", "2"), ("-1", "2"), ("1", "100000000"), ("20240131", "20241399")])
def test_numbers_that_could_be_something_else_are_asked_about(tmp_path, values):
    with pytest.raises(DataError, match="are not in seconds, milliseconds, ... since 1970 throughout; set time_format"):
        times(tmp_path, *values)


def test_dates_written_as_numbers_are_dates(tmp_path):
    assert times(tmp_path, "20240131", "20240201") == [
        datetime(2024, 1, 31, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    ]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=30))
def test_without_times_a_users_rows_stand_in_the_order_of_the_file(tmp_path_factory, events):
    path = tmp_path_factory.mktemp("log") / "log.csv"
    path.write_text("user,item\n" + "".join(f"{u},i{i}\n" for u, i in events))
    raw = Table(str(path), {"user": "user", "item": "item", "time": None}).load()
    found = raw.events.collect()
    place = [sum(v == u for v, _ in events[:k]) for k, (u, _) in enumerate(events)]
    assert list(zip(found["user"], found["item"], found["time"], strict=True)) == [
        (u, f"i{i}", p) for (u, i), p in zip(events, place, strict=True)
    ]
    assert raw.own_counter and "the rows stand in the order of the events" in raw.steps[0].reason


def test_without_times_rows_that_go_leave_no_gap(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item,kind,value\na,x,buy,1\na,y,view,1\na,z,buy,\na,w,buy,2\n")
    columns = {"user": "user", "item": "item", "time": None, "kind": "kind", "value": "value"}
    with pytest.raises(DataError, match="line 4: value is empty, takes a number"):
        Table(str(path), columns, kinds=["buy"]).load()
    found = Table(str(path), columns, kinds=["buy"], unreadable="drop").load().events.collect()
    assert found.select("item", "time").rows() == [("x", 0), ("w", 1)]


def test_problems_that_do_not_depend_on_each_other_are_said_together(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item,time,kind\na,x,01/02/2024,buy\n")
    with pytest.raises(DataError) as both:
        Table(str(path), {**COLUMNS, "kind": "kind"}, kinds=["bye", "see"]).load()
    said = str(both.value).split("\n")
    assert (
        len(said) == 3
        and "set time_format" in said[0]
        and "'bye'; did you mean 'buy'" in said[1]
        and "'see'" in said[2]
    )
    with pytest.raises(DataError) as columns:
        Table(str(path), {"user": "usr", "item": "itm", "time": "time"}).load()
    assert [line.split("'")[1] for line in str(columns.value).split("\n")] == ["usr", "itm"]
