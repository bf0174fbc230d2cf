"""Broken logs and settings: the exact words of every error."""

from __future__ import annotations

import gzip
import json

import polars as pl
import pytest

from tests.tables import COLUMNS, KINDS, NOON, WITH_KIND, load
from xrec.data.errors import DataError
from xrec.data.sources.table import Table

GOOD = "a,b,2024-01-31\n"
TIMES = "s, ms, us, ns (since 1970), period (a week's or a line's number), or a pattern such as '%d/%m/%Y %H:%M'"
STRAY = "a stray quote? set quote to null if quotes are plain letters"

BAD = [
    ("", {}, "log.csv is empty"),
    ("\n", {}, "log.csv, line 1: no header; the first line must name the columns"),
    ("user,item,time\n", {}, "log.csv has a header and no rows"),
    ("user,item,time\n\n\n", {}, "log.csv has a header and no rows"),
    ("user,item,item\n" + GOOD, {}, "log.csv: the header names 'item' twice; give every column its own name"),
    (
        "usr,item,time\n" + GOOD,
        {},
        "log.csv has no column 'user' for columns.user; did you mean 'usr'? (it has usr, item, time)",
    ),
    (
        "user;item;time\na;b;2024-01-31\n",
        {},
        (
            "log.csv has no column 'user' for columns.user; is the separator another one? set "
            "separator (it has user;item;time)"
        ),
    ),
    (
        f"user,item,time\n{GOOD}a,b\n",
        {},
        "log.csv, line 3: 2 fields, but the header has 3",
    ),
    (
        f'user,item,time\n{GOOD}"a",b,2024-01-31,x\n',
        {},
        f"log.csv, line 3: 4 fields, but the header has 3; {STRAY}",
    ),
    (
        f'user,item,time\n{GOOD}"a,b,2024-01-31\n{GOOD}',
        {},
        f"log.csv, line 3: unexpected end of data; {STRAY}",
    ),
    (
        'user,item,time,note\na,b,2024-01-31,5" disc\nc,d,2024-01-31,7" disc\n',
        {},
        (
            "log.csv has 2 rows, but 1 can be told apart; line 2 has a stray quote; set quote to null if quotes are "
            "plain letters"
        ),
    ),
    (
        f'user,item,time\n"a"x,b,2024-01-31\n{GOOD}',
        {},
        f"log.csv, line 2: ',' expected after '\"'; {STRAY}",
    ),
    ("user,item,time\ra,b,2024-01-31\r", {}, "log.csv: lines end in a lone carriage return; save it with line feeds"),
    (
        b"user,item,time\n\xff,b,2024-01-31\n",
        {},
        "log.csv, line 2: not UTF-8 text (invalid start byte); save the file as UTF-8",
    ),
    (
        "user,item,time\na,b,2024-01-31\n".encode("utf-16"),
        {},
        "log.csv, line 1: not UTF-8 text (invalid start byte); save the file as UTF-8",
    ),
    (
        gzip.compress(b"user,item,time\n" + GOOD.encode())[:-9],
        {},
        (
            "log.csv cannot be read (Compressed file ended before the end-of-stream marker was reached); it is "
            "cut off or damaged; "
            "get it again"
        ),
    ),
    ("user,item,time\na,b,\n", {}, "log.csv, column 'time': no row has a time"),
    ("user,item,time\na,,2024-01-31\n", {}, "log.csv, column 'item': no row has anything there"),
    (
        "user,item,time\na,b,01/02/2024\n",
        {},
        f"log.csv, column 'time': times such as '01/02/2024' can be read in several ways; set time_format: {TIMES}",
    ),
    (
        "user,item,time\na,b,20240131\na,c,20241399\n",
        {},
        (
            "log.csv, column 'time': times from 20240131 to 20241399 are not in seconds, milliseconds, ... "
            "since 1970 throughout; "
            f"set time_format: {TIMES}"
        ),
    ),
    (
        "user,item,time\na,b,1706702400\na,b,1706702400000\n",
        {},
        (
            "log.csv, column 'time': times from 1706702400 to 1706702400000 are not in seconds, milliseconds, "
            "... since 1970 "
            f"throughout; set time_format: {TIMES}"
        ),
    ),
    (
        "user,item,time\na,b,1706702400000000\n",
        {"time_format": "s"},
        "log.csv, column 'time': times from 1.7067024e+15 to 1.7067024e+15 are no s since 1970; set time_format: "
        + TIMES,
    ),
    (
        "user,item,time\na,b,-99999999999999\n",
        {"time_format": "s"},
        "log.csv, column 'time': times from -99999999999999 to -99999999999999 are no s since 1970; set time_format: "
        + TIMES,
    ),
    (
        "user,item,time\na,b,7\na,b,1.5\n",
        {"time_format": "period"},
        "log.csv, line 3: time is '1.5', takes a time like those before it; mend it, or set unreadable=drop",
    ),
    (
        "user,item,time\na,b,2024-01-31 12:00\na,b,2024-01-31 12:00Z\n",
        {},
        (
            "log.csv, column 'time': some times have an offset and some have none ('2024-01-31 "
            "12:00'); write all the same way"
        ),
    ),
    (
        f"user,item,time\n{GOOD}a,b,2024-02-30\n{GOOD}a,b,never\n",
        {},
        (
            "log.csv, line 3: time is '2024-02-30', takes a time like those before it; mend it, or "
            "set unreadable=drop (2 such rows)"
        ),
    ),
    (
        f"user,item,time\n{GOOD}",
        {"time_format": "%I %p"},
        (
            "log.csv, column 'time': time_format is '%I %p', which is no pattern (Please either specify both "
            "hour and minute, or "
            "neither.)"
        ),
    ),
    (
        f"user,item,time\n{GOOD}",
        {"time_format": "%d/%m/%Y"},
        "log.csv, line 2: time is '2024-01-31', takes a time like those before it; mend it, or set unreadable=drop",
    ),
    (
        "user,item,time,v\na,b,2024-01-31,1\na,b,2024-01-31,1e39\n",
        {"columns": {**COLUMNS, "value": "v"}},
        "log.csv, line 3: v is '1e39', takes a number from -3.4e+38 to 3.4e+38; mend it, or set unreadable=drop",
    ),
    (
        "user,item,time,v\na,b,2024-01-31,1\n\na,b,2024-01-31,inf\n",
        {"columns": {**COLUMNS, "value": "v"}},
        "log.csv, line 4: v is 'inf', takes a number from -3.4e+38 to 3.4e+38; mend it, or set unreadable=drop",
    ),
    (
        KINDS,
        {"columns": WITH_KIND, "kinds": ["view", "by"]},
        "log.csv, column 'kind': no row is of the kind 'by'; did you mean 'buy'? (it has buy, cart, view)",
    ),
    (
        "user,item,time\n" + "".join(f"a,b{i},2024-01-31\n" for i in range(300)),
        {"columns": {**COLUMNS, "kind": "item"}},
        "log.csv, column 'item': 300 kinds of events; takes 1 to 255: is it the right column?",
    ),
]


