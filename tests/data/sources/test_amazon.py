"""Amazon reviews: the three releases in their own layouts by hand, odd cases, and what is said about broken files."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from functools import partialmethod

import polars as pl
import pytest

from tests.amazon import (
    AGAIN,
    META_2014,
    META_2018,
    META_2023,
    RATINGS_2014,
    RATINGS_2018,
    RATINGS_2023,
    REVIEWS_2014,
    REVIEWS_2018,
    REVIEWS_2023,
    failure,
    files,
    lines,
    literals,
)
from tests.damage import survive
from xrec.data.schema import Step
from xrec.data.sources.amazon import Amazon
from xrec.data.sources.jsonlines import JsonLines

START = datetime(2014, 5, 13, 16, 53, 20, tzinfo=UTC)  # 1,400,000,000 s
SCHEMA = {
    "user": pl.String,
    "item": pl.String,
    "time": pl.Datetime("us", "UTC"),
    "kind": pl.UInt8,
    "value": pl.Float32,
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_release_of_2014(pack, tmp_path):
    raw = files(tmp_path, pack(REVIEWS_2014), pack(META_2014)).load()
    assert raw.events.collect_schema() == SCHEMA
    assert raw.events.collect().rows() == [
        ("A1YJEY40YUW4SE", "7806397051", START, 0, 1.0),
        ("A60XNB876KYML", "B00AAAAAA1", datetime(2011, 3, 13, 7, 6, 40, tzinfo=UTC), 0, 3.0),
    ]
    assert raw.event_kinds == ("review",)
    assert raw.items.rows() == [
        ("7806397051", ["Beauty", "Makeup", "Face", "Palettes"], None, 12.99),
        ("B00AAAAAA1", [], None, None),
    ]
    assert raw.items.columns == ["item", "categories", "brand", "price"]
    assert raw.item_names == {"7806397051": 'It\'s "WAWO" – 15 Color'}
    assert raw.text == () and raw.users.columns == ["user"]
    reason = (
        "nothing dropped; 2 of 2 products have metadata; of 3 metadata lines 0 hold page scripts, 0 repeat a product; "
        "0 prices are not one number (missing)"
    )
    assert raw.steps == [Step("read", "reviews of reviews", 2, 2, 2), Step("metadata", reason, 2, 2, 2)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_release_of_2018(pack, tmp_path):
    raw = files(tmp_path, pack(REVIEWS_2018), pack(META_2018), title_as_text=True).load()
    assert raw.events.select("user", "item", "value").collect().rows() == [
        ("A1YJEY40YUW4SE", "7806397051", 5.0),
        ("A60XNB876KYML", "B00AAAAAA1", 4.0),
        ("A60XNB876KYML", "B00AAAAAA2", 2.0),
        ("A60XNB876KYML", "B00AAAAAA3", 2.0),
    ]
    assert raw.items.rows() == [
        ("7806397051", ["Beauty", "Tools & Accessories"], "St. Ives", 1234.56, 'Kit "M" & more'),
        ("B00AAAAAA1", [], None, None, None),
        ("B00AAAAAA3", ["Beauty"], None, None, "東京"),
    ]
    assert raw.text == ("title",)
    assert raw.item_names == {"7806397051": 'Kit "M" & more', "B00AAAAAA3": "東京"}
    assert raw.steps[1].reason == (
        "nothing dropped; 3 of 4 products have metadata; of 5 metadata lines 1 hold page scripts, 1 repeat a product; "
        "2 prices are not one number (missing)"
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_release_of_2023(pack, tmp_path):
    raw = files(tmp_path, pack(REVIEWS_2023), pack(META_2023)).load()
    assert raw.events.collect().rows() == [
        ("AGKHLEW2SOWHNMFQIJGBECAF7INQ", "7806397051", START.replace(microsecond=123_000), 0, 5.0),
        ("AGKHLEW2SOWHNMFQIJGBECAF7INQ", "B00AAAAAA1", START.replace(second=21), 0, 1.0),
    ]
    assert raw.items.rows() == [
        ("7806397051", [], "Howard Products", 12.5),
        ("B00AAAAAA1", ["Hair", "Dye"], None, None),
    ]
    assert raw.steps[1].reason.endswith("; 1 prices are not one number (missing)")


PRICES = [
    ("$5", 5.0),
    ("$ 1,000,000.5 ", 1e6 + 0.5),
    (7, 7.0),
    (0.0, 0.0),
    ("12.", None),
    ("$1 - $2", None),
    ("-3", None),
    ("", None),
    (None, None),
    ("€5", None),
    ("free", None),
]


@pytest.mark.parametrize(("price", "number"), PRICES)
@pytest.mark.parametrize("form", [lines, literals])
def test_prices(price, number, form, tmp_path):
    source = files(tmp_path, REVIEWS_2018, form([{"asin": "B00AAAAAA1", "price": price}]))
    raw = source.load()
    assert raw.items["price"].to_list() == [number]
    odd = number is None and price not in ("", None)
    assert raw.steps[1].reason.endswith(f"; {odd:d} prices are not one number (missing)")


def test_without_metadata_products_have_no_attributes(tmp_path):
    raw = files(tmp_path, REVIEWS_2018).load()
    assert sorted(raw.items["item"]) == ["7806397051", "B00AAAAAA1", "B00AAAAAA2", "B00AAAAAA3"]
    assert raw.items.columns == ["item"] and raw.item_names == {}
    assert [s.step for s in raw.steps] == ["read"]


def test_nested_lists_are_flattened_in_json_too(tmp_path):
    records = [{"asin": "B00AAAAAA1", "categories": [["a", "b"], ["a", ["c", "", None]], "d"]}]
    assert files(tmp_path, REVIEWS_2018, lines(records)).load().items["categories"].to_list() == [["a", "b", "c", "d"]]


def test_marks_blank_lines_spaces_in_ids_and_no_last_line_end(tmp_path):
    reviews = (
        b'\xef\xbb\xbf{"reviewerID":"A 1 b","asin":"x y","overall":"4.5","unixReviewTime":"1400000000"}\r\n\r\n'
        b'{"reviewerID":7,"asin":"z","overall":5,"unixReviewTime":1.4e9}'
    )
    raw = files(tmp_path, reviews).load()
    assert raw.events.collect().rows() == [("A 1 b", "x y", START, 0, 4.5), ("7", "z", START, 0, 5.0)]
    assert raw.steps == [Step("read", "reviews of reviews", 2, 2, 2)]


def test_fields_that_are_missing_stay_as_nulls_for_cleaning_to_count(tmp_path):
    reviews = lines(
        [
            {"reviewerID": "u", "asin": "i", "overall": 5, "unixReviewTime": 1400000000},
            {"asin": "i", "overall": 5, "unixReviewTime": 1400000000},
            {"reviewerID": "", "asin": None, "overall": 5},
        ]
    )
    raw = files(tmp_path, reviews).load()
    assert raw.events.select("user", "item", "time").collect().rows() == [
        ("u", "i", START),
        (None, "i", START),
        (None, None, None),
    ]
    assert raw.steps == [Step("read", "reviews of reviews", 3, 1, 1)]


def test_half_a_surrogate_pair_becomes_the_replacement_character(tmp_path):
    meta = b'{"asin":"B00AAAAAA1","title":"a\\ud83dz","categories":["\\ud83d\\ude00","\\ude00"]}\n'
    raw = files(tmp_path, REVIEWS_2018, meta).load()
    assert raw.item_names == {"B00AAAAAA1": "a\ufffdz"}
    assert raw.items["categories"].to_list() == [["\U0001f600", "\ufffd"]]


def test_a_bad_value_in_a_later_block_keeps_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(JsonLines, "frames", partialmethod(JsonLines.frames, 300))
    good = b'{"reviewerID":"u","asin":"i","overall":5,"unixReviewTime":1400000000}\n'
    assert files(tmp_path, good * 40).load().events.collect().height == 40
    reviews = good * 20 + b"\n" + good * 3 + good.replace(b":5", b":6") + good * 20
    assert failure(files(tmp_path, reviews)) == f"amazon: reviews, line 25: overall 6 is outside 0 to 5; {AGAIN}"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("ratings", [RATINGS_2014, RATINGS_2018, RATINGS_2023])
def test_ratings_as_csv_of_every_release(ratings, pack, tmp_path):
    raw = files(tmp_path, pack(ratings)).load()
    assert raw.events.collect_schema() == SCHEMA
    assert raw.events.collect().rows() == [
        ("A1YJEY40YUW4SE", "7806397051", START, 0, 1.0),
        ("A60XNB876KYML", "B00AAAAAA1", START.replace(second=21), 0, 3.0),
    ]
    assert raw.steps == [Step("read", "rows of reviews", 2, 2, 2)]


def test_a_given_release_says_the_order(tmp_path):
    ratings = b"x,y,5,1400000000\n"
    for release, pair in ((2014, ("x", "y")), (2018, ("y", "x"))):
        raw = files(tmp_path, ratings, release=release).load()
        assert raw.events.select("user", "item").collect().rows() == [pair]


def test_quoted_ids_and_a_column_more(tmp_path):
    ratings = b"history,timestamp,user_id,parent_asin,rating\n"
    ratings += b'"B1, B2",1400000000000,"u, 1","i ""x""",5\n,1400000000000,v,j,4\n'
    raw = files(tmp_path, ratings).load()
    assert raw.events.select("user", "item").collect().rows() == [("u, 1", 'i "x"'), ("v", "j")]


