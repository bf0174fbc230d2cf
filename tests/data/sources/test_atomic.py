"""Atomic files in their real layout, odd ones, broken ones, and MovieLens 100K."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.damage import damaged
from tests.tables import rows
from xrec.data.errors import DataError
from xrec.data.schema import RawData
from xrec.data.sources.atomic import Atomic

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "ml-100k"
COLUMNS = {"user": "user_id", "item": "item_id", "time": "timestamp", "value": "rating"}
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t3\t881250949\n2\t20\t4.5\t881250950.5\n"
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tlength:float\tvector:float_seq\n"
    "10\tToy Story\t1995\tAnimation Children's Comedy\t81\t0.1 0.2\n"
    '20\tÉtat "de" siège\t\t\t\t\n'
)
USER = "user_id:token\tage:token\tzip_code:token\n1\t24\t01234\n2\t\t85711\n3\t9\t1\n"
TYPES = "token, float, token_seq, float_seq"


def load(
    folder: Path, inter: str | bytes, item: str | bytes | None = None, user: str | bytes | None = None, **settings
) -> RawData:
    for suffix, content in (("inter", inter), ("item", item), ("user", user)):
        if content is not None:
            (folder / f"tiny.{suffix}").write_bytes(content if isinstance(content, bytes) else content.encode())
    return Atomic(str(folder), settings.pop("columns", COLUMNS), **settings).load()


def test_events(tmp_path):
    raw = load(tmp_path, INTER)
    assert rows(raw) == [
        (1, 10, datetime(1997, 12, 4, 15, 55, 49, tzinfo=UTC), 0, 3.0),
        (2, 20, datetime(1997, 12, 4, 15, 55, 50, 500_000, tzinfo=UTC), 0, 4.5),
    ]
    assert [(s.step, s.reason, s.rows, s.users, s.items) for s in raw.steps] == [
        ("read", "rows of tiny.inter", 2, 2, 2)
    ]
    assert raw.items.columns == ["item"] and raw.users.columns == ["user"]


def test_types_of_the_header_make_attributes(tmp_path):
    raw = load(tmp_path, INTER, ITEM, USER, item_name="movie_title")
    assert raw.items.to_dicts() == [
        {"item": 10, "release_year": "1995", "class": ["Animation", "Children's", "Comedy"], "length": 81.0},
        {"item": 20, "release_year": None, "class": None, "length": None},
    ]
    assert raw.item_names == {"10": "Toy Story", "20": 'État "de" siège'}
    assert raw.users.to_dicts() == [
        {"user": 1, "age": "24", "zip_code": "01234"},
        {"user": 2, "age": None, "zip_code": "85711"},
        {"user": 3, "age": "9", "zip_code": "1"},
    ]
    assert [(s.step, s.reason, s.rows) for s in raw.steps[1:]] == [
        ("item table", "2 of 2 items have a row in tiny.item; columns of vectors left out: vector", 2),
        ("user table", "2 of 2 users have a row in tiny.user", 2),
    ]


def test_without_a_name_a_title_is_an_attribute_like_others(tmp_path):
    raw = load(tmp_path, INTER, ITEM)
    assert raw.items["movie_title"].to_list() == [["Toy", "Story"], ["État", '"de"', "siège"]]
    assert raw.item_names == {}


def test_types_can_be_set(tmp_path):
    types = {"release_year": "numeric", "class": "text", "vector": "list", "age": "numeric"}
    raw = load(tmp_path, INTER, ITEM, USER, item_name="movie_title", types=types)
    assert raw.items.to_dicts()[0] == {
        "item": 10,
        "release_year": 1995.0,
        "class": "Animation Children's Comedy",
        "length": 81.0,
        "vector": ["0.1", "0.2"],
    }
    assert raw.text == ("class",)
    assert raw.users["age"].to_list() == [24.0, None, 9.0]


def test_a_byte_order_mark_line_ends_spaces_quotes_and_blank_lines(tmp_path):
    raw = load(tmp_path, "\ufeff" + INTER.replace("2\t20", '"a b\t007').replace("\n", "\r\n") + "\r\n")
    assert rows(raw, "user", "item", "value") == [("1", "10", 3.0), ('"a b', "007", 4.5)]
    assert [(s.step, s.reason, s.rows) for s in raw.steps[1:]] == [("empty", "1 rows with nothing in them", 2)]


def test_a_file_can_be_named_among_several(tmp_path):
    (tmp_path / "other.inter").write_text(INTER)
    with pytest.raises(DataError, match="has several: other.inter, tiny.inter; set data.path to the one to read"):
        load(tmp_path, INTER)
    assert Atomic(str(tmp_path / "other.inter"), COLUMNS).files() == [tmp_path / "other.inter"]


def test_a_log_without_ratings_with_kinds_and_other_columns(tmp_path):
    inter = "who:token\twhat:token\twhen:float\tdid:token\tx:float_seq\na\tb\t7\tbuy\t1 2\na\tc\t8\tview\t\n"
    columns = {"user": "who", "item": "what", "time": "when", "kind": "did", "value": None}
    raw = load(tmp_path, inter, columns=columns, kinds=["view", "buy"], time_format="period")
    assert rows(raw) == [("a", "b", 7, 1, 1.0), ("a", "c", 8, 0, 1.0)]
    assert raw.steps[0].reason == "rows of tiny.inter; columns not read: x"


BAD = [
    ({"inter": ""}, "tiny.inter is empty"),
    ({"inter": INTER.split("\n")[0] + "\n"}, "tiny.inter has a header and no rows"),
    (
        {"inter": "user_id\titem_id:token\n1\t2\n"},
        f"tiny.inter, line 1: 'user_id' has no type; a header is name:type with {TYPES}",
    ),
    (
        {"inter": "user_id:tokn\titem_id:token\n1\t2\n"},
        f"tiny.inter, line 1: 'user_id:tokn': type 'tokn', takes {TYPES}; did you mean 'token'?",
    ),
    (
        {"inter": INTER.replace("rating:float", "item_id:float")},
        "tiny.inter: the header names 'item_id' twice; give every column its own name",
    ),
    (
        {"inter": INTER.replace("rating:float", "ratings:float")},
        (
            "tiny.inter has no column 'rating' for columns.value; did you mean 'ratings'? (it has user_id, "
            "item_id, ratings, "
            "timestamp)"
        ),
    ),
    (
        {"inter": INTER.replace("user_id:token", "user_id:token_seq")},
        "tiny.inter: user_id is of type token_seq, but columns.user takes one value",
    ),
    ({"inter": INTER + "3\t30\t4\n"}, "tiny.inter, line 4: 3 fields, but the header has 4"),
    ({"inter": INTER + "3\t30\t4\t881250949\t\n"}, "tiny.inter, line 4: 5 fields, but the header has 4"),
    (
        {"inter": INTER + "3\t30\tgood\t881250949\n"},
        (
            "tiny.inter, line 4: rating is 'good', takes a number from -3.4e+38 to 3.4e+38; mend it, or set "
            "unreadable=drop"
        ),
    ),
    (
        {"inter": INTER + "3\t30\t\t881250949\n"},
        (
            "tiny.inter, line 4: rating is empty, takes a number; set empty_value to what an empty one counts; "
            "mend it, or set "
            "unreadable=drop"
        ),
    ),
    (
        {"inter": INTER + "3\t30\t4\tlater\n"},
        "tiny.inter, line 4: timestamp is 'later', takes a time like those before it; mend it, or set unreadable=drop",
    ),
    (
        {"inter": INTER, "item": ITEM + "10\tTwo\t\t\t\t\n"},
        "tiny.item, line 2 and line 4: both describe item '10' and differ; keep one row per item",
    ),
    (
        {"inter": INTER, "item": ITEM.replace("\t81\t", "\tlong\t")},
        "tiny.item, line 2: length is 'long', takes a finite number; mend it, or set its type to categorical",
    ),
    (
        {"inter": INTER, "item": ITEM, "item_name": "title"},
        "tiny.item has no column 'title' for item_name; did you mean 'movie_title'?",
    ),
    (
        {"inter": INTER, "item": ITEM.replace("item_id", "id")},
        "tiny.item has no column 'item_id', the item of .inter; give both the same name",
    ),
    (
        {"inter": INTER, "item": ITEM, "types": {"year": "numeric"}},
        "types.year: neither .item nor .user has such a column; did you mean 'release_year'?",
    ),
    (
        {"inter": INTER, "user": USER, "types": {"age": "text"}},
        "users.types.age is 'text', takes one of categorical, numeric, list",
    ),
    ({"inter": INTER, "columns": {"user": "user_id"}}, "columns.item is missing; name the column that holds it"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[m[:60] for _, m in BAD])
def test_bad_files(tmp_path, given, message):
    with pytest.raises(DataError) as error:
        load(tmp_path, **given)
    assert str(error.value) == f"atomic: {message}"


def test_missing_files(tmp_path):
    layout = (
        "It is a folder with NAME.inter, or with NAME.train.inter, NAME.valid.inter and NAME.test.inter (and "
        "NAME.item, NAME.user), or a single .inter file."
    )
    for path, message in (
        (None, f"atomic: no file given; set data.path=FOLDER. {layout}"),
        (str(tmp_path), f"atomic: {tmp_path} has no .inter file; set data.path to the one to read. {layout}"),
        (str(tmp_path / "no"), f"atomic: {tmp_path / 'no'} is not there; set data.path=FOLDER. {layout}"),
    ):
        with pytest.raises(DataError) as error:
            Atomic(path, COLUMNS).files()
        assert str(error.value) == message
    (tmp_path / "tiny.inter").write_text(INTER)
    with pytest.raises(DataError) as error:
        Atomic(str(tmp_path), COLUMNS, item_name="title").files()
    assert str(error.value) == f"atomic: item_name is 'title', but there is no {tmp_path / 'tiny.item'}"


@pytest.mark.slow
def test_damaged_files_load_whole_or_are_refused(tmp_path):
    whole = {"inter": INTER.encode(), "item": ITEM.encode(), "user": USER.encode()}
    loads = refusals = 0
    for seed in range(300):
        rng = random.Random(seed)
        hit = rng.choice(list(whole))
        content = whole | {hit: damaged(whole[hit], rng)}
        try:
            raw = load(tmp_path, **content, item_name="movie_title", unreadable=rng.choice(["error", "drop"]))
        except DataError:
            refusals += 1
            continue
        text = content["inter"].decode("utf-8-sig")
        assert raw.steps[0].rows == text.count("\n") + (not text.endswith("\n")) - 1, (seed, text)
        assert raw.events.select(pl.len()).collect().item() == raw.steps[-1].rows
        loads += 1
    assert loads > 50 and refusals > 50


@pytest.mark.skipif(not SHARED.is_dir(), reason="no MovieLens 100K here")
def test_movielens_100k_has_its_published_sizes():
    raw = Atomic(str(SHARED), COLUMNS, item_name="movie_title", types={"age": "numeric"}).load()
    read = raw.steps[0]
    assert (read.users, read.items, read.rows) == (943, 1_682, 100_000)
    events = raw.events.collect()
    assert events["value"].value_counts().sort("value")["count"].to_list() == [6_110, 11_370, 27_145, 34_174, 21_201]
    assert events["time"].min() == datetime(1997, 9, 20, 3, 5, 10, tzinfo=UTC)
    assert raw.items.height == 1_682 and raw.users.height == 943
    assert raw.item_names["1"] == "Toy Story"
    assert raw.users["age"].min() == 7 and raw.users["age"].max() == 73