@pytest.mark.parametrize(("content", "settings", "message"), BAD, ids=[m[:60] for *_, m in BAD])
def test_bad_files(tmp_path, content, settings, message):
    with pytest.raises(DataError) as error:
        load(tmp_path, content, **settings)
    assert str(error.value) == f"table: {message}"


def test_a_stray_quote_that_polars_stumbles_over_is_named_as_such(tmp_path):
    content = 'user,item,time\na,5" disc,2024-01-31\nb,7" disc,2024-01-31\n'
    with pytest.raises(
        DataError, match=r"^table: log.csv cannot be read \(.+\); line 2 has a stray quote; set quote to"
    ):
        load(tmp_path, content)


def test_the_line_of_a_stray_quote_is_found_behind_good_ones(tmp_path):
    content = 'user,item,time\n"a ""b""","x\ny",2024-01-31\na,5" disc,2024-01-31\nb,7" disc,2024-01-31\n'
    with pytest.raises(DataError, match="line 4 has a stray quote; set quote to null if quotes are plain letters$"):
        load(tmp_path, content)


def test_bad_parquet(tmp_path):
    for content, message in (
        (b"", "table: a.parquet cannot be read as parquet"),
        (b"PAR1" + b"\0" * 60 + b"PAR1", "table: a.parquet cannot be read as parquet"),
    ):
        with pytest.raises(DataError, match=message):
            load(tmp_path, content, "a.parquet")


