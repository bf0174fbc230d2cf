"""Reviews, ratings and metadata of every release of Amazon's, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xrec.data.errors import DataError
from xrec.data.sources.amazon import Amazon

FETCH = "fetch it again (python scripts/fetch_data.py amazon)"
AGAIN = f"mend the line, or {FETCH}"


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


RATINGS_2014 = b"A1YJEY40YUW4SE,7806397051,1.0,1400000000\nA60XNB876KYML,B00AAAAAA1,3.0,1400000001\n"
RATINGS_2018 = b"7806397051,A1YJEY40YUW4SE,1.0,1400000000\nB00AAAAAA1,A60XNB876KYML,3.0,1400000001\n"
RATINGS_2023 = (
    b"user_id,parent_asin,rating,timestamp\n"
    b"A1YJEY40YUW4SE,7806397051,1.0,1400000000000\nA60XNB876KYML,B00AAAAAA1,3.0,1400000001000\n"
)
