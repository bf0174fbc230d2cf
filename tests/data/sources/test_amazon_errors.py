"""Amazon: what is said about broken files and settings, word for word."""

from __future__ import annotations

import gzip

import pytest

from tests.amazon import (
    AGAIN,
    FETCH,
    META_2014,
    META_2018,
    RATINGS_2014,
    RATINGS_2018,
    RATINGS_2023,
    REVIEWS_2014,
    REVIEWS_2018,
    REVIEWS_2023,
    failure,
    files,
)
from xrec.data.errors import DataError
from xrec.data.sources.amazon import Amazon

SECONDS = "788918400 to 4102444800 (seconds since 1970, of 1995 to 2099)"
HEAD = b"user_id,parent_asin,rating,timestamp\n"
MILLISECONDS = "788918400000 to 4102444800000 (milliseconds since 1970, of 1995 to 2099)"
DOCUMENT = "is one JSON document; takes JSON lines: write one record a line"
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
     f"reviews, line 2: unixReviewTime 1300000000000 is outside {SECONDS}; {AGAIN}"),
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
    (HEAD + b'u,i,5,1400000000000\n"u,i,5,1\nu",i,5,1\n', None,
     f"reviews, line 3: a quote is never closed (unexpected end of data); {AGAIN}"),
    (b"user_id,parent_asin,rating,timestamp,history\nu,i,5,1,\"a\nv,j,4,1,b\nw,k,3,1,c\"\n", None,
     f"reviews, line 2: a quote is never closed (unexpected end of data); {AGAIN}"),
    (HEAD + b",i,5,1\n", None, f"reviews, line 2: user_id is empty; {AGAIN}"),
    (b"user_id,item,rating,timestamp\nu,i,5,1\n", None,
     "reviews lacks the columns parent_asin; its first line is 'user_id,item,rating,timestamp'"),
    (b"user_id,parentasin,rating,timestamp\nu,i,5,1\n", None,
     ("reviews lacks the columns parent_asin; its first line is 'user_id,parentasin,rating,timestamp'; did you mean "
     "'parentasin'?")),
    (HEAD.replace(b"\n", b",rating\n") + b"u,i,5,1400000000000,4\n", None,
     "reviews: the header names 'rating' twice; give every column its own name"),
    (HEAD + b"u,i,5,1400000000\n", None,
     (f"reviews, line 2: timestamp 1400000000 is outside {MILLISECONDS}; {AGAIN}")),
    (REVIEWS_2014.replace(b"1300000000", b"-5"), None,
     f"reviews, line 2: unixReviewTime -5 is outside {SECONDS}; {AGAIN}"),
    (REVIEWS_2014.replace(b"unixReviewTime", b"unixReviewTim"), None,
     ("reviews: no review has unixReviewTime (line 1 has reviewerID, asin, reviewerName, helpful, reviewText, overall, "
     "summary, unixReviewTim); set data.source.path to a file of whole reviews; did you mean 'unixReviewTim'?")),
    (REVIEWS_2018.replace(b'"asin"', b'"Asin"'), None,
     ("reviews, line 1 has neither the fields reviewerID, asin, overall, unixReviewTime (2014, 2018) nor user_id, "
     "parent_asin, rating, timestamp (2023), but overall, vote, verified, reviewTime, reviewerID, Asin, style, "
     "reviewText; set data.source.path to a file of reviews; did you mean 'Asin'?")),
    (REVIEWS_2023, REVIEWS_2023,
     ("meta, line 1 is a review (it has user_id, rating, timestamp); set data.source.metadata to a file of metadata")),
    (REVIEWS_2014, REVIEWS_2014,
     ("meta, line 1 is a review (it has reviewerID, overall, unixReviewTime); set data.source.metadata to a file of "
     "metadata")),
    (b"[\n" + REVIEWS_2014 + b"]", None, f"reviews {DOCUMENT}"),
    (b"[" + REVIEWS_2014.splitlines()[0] + b"]", None, f"reviews {DOCUMENT}"),
    (b'{\n "asin": "x"\n}', None, f"reviews {DOCUMENT}"),
    (b'{"productDetails": [' + REVIEWS_2014.splitlines()[0] + b"]}", None, f"reviews {DOCUMENT}"),
    (REVIEWS_2014, b'{"meta": [{"asin": "x"}]}', f"meta {DOCUMENT}"),
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
    message = (
        "amazon: release is {}, but reviews has products (codes of ten letters and digits) in its {} column, as {} "
        "has; set data.source.release to null"
    )
    assert failure(files(tmp_path, RATINGS_2014, release=2018)) == message.format(2018, "second", 2014)
    assert failure(files(tmp_path, RATINGS_2018, release=2014)) == message.format(2014, "first", 2018)
    for release, hint in ((2013, "; did you mean '2014'?"), ("2018v2", "; did you mean '2018'?"), ("x", "")):
        with pytest.raises(DataError) as caught:
            Amazon("x", release=release)
        assert str(caught.value) == (
            f"amazon: release is {release!r}, but must be one of 2014, 2018, 2023, or null{hint}"
        )
