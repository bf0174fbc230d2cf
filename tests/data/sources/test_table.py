"""Any log in one file: small files in every format, odd ones among them."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.tables import COLUMNS, EVENTS, KINDS, NOON, WITH_KIND, load, rows
from xrec.data.errors import DataError
from xrec.data.sources.table import Table

# --- formats ----------------------------------------------------------------------------------------------------------

LOG = [("u 1", "007", "2024-01-31 12:00:00", "buy", 2.0), ("ü", "7", "2024-01-31 12:00:01", "view", 1.5)]
EXPECTED = [
    ("u 1", "007", datetime(2024, 1, 31, 12, 0, 0, tzinfo=UTC), 0, 2.0),
    ("ü", "7", datetime(2024, 1, 31, 12, 0, 1, tzinfo=UTC), 1, 1.5),
]
ALL = {"user": "u", "item": "i", "time": "t", "kind": "k", "value": "v"}


def written(folder: Path, name: str) -> Path:
    path = folder / name
    frame = pl.DataFrame(LOG, schema=["u", "i", "t", "k", "v"], orient="row")
    plain = name.removesuffix(".gz")
    if plain.endswith(".parquet"):
        frame.with_columns(pl.col("t").str.to_datetime()).write_parquet(path)
        return path
    if plain.endswith(".jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in frame.to_dicts())
    else:
        text = frame.write_csv(separator="\t" if plain.endswith(".tsv") else ",")
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize(
    "name", ["a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz", "a.jsonl", "a.jsonl.gz", "a.parquet", "odd [name].csv"]
)
def test_every_format_gives_the_same_log(tmp_path, name):
    raw = Table(str(written(tmp_path, name)), ALL).load()
    assert rows(raw) == EXPECTED
    assert raw.event_kinds == ("buy", "view")
    assert raw.events.collect_schema() == {
        "user": pl.String,
        "item": pl.String,
        "time": pl.Datetime("us", "UTC"),
        "kind": pl.UInt8,
        "value": pl.Float64,
    }
    assert [(s.step, s.rows, s.users, s.items) for s in raw.steps] == [("read", 2, 2, 2)]


def test_a_gzip_file_is_known_by_its_bytes(tmp_path):
    raw = load(tmp_path, gzip.compress(b"user,item,time\na,b,2024-01-31\n"))
    assert rows(raw, "user", "item") == [("a", "b")]


def test_the_format_is_set_where_the_name_does_not_tell(tmp_path):
    assert rows(load(tmp_path, "user;item;time\na;b;2024-01-31", "log.data", format="csv", separator=";"), "user") == [
        ("a",)
    ]


def test_kinds_and_values_default_to_one_interaction(tmp_path):
    raw = load(tmp_path, "user,item,time\na,b,2024-01-31\n")
    assert rows(raw, "kind", "value") == [(0, 1.0)]
    assert raw.event_kinds == ("interaction",)
    assert raw.items.columns == ["item"] and raw.users.columns == ["user"] and raw.item_names == {}


# --- odd text ---------------------------------------------------------------------------------------------------------


def test_quoted_commas_line_breaks_and_quotes_stay_inside_their_field(tmp_path):
    raw = load(tmp_path, 'user,item,time,note\n"Doe, J.","a ""b""",2024-01-31,"two\nlines"\nz,y,2024-01-31,\n')
    assert rows(raw, "user", "item") == [("Doe, J.", 'a "b"'), ("z", "y")]
    assert raw.steps[0].reason == "rows of log.csv; columns not read: note"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "open"])
