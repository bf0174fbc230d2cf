"""Amazon reviews: the three releases in their own layouts by hand, odd cases, and what is said about broken files."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from functools import partialmethod
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.damage import survive
from xrec.data.errors import DataError
from xrec.data.schema import Step
from xrec.data.sources.amazon import Amazon
from xrec.data.sources.jsonlines import JsonLines

FETCH = "fetch it again (python scripts/fetch_data.py amazon)"
AGAIN = f"mend the line, or {FETCH}"
START = datetime(2014, 5, 13, 16, 53, 20, tzinfo=UTC)  # 1,400,000,000 s
SCHEMA = {
    "user": pl.String,
    "item": pl.String,
    "time": pl.Datetime("us", "UTC"),
    "kind": pl.UInt8,
    "value": pl.Float32,
}


def lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(r) + "\n" for r in records).encode()


def literals(records: list[dict[str, Any]]) -> bytes:
    return "".join(f"{r!r}\n" for r in records).encode()


REVIEWS_2014 = lines(
    [
        {"reviewerID": "A1YJEY40YUW4SE", "asin": "7806397051", "reviewerName": "Andrea", "helpful": [3, 4],
         "reviewText": "Very oily \ud83d\ude00 and \"creamy\"", "overall": 1.0, "summary": "Don't",
         "unixReviewTime": 1400000000, "reviewTime": "05 13, 2014"},
        {"reviewerID": "A60XNB876KYML", "asin": "B00AAAAAA1", "helpful": [0, 0], "reviewText": "é", "overall": 3.0,
         "summary": "OK", "unixReviewTime": 1300000000, "reviewTime": "03 13, 2011"},
    ]
)  # fmt: skip
META_2014 = literals(
    [
        {"asin": "7806397051", "title": "It's \"WAWO\" – 15 Color", "price": 12.99,
         "categories": [["Beauty", "Makeup", "Face"], ["Beauty", "Palettes"]], "brand": "", "salesRank": {"Beauty": 1},
         "related": {"also_bought": ["B00AAAAAA1"]}},
        {"asin": "B00AAAAAA1", "imUrl": "http://x", "categories": [[]]},
        {"asin": "B00UNSEEN0", "title": "Never reviewed", "categories": [["Beauty"]]},
    ]
)  # fmt: skip
REVIEWS_2018 = lines(
    [
        {"overall": 5.0, "vote": "3", "verified": True, "reviewTime": "05 13, 2014", "reviewerID": "A1YJEY40YUW4SE",
         "asin": "7806397051", "style": {"Size:": " 8 oz"}, "reviewText": "x", "unixReviewTime": 1400000000},
        {"overall": 4, "verified": False, "reviewerID": "A60XNB876KYML", "asin": "B00AAAAAA1",
         "unixReviewTime": 1400000001},
        {"overall": 2.0, "verified": False, "reviewerID": "A60XNB876KYML", "asin": "B00AAAAAA2",
         "unixReviewTime": 1400000001},
        {"overall": 2.0, "verified": False, "reviewerID": "A60XNB876KYML", "asin": "B00AAAAAA3",
         "unixReviewTime": 1400000001},
    ]
)  # fmt: skip
META_2018 = lines(
    [
        {"category": ["Beauty", "Tools &amp; Accessories", "Beauty"], "tech1": "", "title":
         "Kit &quot;M&quot; &amp; more", "brand": "St. Ives", "main_cat": "Beauty", "price": "$1,234.56",
         "asin": "7806397051"},
        {"category": [], "title": " ", "brand": "\n    ", "price": "$10.99 - $24.99", "asin": "B00AAAAAA1"},
        {"category": ["Beauty"], "title": "Second line of a product", "price": "$1", "asin": "7806397051"},
        {"category": ["Beauty"], "title": "var aStart = (new Date()).getTime();", "price": "$1", "asin": "B00AAAAAA2"},
        {"category": ["Beauty"], "title": "東京", "price": ".a-box-inner{background-color:#fff}", "asin": "B00AAAAAA3"},
    ]
)  # fmt: skip
REVIEWS_2023 = lines(
    [
        {"rating": 5.0, "title": "Such a lovely scent", "text": "x", "images": [], "asin": "B00CHILD01",
         "parent_asin": "7806397051", "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ", "timestamp": 1400000000123,
         "helpful_vote": 0, "verified_purchase": True},
        {"rating": 1.0, "title": "é", "text": "", "images": [], "asin": "B00AAAAAA1", "parent_asin": "B00AAAAAA1",
         "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ", "timestamp": 1400000001000},
    ]
)  # fmt: skip
META_2023 = lines(
    [
        {"main_category": "All Beauty", "title": "Howard LC0008", "average_rating": 4.8, "features": [], "price": 12.5,
         "store": "Howard Products", "categories": [], "details": {"UPC": "6"}, "parent_asin": "7806397051"},
        {"main_category": None, "title": None, "price": "from 14.99", "store": None, "categories": ["Hair", "Dye"],
         "parent_asin": "B00AAAAAA1"},
    ]
)  # fmt: skip


def files(folder: Path, reviews: bytes, metadata: bytes | None = None, **arguments: Any) -> Amazon:
    (folder / "reviews").write_bytes(reviews)
    if metadata is None:
        return Amazon(str(folder / "reviews"), **arguments)
    (folder / "meta").write_bytes(metadata)
    return Amazon(str(folder / "reviews"), str(folder / "meta"), **arguments)


def failure(source: Amazon) -> str:
    with pytest.raises(DataError) as caught:
        source.load()
    return str(caught.value)


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
    good = b'{"reviewerID":"u","asin":"i","overall":5,"unixReviewTime":1}\n'
    assert files(tmp_path, good * 40).load().events.collect().height == 40
    reviews = good * 20 + b"\n" + good * 3 + good.replace(b"5", b"6") + good * 20
    assert failure(files(tmp_path, reviews)) == f"amazon: reviews, line 25: overall 6 is outside 0 to 5; {AGAIN}"


RATINGS_2014 = b"A1YJEY40YUW4SE,7806397051,1.0,1400000000\nA60XNB876KYML,B00AAAAAA1,3.0,1400000001\n"
RATINGS_2018 = b"7806397051,A1YJEY40YUW4SE,1.0,1400000000\nB00AAAAAA1,A60XNB876KYML,3.0,1400000001\n"
RATINGS_2023 = (
    b"user_id,parent_asin,rating,timestamp\n"
    b"A1YJEY40YUW4SE,7806397051,1.0,1400000000000\nA60XNB876KYML,B00AAAAAA1,3.0,1400000001000\n"
)


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
    ratings = b'history,timestamp,user_id,parent_asin,rating\n"B1, B2",1400000000000,"u, 1","i ""x""",5\n,0,v,j,4\n'
    raw = files(tmp_path, ratings).load()
    assert raw.events.select("user", "item").collect().rows() == [("u, 1", 'i "x"'), ("v", "j")]


