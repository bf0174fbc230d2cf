"""Retailrocket: kinds, properties over time and the category path by hand, and what is said about broken files."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from tests.damage import survive
from xrec.data.errors import DataError
from xrec.data.schema import Step
from xrec.data.sources.retailrocket import Retailrocket

FETCH = "fetch it again (python scripts/fetch_data.py retailrocket)"
AGAIN = f"mend the line, or {FETCH}"
DAY = 86_400_000  # milliseconds
START = 1_430_438_400_000  # 2015-05-01
TIMES = "1420070400000 to 4102444800000 (milliseconds since 1970, of 2015 to 2099)"
NOW = str(START).encode()

EVENTS = (
    "timestamp,visitorid,event,itemid,transactionid\n"
    f"{START + 2 * DAY + 117},257,view,355,\n"
    f"{START + DAY},99,transaction,248,4000\n"  # not in the order of time
    f"{START + 2 * DAY + 117},257,view,355,\n"  # the same millisecond again
    f"{START + 3 * DAY},257,addtocart,355,\n"
)
PART_1 = (
    "timestamp,itemid,property,value\n"
    f"{START + 5 * DAY},355,categoryid,1338\n"
    f"{START + 2 * DAY},355,categoryid,9\n"
    f"{START + 2 * DAY},355,888,1116713 960601 n277.200\n"
    f"{START + 2 * DAY},777,categoryid,9\n"  # an item without events
)
PART_2 = (
    "timestamp,itemid,property,value\n"
    f"{START + DAY},248,available,1\n"
    f"{START + DAY},248,790,n360.000\n"
    f'{START + DAY},248,6,"red, ""dark"""\n'
    f"{START + DAY},248,categoryid,4242\n"  # not in the tree
)
TREE = "categoryid,parentid\n1338,213\n213,9\n9,\n"
FILES = {
    "events.csv": EVENTS.encode(),
    "item_properties_part1.csv": PART_1.encode(),
    "item_properties_part2.csv": PART_2.encode(),
    "category_tree.csv": TREE.encode(),
}


def write(folder, **changed: bytes):
    for name, content in (FILES | {f"{k}.csv": v for k, v in changed.items()}).items():
        (folder / name).write_bytes(content)
    return folder


def failure(folder, **arguments) -> str:
    with pytest.raises(DataError) as caught:
        Retailrocket(str(folder), **arguments).load()
    return str(caught.value)


def at(day: int) -> datetime:
    return datetime(2015, 5, 1 + day, tzinfo=UTC)


def test_events_keep_kind_order_and_milliseconds(tmp_path):
    raw = Retailrocket(str(write(tmp_path))).load()
    noon = at(2).replace(microsecond=117_000)
    assert raw.events.collect().rows() == [
        (257, 355, noon, 0, 1.0),
        (99, 248, at(1), 2, 1.0),
        (257, 355, noon, 0, 1.0),
        (257, 355, at(3), 1, 1.0),
    ]
    assert raw.event_kinds == ("view", "addtocart", "transaction")
    assert raw.events.collect_schema() == {
        "user": pl.Int32,
        "item": pl.Int32,
        "time": pl.Datetime("us", "UTC"),
        "kind": pl.UInt8,
        "value": pl.Float32,
    }
    assert sorted(raw.items["item"]) == [248, 355]
    assert raw.users.columns == ["user"] and raw.users.height == 0


def test_history_has_the_category_path_at_every_change(tmp_path):
    raw = Retailrocket(str(write(tmp_path))).load()
    assert raw.item_history is not None
    assert raw.item_history.columns == ["item", "attribute", "value", "time"]
    assert raw.item_history.schema["item"] == raw.items.schema["item"]
    assert raw.item_history.rows() == [
        (248, "available", "1", at(1)),
        (248, "category_parent", "4242", at(1)),
        (248, "category_root", "4242", at(1)),
        (248, "categoryid", "4242", at(1)),
        (355, "category_parent", "9", at(2)),  # a root
        (355, "category_parent", "213", at(5)),
        (355, "category_root", "9", at(2)),
        (355, "category_root", "9", at(5)),
        (355, "categoryid", "9", at(2)),
        (355, "categoryid", "1338", at(5)),
    ]
    reason = "nothing dropped; of 8 property lines 4 are categoryid, available of the 2 of 2 items that have any"
    assert raw.steps == [Step("read", "rows of events.csv", 4, 2, 2), Step("properties", reason, 4, 2, 2)]


def test_further_properties_are_read_by_name_or_number(tmp_path):
    history = Retailrocket(str(write(tmp_path)), properties=[790, "6"]).load().item_history
    assert history is not None
    assert history.filter(pl.col("attribute").is_in(["790", "6"])).rows() == [
        (248, "6", 'red, "dark"', at(1)),
        (248, "790", "n360.000", at(1)),
    ]


def test_settings_name_what_is_read(tmp_path):
    assert Retailrocket(str(tmp_path)).settings == {"properties": ["categoryid", "available"]}
    assert Retailrocket(str(tmp_path), properties=["790", "available"]).settings == {
        "properties": ["categoryid", "available", "790"]
    }


def test_a_column_that_nobody_needs_may_be_left_out(tmp_path):
    events = HEAD + NOW + b",1,view,355\n" + NOW + b",2,view,355,\n"
    raw = Retailrocket(str(write(tmp_path, events=events))).load()
    assert raw.events.collect()["user"].to_list() == [1, 2]