@pytest.mark.parametrize("quoted", [True, False])
def test_byte_order_mark_and_line_ends(tmp_path, end, last, quoted):
    user = '"a"' if quoted else "a"
    lines = ["user,item,time", f"{user},b,2024-01-31", "c,d,2024-02-01"]
    content = "\ufeff" + end.join(lines) + (end if last else "")
    assert rows(load(tmp_path, content), "user", "item", "time") == [
        ("a", "b", datetime(2024, 1, 31, tzinfo=UTC)),
        ("c", "d", datetime(2024, 2, 1, tzinfo=UTC)),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoted", [True, False])
def test_blank_lines_are_counted(tmp_path, quoted, end):
    user = '"a"' if quoted else "a"
    content = end.join(["user,item,time", "", f"{user},b,2024-01-31", "", "", "c,d,2024-01-31", "", ""])
    raw = load(tmp_path, content)
    assert rows(raw, "user") == [("a",), ("c",)]
    assert [(s.step, s.reason, s.rows) for s in raw.steps] == [
        ("read", "rows of log.csv", 6),
        ("empty", "4 rows with nothing in them", 2),
    ]


def test_json_lines_with_a_mark_blank_lines_and_mixed_types(tmp_path):
    content = (
        '\ufeff{"user": 7, "item": "x", "time": 1706702400}\r\n\r\n{"time": "1706702401", "item": 3, "user": "7"}\n'
    )
    assert rows(load(tmp_path, content, "log.jsonl"), "user", "item", "time") == [
        (7, "x", NOON),
        (7, "3", NOON.replace(second=1)),
    ]


def test_quotes_as_letters(tmp_path):
    content = 'user\titem\ttime\na\t12" record\t2024-01-31\nb\t"x\t2024-01-31\n'
    raw = load(tmp_path, content, "log.tsv", quote=None)
    assert rows(raw, "item") == [('12" record',), ('"x',)]


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["7", "10"], [7, 10]),
        (["007", "7"], ["007", "7"]),  # not the same
        (["7", "7.0"], ["7", "7.0"]),
        (["-3", "0"], [-3, 0]),
        (["+3", "3"], ["+3", "3"]),
        ([" 7", "7"], [" 7", "7"]),
        (["99999999999999999999", "1"], ["99999999999999999999", "1"]),
        (["naïve id", "日本"], ["naïve id", "日本"]),
        (["7", ""], [7, None]),
        (['""', "a"], [None, "a"]),
    ],
)
def test_ids_are_numbers_only_if_nothing_is_lost(tmp_path, ids, expected):
    lines = "".join(f"{i},b,2024-01-31\n" for i in ids)
    assert rows(load(tmp_path, f"user,item,time\n{lines}"), "user") == [(e,) for e in expected]


def test_parquet_ids_keep_their_integer_type_and_whole_floats_become_integers(tmp_path):
    frame = pl.DataFrame(
        {"user": pl.Series([1, 2], dtype=pl.UInt32), "item": [5.0, float("nan")], "time": [date(2024, 1, 31)] * 2}
    )
    frame.write_parquet(tmp_path / "a.parquet")
    raw = Table(str(tmp_path / "a.parquet"), COLUMNS).load()
    assert raw.events.collect_schema()["user"] == pl.UInt32
    assert rows(raw, "user", "item") == [(1, 5), (2, None)]  # cleaning drops and counts the second


def test_nothing_is_merged_or_sorted(tmp_path):
    content = "user,item,time\na,b,20\na,b,10\na,b,20\n"
    assert rows(load(tmp_path, content, time_format="period"), "time") == [(20,), (10,), (20,)]


# --- kinds, values, rows that cannot be read --------------------------------------------------------------------------


def test_kinds_are_kept_in_the_order_asked_for_and_others_counted(tmp_path):
    raw = load(tmp_path, KINDS, columns=WITH_KIND, kinds=["view", "buy"])
    assert raw.event_kinds == ("view", "buy")
    assert rows(raw, "item", "kind") == [("x", 0), ("y", 1)]
    assert [(s.step, s.reason, s.rows, s.users, s.items) for s in raw.steps[1:]] == [
        ("kind", "2 rows without a kind, or of another than view, buy", 2, 1, 2)
    ]


def test_kinds_are_found_in_sorted_order(tmp_path):
    raw = load(tmp_path, KINDS, columns=WITH_KIND)
    assert raw.event_kinds == ("buy", "cart", "view")
    assert rows(raw, "kind") == [(2,), (0,), (1,)]
    assert [(s.step, s.reason, s.rows) for s in raw.steps[1:]] == [("kind", "1 rows without a kind", 3)]