TYPES = pl.DataFrame(
    {
        "fraction": [1.5],
        "endless": [float("inf")],
        "list": [[1]],
        "date": [NOON],
        "truth": [True],
        "bytes": [b"x"],
        "parts": [{"a": 1}],
        "whole": [1],
        "deep": [[[1]]],
        "span": [NOON - NOON],
    }
)
IDS, DATES = "takes text or whole numbers", "takes dates, dates with times, numbers or text"
BAD_TYPES = [
    ({"user": "fraction"}, "column 'fraction': the ids are fractions; takes text or whole numbers"),
    ({"user": "endless"}, "column 'endless': the ids are fractions; takes text or whole numbers"),
    ({"item": "list"}, f"column 'list': values of type List(Int64), {IDS}"),
    ({"item": "date"}, f"column 'date': values of type Datetime(time_unit='us', time_zone='UTC'), {IDS}"),
    ({"item": "truth"}, f"column 'truth': values of type Boolean, {IDS}"),
    ({"time": "list"}, f"column 'list': values of type List(Int64), {DATES}"),
    ({"time": "span"}, f"column 'span': values of type Duration(time_unit='us'), {DATES}"),
    ({"time": "bytes"}, f"column 'bytes': values of type Binary, {DATES}"),
    ({"kind": "fraction"}, f"column 'fraction': values of type Float64, {IDS}"),
    ({"value": "parts"}, "column 'parts': values of type Struct({'a': Int64}), takes numbers"),
    ({"value": "date"}, "column 'date': values of type Datetime(time_unit='us', time_zone='UTC'), takes numbers"),
]


@pytest.mark.parametrize(("columns", "message"), BAD_TYPES, ids=[m[:60] for _, m in BAD_TYPES])
def test_parquet_columns_of_types_that_a_role_cannot_have(tmp_path, columns, message):
    TYPES.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError) as error:
        Table(str(tmp_path / "a.parquet"), {"user": "whole", "item": "whole", "time": "date", **columns}).load()
    assert str(error.value) == f"table: a.parquet, {message}"


@pytest.mark.parametrize("column", ["bytes", "parts", "deep", "span"])
@pytest.mark.parametrize("kind", [None, "categorical", "numeric", "list", "text"])
def test_parquet_attributes_of_types_that_mean_nothing(tmp_path, column, kind):
    TYPES.write_parquet(tmp_path / "a.parquet")
    columns = {"user": "whole", "item": "whole", "time": "date"}
    items = {"path": "a.parquet", "columns": {"item": "whole", "x": column}, "types": {"x": kind} if kind else {}}
    with pytest.raises(DataError) as error:
        Table(str(tmp_path / "a.parquet"), columns, items=items).load()
    assert str(error.value) == (
        f"table: a.parquet, column {column!r}: values of type {TYPES.schema[column]}; leave it out, by naming the "
        "columns to take"
    )