def test_a_long_first_record_is_read_as_any_other(tmp_path):
    meta = lines([{"asin": "7806397051", "title": "x" * 1_000_000}, {"asin": "B00AAAAAA1", "title": "y"}])
    raw = files(tmp_path, REVIEWS_2014, meta).load()
    assert {k: len(v) for k, v in raw.item_names.items()} == {"7806397051": 1_000_000, "B00AAAAAA1": 1}


def test_missing_files_and_settings(tmp_path):
    source = Amazon(str(tmp_path / "r"), str(tmp_path / "m"), title_as_text=True)
    assert failure(source) == (
        f"amazon: no file {tmp_path / 'r'}, {tmp_path / 'm'}; run `python scripts/fetch_data.py amazon`, or download "
        "the data from https://amazon-reviews-2023.github.io/ (or the page of the older release, see its links) and "
        "set data.source.path and data.source.metadata"
    )
    assert source.settings == {"release": None, "title_as_text": True}
    assert [f.name for f in files(tmp_path, b"x", b"y").files()] == ["reviews", "meta"]


FORMS = {
    "2014": (REVIEWS_2014, META_2014),
    "2018 gz": (gzip.compress(REVIEWS_2018, mtime=0), gzip.compress(META_2018, mtime=0)),
    "2018": (REVIEWS_2018, META_2018),
    "2023": (REVIEWS_2023, META_2023),
    "csv 2014": (RATINGS_2014, None),
    "csv 2018 gz": (gzip.compress(RATINGS_2018, mtime=0), None),
    "csv 2023": (RATINGS_2023, None),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.slow
def test_damaged_files_load_whole_or_are_refused(form, tmp_path):
    reviews, metadata = FORMS[form]
    content = {"reviews": reviews} | ({} if metadata is None else {"meta": metadata})
    meta = str(tmp_path / "meta") if metadata is not None else None
    loads, refusals = survive(
        content, lambda d: Amazon(str(d / "reviews"), meta), tmp_path, tries=100, header=form == "csv 2023"
    )
    assert refusals > 10 and (loads > 5 or form.endswith("gz"))
