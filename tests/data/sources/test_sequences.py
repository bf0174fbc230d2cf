"""One user a line, with item -> attribute ids as JSON: small files in that layout, odd and broken ones, and Beauty."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.damage import damaged
from tests.tables import rows
from xrec.data.errors import DataError
from xrec.data.schema import RawData
from xrec.data.sources.sequences import Sequences

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "amazon-beauty"
MADE = "1 10 20 10\n2 30\n"


def load(folder: Path, lines: str | bytes, attributes: str | bytes | None = None) -> RawData:
    (folder / "Toys.txt").write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    if attributes is None:
        return Sequences(str(folder / "Toys.txt")).load()
    (folder / "Toys.json").write_bytes(attributes if isinstance(attributes, bytes) else attributes.encode())
    return Sequences(str(folder / "Toys.txt"), str(folder / "Toys.json")).load()


def test_positions_are_times_and_repeats_stay(tmp_path):
    raw = load(tmp_path, MADE)
    assert rows(raw) == [("1", "10", 0, 0, 1.0), ("1", "20", 1, 0, 1.0), ("1", "10", 2, 0, 1.0), ("2", "30", 0, 0, 1.0)]
    assert raw.events.collect_schema() == {
        "user": pl.String,
        "item": pl.String,
        "time": pl.Int64,
        "kind": pl.UInt8,
        "value": pl.Float64,
    }
    assert raw.event_kinds == ("interaction",)
    assert [(s.step, s.reason, s.rows, s.users, s.items) for s in raw.steps] == [
        ("read", "interactions in 2 lines of Toys.txt", 4, 2, 3)
    ]
    assert raw.items.columns == ["item"] and raw.users.columns == ["user"]
    assert raw.item_names == {"10": "item 10", "20": "item 20", "30": "item 30"}


def test_attributes_are_one_attribute_of_several_values(tmp_path):
    raw = load(tmp_path, MADE, '{"10": [3, 1, 3], "20": [], "99": ["brand x"]}')
    assert raw.items.to_dicts() == [
        {"item": "10", "attribute": ["3", "1"]},
        {"item": "20", "attribute": []},
        {"item": "99", "attribute": ["brand x"]},
    ]
    assert raw.items.schema == {"item": pl.String, "attribute": pl.List(pl.String)}
    assert raw.item_names == {
        "10": "item 10 (attributes 3, 1)",
        "20": "item 20",
        "30": "item 30",
        "99": "item 99 (attributes brand x)",
    }
    assert [(s.step, s.reason, s.rows) for s in raw.steps[1:]] == [
        ("item table", "2 of 3 items have a row in Toys.json; 1 attribute ids that an item has twice left out", 4)
    ]


@pytest.mark.parametrize(
    "lines",
    [
        "\ufeff1 10 20 10\r\n2 30\r\n",
        "1 10 20 10\n2 30",
        "\n1  10\t20 10 \n\n  2 30\n\n",
        "1\t10\t20\t10\r\n \t\r\n2\t30\r\n",
        "1 10 20 10\r\n2 30\r",
        gzip.compress(MADE.encode()),
    ],
    ids=["mark and CRLF", "open end", "blanks", "tabs", "half an end", "gzip"],
)
def test_marks_line_ends_spaces_and_blank_lines(tmp_path, lines):
    assert rows(load(tmp_path, lines)) == rows(load(tmp_path, MADE))


def test_a_control_character_is_part_of_an_id(tmp_path):
    assert rows(load(tmp_path, "u\x1f 1 2\n"), "user", "item") == [("u\x1f", "1"), ("u\x1f", "2")]


def test_what_is_left_out_is_counted(tmp_path):
    raw = load(tmp_path, "1 10\n\n2\n3 10 20\n \n")
    assert [(s.step, s.reason, s.rows, s.users, s.items) for s in raw.steps] == [
        ("read", "interactions in 3 lines of Toys.txt, 2 blank lines left out", 3, 3, 2),
        ("no items", "1 lines with a user and no item", 3, 2, 2),
    ]


def test_ids_are_text_as_written(tmp_path):
    raw = load(tmp_path, 'ü 007 7 "quoted, \n007 日本 x\xa0y\n')
    assert rows(raw, "user", "item", "time") == [
        ("ü", "007", 0),
        ("ü", "7", 1),
        ("ü", '"quoted,', 2),
        ("007", "日本", 0),
        ("007", "x\xa0y", 1),
    ]


def test_the_attributes_may_have_a_byte_order_mark(tmp_path):
    assert load(tmp_path, MADE, '\ufeff{"10": [1]}\r\n').items.to_dicts() == [{"item": "10", "attribute": ["1"]}]


@given(histories=st.lists(st.lists(st.integers(0, 30).map(str), min_size=1, max_size=6), min_size=1, max_size=8))
def test_any_histories_come_back(tmp_path_factory, histories):
    lines = "".join(f"u{i} {' '.join(items)}\n" for i, items in enumerate(histories))
    raw = load(tmp_path_factory.mktemp("sequences"), lines)
    expected = [(f"u{i}", item, at) for i, items in enumerate(histories) for at, item in enumerate(items)]
    assert rows(raw, "user", "item", "time") == expected
    assert raw.steps[-1].rows == len(expected)


LAYOUT = "It has one line per user: the user, then items in time order, with spaces between."
BAD = [
    ("", None, "Toys.txt is empty"),
    ("\n \n", None, f"Toys.txt: no line has a user and an item. {LAYOUT}"),
    ("1\n2\n", None, f"Toys.txt: no line has a user and an item. {LAYOUT}"),
    (
        "1 10\n2 20\n\n1 30\n",
        None,
        (
            "Toys.txt: user '1' stands on lines 1 and 4, so that the order of the items is not known; join them "
            "in one line, "
            "in time order"
        ),
    ),
    ("1 10\r2 20\r", None, "Toys.txt: lines end in a lone carriage return; save it with line feeds"),
    (b"1 10\n2 \xff\n", None, "Toys.txt, line 2: not UTF-8 text (invalid start byte); save the file as UTF-8"),
    (
        gzip.compress(MADE.encode() * 100)[:-12],
        None,
        (
            "Toys.txt cannot be read (Compressed file ended before the end-of-stream marker was reached); it is "
            "cut off or "
            "damaged; get it again"
        ),
    ),
    (
        MADE,
        '{"10": 3}',
        "Toys.json: item '10' has 3, takes a list of attribute ids ([] for none)",
    ),
    (MADE, '{"10": null}', "Toys.json: item '10' has null, takes a list of attribute ids ([] for none)"),
    (MADE, '{"10": "red"}', "Toys.json: item '10' has \"red\", takes a list of attribute ids ([] for none)"),
    (MADE, '{"10": [1.5]}', "Toys.json: item '10' has the attribute 1.5, takes whole numbers or text"),
    (MADE, '{"10": [true]}', "Toys.json: item '10' has the attribute true, takes whole numbers or text"),
    (MADE, '{"10": [[1]]}', "Toys.json: item '10' has the attribute [1], takes whole numbers or text"),
    (MADE, '{"10": [""]}', "Toys.json: item '10' has the attribute \"\", takes whole numbers or text"),
    (MADE, '{"10": [1], "10": [2]}', "Toys.json: item '10' is there twice; keep one list per item"),
    (MADE, "[1]", "Toys.json: holds a list, takes an object: item -> list of attribute ids"),
    (
        MADE,
        '{"10": [1],\n "20": [2',
        "Toys.json, line 2: not JSON (Expecting ',' delimiter); it is cut off or damaged",
    ),
    (MADE, "", "Toys.json, line 1: not JSON (Expecting value); it is cut off or damaged"),
    (
        MADE,
        '{"a": [1]}',
        (
            "no item of the events has a row in Toys.json: events have items such as '10', '20', "
            "'30', Toys.json such as 'a'"
        ),
    ),
]


@pytest.mark.parametrize(("lines", "attributes", "message"), BAD, ids=[m[:60] for *_, m in BAD])
def test_bad_files(tmp_path, lines, attributes, message):
    with pytest.raises(DataError) as error:
        load(tmp_path, lines, attributes)
    assert str(error.value) == f"sequences: {message}"


def test_a_line_that_polars_does_not_give_is_no_silent_loss(tmp_path, monkeypatch):
    monkeypatch.setattr("xrec.data.sources.sequences.count_lines", lambda *_: 3)
    with pytest.raises(DataError, match="Toys.txt has 3 lines, but 2 can be read; it is cut off or damaged"):
        load(tmp_path, MADE)


def test_missing_files(tmp_path):
    with pytest.raises(DataError) as error:
        Sequences(None).files()
    assert str(error.value) == f"sequences: no file given; set data.path=FILE. {LAYOUT}"
    (tmp_path / "Toys.txt").write_text(MADE)
    with pytest.raises(DataError) as error:
        Sequences(str(tmp_path / "Toys.txt"), "none.json").files()
    assert str(error.value) == (
        "sequences: none.json is not there; set data.attributes=FILE. It is a JSON object, item -> list of attribute "
        "ids; null goes without."
    )


@pytest.mark.slow
def test_damaged_files_load_whole_or_are_refused(tmp_path):
    lines = "".join(f"u{u} {' '.join(str(i) for i in range(u, u + 5))}\n" for u in range(20)).encode()
    attributes = json.dumps({str(i): [i % 3, f"b{i}"] for i in range(25)}).encode()
    loads = refusals = 0
    for seed in range(300):
        rng = random.Random(seed)
        hit = rng.choice(["lines", "attributes", "gzip"])
        changed = {
            "lines": (damaged(lines, rng), attributes),
            "attributes": (lines, damaged(attributes, rng)),
            "gzip": (damaged(gzip.compress(lines), rng), attributes),
        }[hit]
        try:
            raw = load(tmp_path, *changed)
        except DataError:
            refusals += 1
            continue
        content = gzip.decompress(changed[0]) if changed[0][:2] == b"\x1f\x8b" else changed[0]
        words = [line.replace("\t", " ").strip(" \r").split(" ") for line in content.decode("utf-8-sig").split("\n")]
        expected = [(w[0], item) for w in ([x for x in ws if x] for ws in words) for item in w[1:]]
        assert rows(raw, "user", "item") == expected, (seed, content)
        loads += 1
    assert loads > 50 and refusals > 50


@pytest.mark.skipif(not SHARED.is_dir(), reason="no Beauty here")
def test_beauty_has_its_published_sizes():
    source = Sequences(str(SHARED / "Beauty.txt"), str(SHARED / "Beauty_item2attributes.json"))
    raw = source.load()
    read = raw.steps[0]
    assert (read.users, read.items, read.rows) == (22_363, 12_101, 198_502)
    assert raw.events.select(pl.len()).collect().item() == 198_502
    assert raw.items["attribute"].explode().n_unique() == 637
    assert len(raw.item_names) == 12_101