def test_kinds_that_are_numbers(tmp_path):
    pl.DataFrame({"user": [1, 1], "item": [2, 3], "time": [NOON] * 2, "kind": [10, 9]}).write_parquet(
        tmp_path / "a.parquet"
    )
    raw = Table(str(tmp_path / "a.parquet"), WITH_KIND, kinds=["9", "10"]).load()
    assert rows(raw, "kind") == [(1,), (0,)]


def test_an_empty_value_counts_as_asked_for(tmp_path):
    columns = {**WITH_KIND, "value": "qty"}
    raw = load(tmp_path, KINDS, columns=columns, kinds=["view", "buy"], empty_value=1.5)
    assert rows(raw, "value") == [(1.5,), (2.0,)]
    with pytest.raises(DataError) as error:
        load(tmp_path, KINDS, columns=columns)
    assert str(error.value) == (
        "table: log.csv, line 2: qty is empty, takes a number; set empty_value to what an empty one counts; mend it, "
        "or set unreadable=drop"
    )


def test_rows_that_cannot_be_read_are_dropped_on_request_and_counted(tmp_path):
    content = "user,item,time,v\na,x,2024-01-31,1\nb,y,soon,1\nc,z,2024-01-31,many\nd,w,,1\n"
    raw = load(tmp_path, content, columns={**COLUMNS, "value": "v"}, unreadable="drop")
    assert rows(raw, "user") == [("a",), ("d",)]  # d has no time at all: cleaning drops and counts it
    assert [(s.step, s.reason, s.rows, s.users, s.items) for s in raw.steps[1:]] == [
        ("unreadable", "2 rows whose time or value cannot be read", 2, 2, 2)
    ]


def test_values_may_be_negative_or_zero_and_have_spaces(tmp_path):
    content = "user,item,time,v\na,x,2024-01-31, -1.5 \na,x,2024-01-31,0\na,x,2024-01-31,1e2\n"
    assert rows(load(tmp_path, content, columns={**COLUMNS, "value": "v"}), "value") == [(-1.5,), (0.0,), (100.0,)]


# --- attribute tables -------------------------------------------------------------------------------------------------

ITEMS = (
    'sku,title,price,tags,zip,blurb\n007,"Bond, James",1.5,spy|gun||spy| film ,01234,A film\n'
    "8 b,Ü,,,99,\nnew,Z,3,x,1,y\n"
)


def test_items_and_users_with_types_names_and_what_was_left_out(tmp_path):
    (tmp_path / "items.csv").write_text(ITEMS, encoding="utf-8")
    (tmp_path / "users.jsonl").write_text(
        '{"u": 2, "age": 30, "vip": true, "likes": ["a", 1, "a"]}\n{"u": null, "age": 3}\n'
    )
    raw = load(
        tmp_path,
        EVENTS,
        items={
            "path": "items.csv",
            "columns": {"item": "sku", "name": "title"},
            "types": {"tags": "list", "blurb": "text"},
        },
        users={"path": "users.jsonl", "columns": {"user": "u"}},
    )
    assert raw.items.to_dicts() == [
        {"item": "007", "price": 1.5, "tags": ["spy", "gun", "film"], "zip": "01234", "blurb": "A film"},
        {"item": "8 b", "price": None, "tags": None, "zip": "99", "blurb": None},
        {"item": "new", "price": 3.0, "tags": ["x"], "zip": "1", "blurb": "y"},
    ]
    assert raw.item_names == {"007": "Bond, James", "8 b": "Ü", "new": "Z"}
    assert raw.text == ("blurb",)
    assert raw.users.to_dicts() == [{"user": 2, "age": 30.0, "vip": True, "likes": ["a", "1"]}]
    assert raw.users["user"].dtype == raw.events.collect_schema()["user"] == pl.Int64
    assert [(s.step, s.reason, s.rows) for s in raw.steps[1:]] == [
        ("item table", "2 of 3 items have a row in items.csv; types found out: price numeric, zip categorical", 3),
        (
            "user table",
            (
                "1 of 2 users have a row in users.jsonl; 1 rows of users.jsonl left out: their user is empty or "
                "cannot be in the events; types found out: age numeric, vip categorical, likes list"
            ),
            3,
        ),
    ]