BAD_SETTINGS = [
    (
        {"columns": {"user": "u", "item": "i"}},
        (
            "columns.time is missing; name the column that holds it, or null where the rows stand in the order of the "
            "events"
        ),
    ),
    (
        {"columns": {**COLUMNS, "usr": "u"}},
        "columns.usr: takes user, item, time, kind, value, part; did you mean 'user'?",
    ),
    ({"time_format": "sec"}, f"time_format is 'sec', takes {TIMES}; did you mean 's'?"),
    ({"time_format": "perod"}, f"time_format is 'perod', takes {TIMES}; did you mean 'period'?"),
    ({"timezone": "Berlin"}, "timezone is 'Berlin', takes a name such as UTC or Europe/Paris"),
    ({"kinds": []}, "kinds is [], takes each kind once, or null for all there are"),
    ({"kinds": ["a", "a"]}, "kinds is ['a', 'a'], takes each kind once, or null for all there are"),
    ({"dataset": "a/b"}, "dataset is 'a/b', takes a name of letters, digits, '_', '-' and '.'"),
    ({"unreadable": "skip"}, "unreadable is 'skip', takes error or drop"),
    ({"separator": "||"}, "separator is '||', takes one ASCII character"),
    ({"list_separator": ""}, "list_separator is empty; takes what stands between the values of a list, such as '|'"),
    ({"items": {"path": "a.csv"}}, "items.columns.item is missing; name the column with the item ids"),
    ({"users": {"columns": {"user": "u"}}}, "users.path is missing; name the file with one row per user"),
    (
        {"items": {"path": "a", "column": {}}},
        "items.column: takes path, columns, types, format; did you mean 'columns'?",
    ),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS, ids=[m[:60] for *_, m in BAD_SETTINGS])
def test_bad_settings_are_refused_before_anything_is_read(settings, message):
    with pytest.raises(DataError) as error:
        Table("nowhere.csv", settings.pop("columns", COLUMNS), **settings)
    assert str(error.value) == f"table: {message}"


def test_kinds_need_a_column(tmp_path):
    with pytest.raises(DataError) as error:
        load(tmp_path, "user,item,time\n" + GOOD, kinds=["view"])
    assert str(error.value) == "table: kinds are given, but columns.kind is not; name the column they are in"


def test_missing_files_say_which_setting_names_them(tmp_path):
    for path, message in (
        (None, "table: no file given; set data.path=FILE. It is a file of your own: one row per event."),
        ("no.csv", "table: no.csv is not there; set data.path=FILE. It is a file of your own: one row per event."),
        (
            str(tmp_path),
            (
                f"table: {tmp_path} is a folder, not a file; set data.path=FILE. It is a file "
                f"of your own: one row per event."
            ),
        ),
    ):
        with pytest.raises(DataError) as error:
            Table(path, COLUMNS).files()
        assert str(error.value) == message
    (tmp_path / "log.csv").write_text("user,item,time\n" + GOOD)
    table = Table(str(tmp_path / "log.csv"), COLUMNS, items={"path": "items.csv", "columns": {"item": "i"}})
    with pytest.raises(DataError) as error:
        table.files()
    assert str(error.value) == (
        f"table: {tmp_path / 'items.csv'} is not there; set data.source.items.path=FILE. It is a table of items."
    )


def test_an_unknown_suffix(tmp_path):
    with pytest.raises(DataError) as error:
        load(tmp_path, "user,item,time\n" + GOOD, "log.txt")
    assert str(error.value) == (
        "table: log.txt: the name does not tell the format; set format to csv, jsonl, parquet, tsv"
    )


def test_settings_tell_readings_apart():
    def key(**settings) -> str:
        return json.dumps(Table("a.csv", settings.pop("columns", COLUMNS), **settings).settings, sort_keys=True)

    items = {"path": "a.csv", "columns": {"item": "i"}}
    different = [
        {},
        {"columns": {**COLUMNS, "value": "v"}},
        {"time_format": "s"},
        {"timezone": "Asia/Tokyo"},
        {"unreadable": "drop"},
        {"empty_value": 0.0},
        {"separator": ";"},
        {"quote": None},
        {"list_separator": ";"},
        {"items": items},
        {"items": items | {"types": {"a": "list"}}},
        {"columns": WITH_KIND, "kinds": ["a"]},
    ]
    assert len({key(**dict(d)) for d in different}) == len(different)
    assert key(items=items) == key(items=items | {"path": "b.csv"})  # files are told apart by their content
