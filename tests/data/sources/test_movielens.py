"""MovieLens: every layout by hand, odd cases, and what is said about broken files."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from tests.damage import survive
from xrec.data.errors import DataError
from xrec.data.schema import Step
from xrec.data.sources.movielens import GENRES_100K, MovieLens

FETCH = "fetch it again (python scripts/fetch_data.py movielens)"
AGAIN = f"mend the line, or {FETCH}"


def flags(*genres: str) -> str:
    return "|".join("1" if g in genres else "0" for g in GENRES_100K)


FOLDERS: dict[str, dict[str, bytes]] = {
    "100k": {
        "u.data": b"7\t2\t5\t978300760\n9\t3\t4\t978300761\n7\t3\t1\t978300700\n",
        "u.item": (
            f"2|Toy Story (1995)|01-Jan-1995||http://x|{flags('Animation', 'Comedy')}\n"
            f"3|Misérables, Les (1996)|||http://y|{flags('Drama')}\n"
            f"267|unknown||||{flags('unknown')}\n"
        ).encode("latin-1"),
        "u.user": b"7|24|M|technician|85711\n9|53|F|other|V3N4P\n",
    },
    "1m": {
        "ratings.dat": b"7::2::5::978300760\n9::3::4::978300761\n7::3::1::978300700\n",
        "movies.dat": "2::Toy Story (1995)::Animation|Comedy\n3::Misérables, Les (1996)::Drama\n".encode("latin-1"),
        "users.dat": b"7::M::1::10::85711\n9::F::56::0::98107-2117\n",
    },
    "10m": {
        "ratings.dat": b"7::2::5::978300760\n9::3::4::978300761\n7::3::0.5::978300700\n",
        "movies.dat": b"2::Toy Story (1995)::Animation|Comedy\n3::Mis\xc3\xa9rables, Les (1996)::Drama\n",
    },
    "csv": {
        "ratings.csv": b"userId,movieId,rating,timestamp\n7,2,5.0,978300760\n9,3,4.0,978300761\n7,3,0.5,978300700\n",
        "movies.csv": (
            "movieId,title,genres\n"
            "2,Toy Story (1995),Animation|Comedy\n"
            '3,"Misérables, Les ""The"" (1996)",Drama\n'
            "4,Babylon 5,(no genres listed)\n"
        ).encode(),
    },
}


@pytest.fixture(params=list(FOLDERS))
def layout(request, tmp_path):
    write(tmp_path, FOLDERS[request.param])
    return request.param, tmp_path


def write(folder, files: dict[str, bytes], **changed: bytes):
    for name, content in (files | {k.replace("__", "."): v for k, v in changed.items()}).items():
        (folder / name).write_bytes(content)
    return folder


def failure(folder, **arguments) -> str:
    with pytest.raises(DataError) as caught:
        MovieLens(str(folder), **arguments).load()
    return str(caught.value)


def test_every_layout_is_told_by_its_files_and_read_the_same(layout):
    name, folder = layout
    raw = MovieLens(str(folder)).load()
    low = 1.0 if name in ("100k", "1m") else 0.5
    assert raw.events.collect().rows() == [
        (7, 2, datetime(2000, 12, 31, 22, 12, 40, tzinfo=UTC), 0, 5.0),
        (9, 3, datetime(2000, 12, 31, 22, 12, 41, tzinfo=UTC), 0, 4.0),
        (7, 3, datetime(2000, 12, 31, 22, 11, 40, tzinfo=UTC), 0, low),
    ]
    assert raw.events.collect_schema() == {
        "user": pl.Int32,
        "item": pl.Int32,
        "time": pl.Datetime("us", "UTC"),
        "kind": pl.UInt8,
        "value": pl.Float32,
    }
    assert raw.event_kinds == ("rating",)
    films = raw.items.filter(pl.col("item") <= 3)
    assert films["genres"].to_list() == [["Animation", "Comedy"], ["Drama"]]
    assert films["year"].to_list() == ["1990s", "1990s"]
    title = 'Misérables, Les "The" (1996)' if name == "csv" else "Misérables, Les (1996)"
    assert (raw.item_names["2"], raw.item_names["3"]) == ("Toy Story (1995)", title)
    assert raw.steps == [Step("read", f"rows of {next(iter(FOLDERS[name]))}", 3, 2, 2)]


def test_files_are_those_of_the_layout(layout):
    name, folder = layout
    assert [f.name for f in MovieLens(str(folder)).files()] == list(FOLDERS[name])


def test_users_of_100k_have_an_age_and_those_of_1m_a_span(tmp_path):
    users = MovieLens(str(write(tmp_path, FOLDERS["100k"]))).load().users
    assert users.rows() == [(7, 24, "M", "technician", "85711"), (9, 53, "F", "other", "V3N4P")]
    assert users.schema["age"].is_numeric()
    users = MovieLens(str(write(tmp_path, FOLDERS["1m"])), layout="1m").load().users
    assert users.rows() == [
        (7, "under 18", "M", "K-12 student", "85711"),
        (9, "56 and over", "F", "other or not specified", "98107-2117"),
    ]


def test_users_who_did_not_say_and_letters_of_latin_1(tmp_path):
    users = "7|24||écrivain|\n9|53|F||1\n".encode("latin-1")
    raw = MovieLens(str(write(tmp_path, FOLDERS["100k"], u__user=users))).load()
    assert raw.users.rows() == [(7, 24, None, "écrivain", None), (9, 53, "F", None, "1")]


def test_films_without_genres_or_year(tmp_path):
    films = MovieLens(str(write(tmp_path, FOLDERS["csv"])), year="number").load().items
    assert films.rows() == [(2, ["Animation", "Comedy"], 1995), (3, ["Drama"], 1996), (4, [], None)]
    films = MovieLens(str(write(tmp_path, FOLDERS["100k"])), layout="100k").load().items
    assert films.rows()[2] == (267, [], None)


def test_years_are_taken_from_titles_in_all_their_forms(tmp_path):
    titles = ("A (1995) ", "B (2001-2003)", "C (1999–)", "2001: D", "E (1968) (1970)", "F (12345)")
    lines = "".join(f'{i},"{t}",Drama\n' for i, t in enumerate(titles))
    write(tmp_path, FOLDERS["csv"], movies__csv=b"movieId,title,genres\n" + lines.encode())
    films = MovieLens(str(tmp_path), year="number").load().items
    assert films["year"].to_list() == [1995, 2001, 1999, None, 1970, None]


def test_a_release_date_comes_before_the_title(tmp_path):
    item = f"2|Remake (1995)|05-Mar-1987||u|{flags('War')}\n3|No date (1950)|||u|{flags('War')}\n".encode()
    films = MovieLens(str(write(tmp_path, FOLDERS["100k"], u__item=item)), year="number").load().items
    assert films["year"].to_list() == [1987, 1950]


def test_titles_may_hold_the_separator_and_any_letter(tmp_path):
    movies = "2::Face::Off: 東京 (1997)::Action\n3::x::Drama\n".encode()
    raw = MovieLens(str(write(tmp_path, FOLDERS["1m"], movies__dat=movies))).load()
    assert raw.item_names["2"] == "Face::Off: 東京 (1997)"
    assert raw.items["genres"].to_list() == [["Action"], ["Drama"]]


def test_marks_line_ends_blank_lines_and_duplicates(tmp_path):
    """A byte-order mark, CRLF, a blank line and no end of the last line; two ratings at the same second both stay."""
    ratings = b"\xef\xbb\xbfuserId,movieId,rating,timestamp\r\n"
    ratings += b"7,2,5.0,978300760\r\n\r\n7,2,5.0,978300760\r\n9,3,4.5,978300765"
    movies = b"\xef\xbb\xbfmovieId,title,genres\r\n2,A (1999),Drama|War\r\n3,B (2010),War\r\n"
    raw = MovieLens(str(write(tmp_path, FOLDERS["csv"], ratings__csv=ratings, movies__csv=movies))).load()
    events = raw.events.collect()
    assert events["user"].to_list() == [7, 7, 9]
    assert events["time"][2] == datetime(2000, 12, 31, 22, 12, 45, tzinfo=UTC)
    assert raw.steps == [Step("read", "lines of ratings.csv", 4, 2, 2), Step("blank", "1 blank lines", 3, 2, 2)]
    assert raw.items["genres"].to_list() == [["Drama", "War"], ["War"]]


def test_a_mark_before_a_log_without_header(tmp_path):
    for name in ("100k", "1m"):
        log = next(iter(FOLDERS[name]))
        folder = tmp_path / name
        folder.mkdir()
        write(folder, FOLDERS[name] | {log: b"\xef\xbb\xbf" + FOLDERS[name][log]})
        assert MovieLens(str(folder)).load().events.collect()["user"].to_list() == [7, 9, 7]


def test_columns_are_found_by_name(tmp_path):
    ratings = b'note,timestamp,rating,movieId,userId\n"x",978300760,5.0,2,7\n'
    events = MovieLens(str(write(tmp_path, FOLDERS["csv"], ratings__csv=ratings))).load().events.collect()
    assert events.select("user", "item", "value").rows() == [(7, 2, 5.0)]


def test_quoted_headers(tmp_path):
    ratings = b'"userId","movieId","rating","timestamp"\n7,2,5.0,978300760\n"9",3,4,978300761\n'
    movies = b'"movieId","title","genres"\n2,A,Drama\n3,"B, C",War\n'
    raw = MovieLens(str(write(tmp_path, FOLDERS["csv"], ratings__csv=ratings, movies__csv=movies))).load()
    assert raw.events.select("user", "item", "value").collect().rows() == [(7, 2, 5.0), (9, 3, 4.0)]
    assert raw.item_names == {"2": "A", "3": "B, C"}


def test_films_without_a_line_are_counted(tmp_path):
    write(tmp_path, FOLDERS["csv"], movies__csv=b"movieId,title,genres\n2,A,Drama\n")
    reason = "nothing dropped; 1 of 2 films have no line in movies.csv, so no attributes"
    assert MovieLens(str(tmp_path)).load().steps[-1] == Step("films", reason, 3, 2, 2)


TIMES = "788918400 to 4102444800 (seconds since 1970, of 1995 to 2099)"
BAD = {
    "empty log": (
        "csv",
        {"ratings__csv": b""},
        ("movielens: ratings.csv is empty; fetch it again (python scripts/fetch_data.py movielens)"),
    ),
    "header only": (
        "csv",
        {"ratings__csv": b"userId,movieId,rating,timestamp\n"},
        ("movielens: ratings.csv holds no rows; fetch it again (python scripts/fetch_data.py movielens)"),
    ),
    "missing columns": (
        "csv",
        {"ratings__csv": b"userId,item,rating,time\n1,2,3,4\n"},
        ("movielens: ratings.csv lacks the columns movieId, timestamp; its first line is 'userId,item,rating,time'"),
    ),
    "misspelt column": (
        "csv",
        {"ratings__csv": b"userID,movieId,rating,timestamp\n1,2,3,4\n"},
        (
            "movielens: ratings.csv lacks the columns userId; its first line is 'userID,movieId,rating,timestamp'; did "
            "you mean 'userID'?"
        ),
    ),
    "short line": (
        "csv",
        {"ratings__csv": b"userId,movieId,rating,timestamp\n1,2,3,978300760\n1,2,3\n"},
        f"movielens: ratings.csv, line 3: 3 fields, where 4 are needed; {AGAIN}",
    ),
    "long line": (
        "100k",
        {"u__data": b"1\t2\t3\t978300760\n1\t2\t3\t4\t5\n"},
        f"movielens: u.data, line 2: 5 fields, where 4 are needed; {AGAIN}",
    ),
    "no number": (
        "csv",
        {"ratings__csv": b"userId,movieId,rating,timestamp\n1,2,good,4\n"},
        f"movielens: ratings.csv, line 2: rating 'good' is not a number; {AGAIN}",
    ),
    "no whole number": (
        "100k",
        {"u__data": b"1\t2.5\t3\t4\n"},
        f"movielens: u.data, line 1: movieId '2.5' is not a whole number; {AGAIN}",
    ),
    "stars": (
        "1m",
        {"ratings__dat": b"1::2::5::978300760\n1::2::6::4\n"},
        f"movielens: ratings.dat, line 2: rating 6 is outside 0.5 to 5; {AGAIN}",
    ),
    "no stars": (
        "csv",
        {"ratings__csv": b"userId,movieId,rating,timestamp\n1,2,nan,4\n"},
        f"movielens: ratings.csv, line 2: rating nan is outside 0.5 to 5; {AGAIN}",
    ),
    "milliseconds": (
        "1m",
        {"ratings__dat": b"1::2::5::978300760000\n"},
        f"movielens: ratings.dat, line 1: timestamp 978300760000 is outside {TIMES}; {AGAIN}",
    ),
    "torn time": (
        "1m",
        {"ratings__dat": b"1::2::5::978300760\n1::3::5::97830"},
        f"movielens: ratings.dat, line 2: timestamp 97830 is outside {TIMES}; {AGAIN}",
    ),
    "column twice": (
        "csv",
        {"ratings__csv": b"userId,movieId,rating,timestamp,rating\n1,2,3,978300760,5\n"},
        "movielens: ratings.csv: the header names 'rating' twice; give every column its own name",
    ),
    "id too large": (
        "1m",
        {"ratings__dat": b"4294967296::2::5::9\n"},
        (f"movielens: ratings.dat, line 1: userId 4294967296 is outside -2147483648 to 2147483647; {AGAIN}"),
    ),
    "no user": (
        "1m",
        {"ratings__dat": b"1::2::5::978300760\n::2::5::9\n"},
        f"movielens: ratings.dat, line 2: userId is empty; {AGAIN}",
    ),
    "one colon": (
        "1m",
        {"ratings__dat": b"1::2:x:3::4\n"},
        f"movielens: ratings.dat, line 1: 'x' stands where nothing may; {AGAIN}",
    ),
    "wrong encoding": (
        "csv",
        {"movies__csv": "movieId,title,genres\n2,é,Drama\n".encode("latin-1")},
        f"movielens: movies.csv, line 2 is not UTF-8 (byte 3 is 0xe9); convert the file to UTF-8, or {FETCH}",
    ),
    "wide encoding": (
        "csv",
        {"ratings__csv": "userId,movieId,rating,timestamp\n1,2,3,4\n".encode("utf-16")},
        f"movielens: ratings.csv, line 1 is not UTF-8 (byte 1 is 0xff); convert the file to UTF-8, or {FETCH}",
    ),
    "open quote": (
        "csv",
        {"movies__csv": b'movieId,title,genres\n2,"A, B,Drama\n'},
        (f"movielens: movies.csv, line 2: a quote is never closed (unexpected end of data); {AGAIN}"),
    ),
    "film header": (
        "csv",
        {"movies__csv": b"id,title,genres\n"},
        ("movielens: movies.csv must begin with the line 'movieId,title,genres', but begins with 'id,title,genres'"),
    ),
    "film twice": (
        "1m",
        {"movies__dat": b"2::A::War\n3::B::War\n2::C::War\n"},
        f"movielens: movies.dat, line 3: film 2 again (first in line 1); {AGAIN}",
    ),
    "film fields": (
        "1m",
        {"movies__dat": b"2::A\n"},
        f"movielens: movies.dat, line 1: 2 fields, where 3 are needed; {AGAIN}",
    ),
    "film id": (
        "1m",
        {"movies__dat": b"two::A::War\n"},
        f"movielens: movies.dat, line 1: film id 'two' is not a whole number; {AGAIN}",
    ),
    "flags": (
        "100k",
        {"u__item": b"2|A|||u|1|0\n"},
        f"movielens: u.item, line 1: 7 fields, where 24 are needed; {AGAIN}",
    ),
    "user code": (
        "1m",
        {"users__dat": b"7::M::24::10::1\n"},
        (f"movielens: users.dat, line 1: age '24' or occupation '10' is not one of the README's codes; {AGAIN}"),
    ),
    "user age": (
        "100k",
        {"u__user": b"7|old|M|x|1\n"},
        f"movielens: u.user, line 1: age 'old' is not a whole number; {AGAIN}",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named_with_line_and_fix(case, tmp_path):
    layout, changed, message = BAD[case]
    assert failure(write(tmp_path, FOLDERS[layout], **changed)) == message


def test_missing_files(tmp_path):
    home = "https://grouplens.org/datasets/movielens/"
    to_do = f"download the data from {home} and set data.source.path to the unzipped folder"
    assert failure(tmp_path) == (
        f"movielens: {tmp_path} has none of u.data, ratings.dat, ratings.csv; run `python scripts/fetch_data.py "
        f"movielens`, or {to_do}"
    )
    (tmp_path / "ratings.csv").write_bytes(b"x")
    assert failure(tmp_path) == (
        f"movielens: no file {tmp_path / 'movies.csv'}; run `python scripts/fetch_data.py movielens`, or {to_do}"
    )


def test_unknown_settings(tmp_path):
    takes = "but must be one of 100k, 1m, 10m, csv, or null"
    for layout, hint in (("2x", ""), ("10mb", "; did you mean '10m'?"), ("25m", "; did you mean 'csv'?")):
        assert failure(tmp_path, layout=layout) == f"movielens: layout is {layout!r}, {takes}{hint}"
    assert failure(tmp_path, year="x") == "movielens: year is 'x', but must be one of decade, number"


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.slow
def test_damaged_files_load_whole_or_are_refused(name, tmp_path):
    loads, refusals = survive(FOLDERS[name], lambda d: MovieLens(str(d)), tmp_path, tries=120, header=name == "csv")
    assert loads > 10 and refusals > 10