def test_an_empty_value_is_no_value(tmp_path):
    part = f"timestamp,itemid,property,value\n{START + DAY},248,available,\n".encode()
    history = Retailrocket(str(write(tmp_path, item_properties_part2=part))).load().item_history
    assert history is not None and history.filter(pl.col("attribute") == "available").height == 0


def test_marks_line_ends_and_blank_lines(tmp_path):
    changed = {k.removesuffix(".csv"): b"\xef\xbb\xbf" + v.replace(b"\n", b"\r\n") for k, v in FILES.items()}
    changed["events"] += b"\r\n"
    raw = Retailrocket(str(write(tmp_path, **changed))).load()
    plain = Retailrocket(str(write(tmp_path))).load()
    assert raw.item_history is not None and raw.item_history.equals(plain.item_history)
    assert [(s.step, s.rows) for s in raw.steps] == [("read", 5), ("blank", 4), ("properties", 4)]


def test_a_log_of_one_event_and_items_without_properties(tmp_path):
    events = f"timestamp,visitorid,event,itemid,transactionid\n{START + DAY},1,view,5,\n".encode()
    raw = Retailrocket(str(write(tmp_path, events=events))).load()
    assert raw.item_history is not None and raw.item_history.height == 0
    assert raw.item_history.schema["time"] == pl.Datetime("us", "UTC")


HEAD = b"timestamp,visitorid,event,itemid,transactionid\n"
PROPERTY_HEAD = b"timestamp,itemid,property,value\n"
BAD = [
    ("events", b"", f"events.csv is empty; {FETCH}"),
    ("events", HEAD, f"events.csv holds no rows; {FETCH}"),
    ("events", b"\n\n", f"events.csv is empty; {FETCH}"),
    ("events", HEAD + NOW + b",2,click,3,\n",
     f"events.csv, line 2: event 'click' is none of view, addtocart, transaction; {AGAIN}"),
    ("events", HEAD + NOW + b",2,view,3,\n" + NOW + b",,view,3,\n", f"events.csv, line 3: visitorid is empty; {AGAIN}"),
    ("events", HEAD + NOW + b",2,view\n", f"events.csv, line 2: 3 fields, where 5 are needed; {AGAIN}"),
    ("events", HEAD + NOW + b",2,view,three,\n", f"events.csv, line 2: itemid 'three' is not a whole number; {AGAIN}"),
    ("events", HEAD + b"-1,2,view,3,\n", f"events.csv, line 2: timestamp -1 is outside {TIMES}; {AGAIN}"),
    ("events", HEAD + b"1433221332,2,view,3,\n",
     f"events.csv, line 2: timestamp 1433221332 is outside {TIMES}; {AGAIN}"),
    ("events", HEAD.replace(b"transactionid", b"event"),
     "events.csv: the header names 'event' twice; give every column its own name"),
    ("events", b"time,visitorid,event,itemid\n1,2,view,3\n",
     ("events.csv lacks the columns timestamp; its first line is 'time,visitorid,event,itemid'; did you mean "
     "'time'?")),
    ("item_properties_part1", PROPERTY_HEAD + NOW + b",3,categoryid,\xff\n",
     f"item_properties_part1.csv, line 2 is not UTF-8 (byte 28 is 0xff); convert the file to UTF-8, or {FETCH}"),
    ("item_properties_part2", PROPERTY_HEAD + NOW + b',3,available,"1\n2,3,available,1"\n',
     f"item_properties_part2.csv, line 2: a quote is never closed (unexpected end of data); {AGAIN}"),
    ("item_properties_part2", PROPERTY_HEAD + NOW + b",3,,1\n",
     f"item_properties_part2.csv, line 2: property is empty; {AGAIN}"),
    ("category_tree", b"categoryid,parentid\n1,2\n2,3\n3,2\n",
     f"category_tree.csv: category 2 is its own ancestor; {FETCH}"),
    ("category_tree", b"categoryid,parentid\n1,2\n2,3\n3,1\n",
     f"category_tree.csv: category 1 is its own ancestor; {FETCH}"),
    ("category_tree", b"categoryid,parentid\n1,2\n1,3\n", f"category_tree.csv has category 1 several times; {FETCH}"),
    ("category_tree", b"categoryid,parentid\n1,x\n",
     f"category_tree.csv, line 2: parentid 'x' is not a whole number; {AGAIN}"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content", "message"), BAD)
def test_bad_files_are_named_with_line_and_fix(file, content, message, tmp_path):
    assert failure(write(tmp_path, **{file: content})) == f"retailrocket: {message}"


def test_missing_files_and_unknown_properties(tmp_path):
    write(tmp_path)
    assert failure(tmp_path, properties=["790", "no such"]) == (
        "retailrocket: no item has the properties no such; mend data.source.properties (names as in the column "
        "`property`)"
    )
    assert failure(tmp_path, properties=["79o"]) == (
        "retailrocket: no item has the properties 79o; mend data.source.properties (names as in the column "
        "`property`); did you mean '790'?"
    )
    for name in ("events.csv", "category_tree.csv"):
        (tmp_path / name).unlink()
    assert failure(tmp_path) == (
        f"retailrocket: no file {tmp_path / 'events.csv'}, {tmp_path / 'category_tree.csv'}; run `python "
        "scripts/fetch_data.py retailrocket`, or download the data from "
        "https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset and set data.source.path to the folder of its "
        "files"
    )


@pytest.mark.slow
def test_damaged_files_load_whole_or_are_refused(tmp_path):
    loads, refusals = survive(FILES, lambda d: Retailrocket(str(d)), tmp_path, tries=150, header=True)
    assert loads > 15 and refusals > 15