HEAD = b"user_id,parent_asin,rating,timestamp\n"
META_OF = b'{"asin":"B00AAAAAA1"}\n'
BAD = [
    (b"", None, f"reviews is empty; {FETCH}"),
    (REVIEWS_2014, b"", f"meta is empty; {FETCH}"),
    (gzip.compress(REVIEWS_2014)[:-20], None, f"reviews is cut off: the gzip stream has no end; {FETCH}"),
    (REVIEWS_2014, gzip.compress(META_2014)[:-9], f"meta is cut off: the gzip stream has no end; {FETCH}"),
    (gzip.compress(RATINGS_2014)[:-9], None, f"reviews is cut off: the gzip stream has no end; {FETCH}"),
    (b"\x1f\x8b" + b"x" * 50, None, f"reviews is broken gzip (Unknown compression method); {FETCH}"),
    (REVIEWS_2014 + b'{"reviewerID": "A1", "as\n', None,
     f"""reviews, line 3 is not JSON: b'{{"reviewerID": "A1", "as'; mend or remove the line, or {FETCH}"""),
    (REVIEWS_2014 + b"[1]\n", None,
     f"reviews, line 3 has no named fields: b'[1]'; mend or remove the line, or {FETCH}"),
    (REVIEWS_2014, META_2014 + b"{'asin': print('x')}\n",
     f"""meta, line 4 is not a Python literal: b"{{'asin': print('x')}}"; mend or remove the line, or {FETCH}"""),
    (REVIEWS_2014, META_2014 + b"{'asin': ['x'], 'title': 'y'}\n",
     f"meta, line 4: asin is \"['x']\", not text; {AGAIN}"),
    (REVIEWS_2014 + "{\"reviewerID\": \"é\"}\n".encode("latin-1"), None,
     f"reviews, line 3 is not UTF-8 (byte 17 is 0xe9); convert the file to UTF-8, or {FETCH}"),
    (REVIEWS_2014.replace(b"3.0", b'"three"'), None, f"reviews, line 2: overall is 'three', not a number; {AGAIN}"),
    (REVIEWS_2014.replace(b"3.0", b"NaN"), None, f"reviews, line 2: overall is 'nan', not a finite number; {AGAIN}"),
    (REVIEWS_2014.replace(b"3.0", b"null"), None, f"reviews, line 2: overall is missing; {AGAIN}"),
    (b"\n\n" + REVIEWS_2014.replace(b"3.0", b"30"), None, f"reviews, line 4: overall 30 is outside 0 to 5; {AGAIN}"),
    (REVIEWS_2014.replace(b"1300000000", b"1300000000000"), None,
     f"reviews, line 2: unixReviewTime 1300000000000 is outside 0 to 4102444800; {AGAIN}"),
    (REVIEWS_2014.replace(b"1300000000", b"13.5"), None,
     f"reviews, line 2: unixReviewTime is '13.5', not a whole number of 64 bits; {AGAIN}"),
    (META_2018, None,
     ("reviews, line 1 has neither the fields reviewerID, asin, overall, unixReviewTime (2014, 2018) nor user_id, "
     "parent_asin, rating, timestamp (2023), but category, tech1, title, brand, main_cat, price, asin; set "
     "data.source.path to a file of reviews")),
    (REVIEWS_2014, b'{"title":"x"}\n',
     "meta, line 1 has neither asin nor parent_asin, but title; set data.source.metadata to a file of metadata"),
    (b"x,y,5,1400000000\n", None,
     ("reviews has no header, and its first lines do not tell which column holds products (codes of ten letters and "
     "digits); set data.source.release to 2014 (user first) or 2018 (item first)")),
    (HEAD + b"u,i,5\n", None, f"reviews, line 2: 3 fields, where 4 are needed; {AGAIN}"),
    (HEAD + b"u,i,five,1400000000000\n", None, f"reviews, line 2: rating 'five' is not a number; {AGAIN}"),
    (HEAD + b'u,i,5,1\n"u,i,5,1\nu",i,5,1\n', None,
     f"reviews, line 3: a quote is never closed (unexpected end of data); {AGAIN}"),
    (b"user_id,parent_asin,rating,timestamp,history\nu,i,5,1,\"a\nv,j,4,1,b\nw,k,3,1,c\"\n", None,
     f"reviews, line 2: a quote is never closed (unexpected end of data); {AGAIN}"),
    (HEAD + b",i,5,1\n", None, f"reviews, line 2: user_id is empty; {AGAIN}"),
    (b"user_id,item,rating,timestamp\nu,i,5,1\n", None,
     "reviews lacks the columns parent_asin; its first line is 'user_id,item,rating,timestamp'"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_files_are_named_with_line_and_fix(case, tmp_path):
    reviews, metadata, message = BAD[case]
    assert failure(files(tmp_path, reviews, metadata)) == f"amazon: {message}"


def test_a_release_that_does_not_fit(tmp_path):
    message = "amazon: release is {}, but reviews has the fields of {}; set data.source.release to null"
    assert failure(files(tmp_path, REVIEWS_2014, release=2023)) == message.format(2023, "2014 and 2018")
    assert failure(files(tmp_path, REVIEWS_2023, release=2018)) == message.format(2018, "2023")
    assert failure(files(tmp_path, RATINGS_2023, release=2014)) == message.format(2014, "2023")
    assert failure(files(tmp_path, RATINGS_2018, release=2023)) == (
        "amazon: release is 2023, but reviews does not begin with its header user_id,parent_asin,rating,timestamp; set "
        "data.source.release to 2014, 2018 or null"
    )
    with pytest.raises(DataError) as caught:
        Amazon("x", release=2013)
    assert str(caught.value) == "amazon: release is 2013, but must be one of 2014, 2018, 2023, or null"


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
def test_damaged_files_load_whole_or_are_refused(form, tmp_path):
    reviews, metadata = FORMS[form]
    content = {"reviews": reviews} | ({} if metadata is None else {"meta": metadata})
    meta = str(tmp_path / "meta") if metadata is not None else None
    loads, refusals = survive(
        content, lambda d: Amazon(str(d / "reviews"), meta), tmp_path, tries=100, header=form == "csv 2023"
    )
    assert refusals > 10 and (loads > 5 or form.endswith("gz"))