def test_named_attributes_are_the_only_ones_and_types_can_be_set(tmp_path):
    (tmp_path / "items.csv").write_text("item,year,other\n007,1999,x\n9,2001,y\n9,2001,y\n")
    raw = load(
        tmp_path,
        EVENTS,
        items={
            "path": str(tmp_path / "items.csv"),
            "columns": {"item": "item", "decade": "year"},
            "types": {"decade": "categorical"},
        },
    )
    assert raw.items.to_dicts() == [{"item": "007", "decade": "1999"}, {"item": "9", "decade": "2001"}]
    assert (
        raw.steps[-1].reason
        == "2 of 3 items have a row in items.csv; 1 rows of items.csv left out: they repeat another"
    )


def test_nan_is_a_missing_value_whatever_the_type(tmp_path):
    (tmp_path / "items.csv").write_text("item,price,brand\n007,NaN,nan\n9,2,x\n")
    raw = load(tmp_path, EVENTS, items={"path": "items.csv", "columns": {"item": "item"}})
    assert raw.items.to_dicts() == [
        {"item": "007", "price": None, "brand": None},
        {"item": "9", "price": 2.0, "brand": "x"},
    ]


def test_codes_with_leading_zeros_are_categories_however_many_look_like_numbers(tmp_path):
    (tmp_path / "items.csv").write_text("item,zip\n" + "".join(f"{i},1{i:04}\n" for i in range(30)) + "99,01234\n")
    raw = load(tmp_path, "user,item,time\n1,7,2024-01-31\n", items={"path": "items.csv", "columns": {"item": "item"}})
    assert raw.items.schema["zip"] == pl.String


def test_a_table_of_ids_that_no_event_can_have_is_refused(tmp_path):
    (tmp_path / "items.csv").write_text("item,a\nx,1\n,2\n07,3\n")
    with pytest.raises(DataError) as error:
        load(tmp_path, "user,item,time\n1,7,2024-01-31\n", items={"path": "items.csv", "columns": {"item": "item"}})
    assert str(error.value) == (
        "table: no item of the events has a row in items.csv: events have items such as '7', items.csv such as '07', "
        "'x'"
    )


def test_an_id_of_the_table_that_numbers_cannot_be_is_left_out(tmp_path):
    (tmp_path / "items.csv").write_text("item,a\n7,x\n07,y\nseven,z\n")
    raw = load(tmp_path, "user,item,time\n1,7,2024-01-31\n", items={"path": "items.csv", "columns": {"item": "item"}})
    assert raw.items.to_dicts() == [{"item": 7, "a": "x"}]
    assert raw.steps[-1].reason == (
        "1 of 1 items have a row in items.csv; "
        "2 rows of items.csv left out: their item is empty or cannot be in the events; types found out: a categorical; "
        "ids of items.csv that no event can have: '07', 'seven'"
    )


def test_an_index_without_a_name_is_no_attribute_and_numbers_may_have_spaces(tmp_path):
    (tmp_path / "items.csv").write_text(",item,price,a\n0,007, 2 , x \n1,9, ,\n")
    raw = load(tmp_path, EVENTS, items={"path": "items.csv", "columns": {"item": "item"}})
    assert raw.items.to_dicts() == [{"item": "007", "price": 2.0, "a": "x"}, {"item": "9", "price": None, "a": None}]


@pytest.mark.parametrize(("first", "expected"), [("7", [7]), ("x", ["7"])], ids=["numbers", "text"])
def test_whole_floats_of_an_attribute_table_are_the_ids_they_mean(tmp_path, first, expected):
    pl.DataFrame({"item": [7.0, None], "a": ["x", "y"]}).write_parquet(tmp_path / "items.parquet")
    log = f"user,item,time\n1,{first},2024-01-31\n1,7,2024-01-31\n"
    raw = load(tmp_path, log, items={"path": "items.parquet", "columns": {"item": "item"}})
    assert raw.items["item"].to_list() == expected
