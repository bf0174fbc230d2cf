"""MovieLens, every released layout, as unzipped: 100k, 1m, 10m, and the CSV ones (20m, 25m, 32m, latest).

Layouts are those of the README files at https://grouplens.org/datasets/movielens/.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import RawData, Step
from xrec.data.sources.delimited import Column, Delimited, event_columns, event_log
from xrec.data.sources.reading import decoded, fetch_again, require
from xrec.words import did_you_mean

HOME = "https://grouplens.org/datasets/movielens/"
#: layout -> ratings, films, users (or None); told by the files that are there, first match first.
LAYOUTS: dict[str, tuple[str, str, str | None]] = {
    "100k": ("u.data", "u.item", "u.user"),
    "1m": ("ratings.dat", "movies.dat", "users.dat"),
    "10m": ("ratings.dat", "movies.dat", None),
    "csv": ("ratings.csv", "movies.csv", None),
}
YEARS = ("decade", "number")

#: The flags of u.item, in the order of u.genre.
GENRES_100K = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
AGES_1M = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56 and over",
}
OCCUPATIONS_1M = (
    "other or not specified",
    "academic or educator",
    "artist",
    "clerical or admin",
    "college or graduate student",
    "customer service",
    "doctor or health care",
    "executive or managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales or marketing",
    "scientist",
    "self-employed",
    "technician or engineer",
    "tradesman or craftsman",
    "unemployed",
    "writer",
)
NO_GENRES = ("", "(no genres listed)", "unknown")
#: data sets that have the layout `csv`
_CSV = re.compile("20m|25m|32m|latest", re.IGNORECASE)
_YEAR = re.compile(r"\((\d{4})(?:\s?[-–]\s?(?:\d{4})?)?\)\s*$")


class MovieLens:
    """Ratings as events; genres and release year of films; gender, age, occupation and zip code of users (100k, 1m).

    Args:
        path: the unzipped folder.
        layout: one of LAYOUTS; None: told by the files in it.
        year: "decade" (a category) or "number".
    Raises:
        DataError: an unknown layout or year.
    """

    name = "movielens"

    def __init__(self, path: str, layout: str | None = None, year: str = "decade") -> None:
        if layout is not None and layout not in LAYOUTS:
            hint = "; did you mean 'csv'?" if _CSV.search(str(layout)) else did_you_mean(layout, LAYOUTS)
            raise DataError(f"movielens: layout is {layout!r}, but must be one of {', '.join(LAYOUTS)}, or null{hint}")
        if year not in YEARS:
            hint = did_you_mean(year, YEARS)
            raise DataError(f"movielens: year is {year!r}, but must be one of {', '.join(YEARS)}{hint}")
        self.folder = Path(path)
        self.layout = layout
        self.year = year
        self.settings: dict[str, Any] = {"layout": layout, "year": year}

    def files(self) -> list[Path]:
        """Ratings, films and, where the layout has them, users.

        Raises:
            DataError: one is missing or empty, or nothing in the folder is of a known layout.
        """
        paths = [self.folder / f for f in LAYOUTS[self._layout()] if f is not None]
        return require(self.name, paths, HOME, "data.source.path to the unzipped folder")

    def load(self) -> RawData:
        """Events (rating as value), films and users.

        Raises:
            DataError: names the file and line of anything that is not as the layout has it.
        """
        layout, paths = self._layout(), self.files()
        events, steps = event_log(_ratings(layout, paths[0]), "s")
        films, names = _films(layout, paths[1], self.year)
        users = _users(layout, paths[2]) if len(paths) > 2 else pl.DataFrame(schema={"user": pl.Int32})
        rated = events.select("item").unique().collect(engine="streaming")
        if lacking := rated.join(films, on="item", how="anti").height:
            last = steps[-1]
            reason = (
                f"nothing dropped; {lacking} of {last.items} films have no line in {paths[1].name}, so no attributes"
            )
            steps.append(Step("films", reason, last.rows, last.users, last.items))
        return RawData(events, films, users, names, ("rating",), steps=steps)

    def _layout(self) -> str:
        if self.layout is not None:
            return self.layout
        for layout, files in LAYOUTS.items():
            if all((self.folder / f).is_file() for f in (files[0], files[2]) if f is not None):
                return layout
        ratings = ", ".join(dict.fromkeys(f[0] for f in LAYOUTS.values()))
        raise DataError(
            f"movielens: {self.folder} has none of {ratings}; run `python scripts/fetch_data.py movielens`, or "
            f"download the data from {HOME} and set data.source.path to the unzipped folder"
        )


def _ratings(layout: str, path: Path) -> Delimited:
    c = event_columns("userId", "movieId", "rating", "timestamp", ids=pl.Int32, unit="s", since=1995, bounds=(0.5, 5))
    columns = c["user"], c["item"], c["value"], c["time"]
    if layout == "csv":
        _, header = next(decoded("movielens", path, size=1 << 16), (0, ""))
        return Delimited("movielens", path, columns, quote='"' if '"' in header else None)
    if layout == "100k":
        return Delimited("movielens", path, columns, "\t", header=False)
    gap = Column("", pl.String)  # `::` is two separators with nothing between
    spread = (columns[0], gap, columns[1], gap, columns[2], gap, columns[3])
    return Delimited("movielens", path, spread, ":", header=False)


def _films(layout: str, path: Path, year: str) -> tuple[pl.DataFrame, dict[str, str]]:
    """(item, genres, year) and the titles."""
    ids: dict[int, int] = {}
    titles, genres, years = [], [], []
    for number, fields in _records(layout, path):
        _unique(ids, path, number, fields[0], "film")
        title, kinds, date = fields[1].strip(), fields[2], fields[3]
        found = _YEAR.search(date or title)
        titles.append(title)
        genres.append([g for g in kinds.split("|") if g not in NO_GENRES])
        years.append(int(found[1]) if found else None)
    films = pl.DataFrame(
        {"item": list(ids), "genres": genres, "year": years},
        schema={"item": pl.Int32, "genres": pl.List(pl.String), "year": pl.Int32},
    )
    if year == "decade":
        films = films.with_columns((pl.col("year") // 10 * 10).cast(pl.String) + "s")
    return films, {str(i): t for i, t in zip(ids, titles, strict=True) if t}


def _records(layout: str, path: Path) -> Iterator[tuple[int, tuple[str, str, str, str]]]:
    """(line, (id, title, genres joined by |, "(year)" where the file has a release date)) of every film."""
    lines = decoded("movielens", path, or_latin=layout != "csv")
    if layout == "csv":
        _, header = next(lines, (0, ""))
        if next(csv.reader([header])) != ["movieId", "title", "genres"]:
            raise DataError(
                f"movielens: {path.name} must begin with the line 'movieId,title,genres', but begins with "
                f"{header[:80]!r}"
            )
    for number, line in lines:
        if layout == "csv":
            yield number, (*_comma_fields(path, number, line), "")
        elif layout == "100k":
            fields = line.split("|")
            _width(path, number, len(fields), 5 + len(GENRES_100K))
            genres = "|".join(g for g, flag in zip(GENRES_100K, fields[5:], strict=True) if flag.strip() == "1")
            yield number, (fields[0], fields[1], genres, f"({fields[2][-4:]})" if fields[2] else "")
        else:
            film, _, rest = line.partition("::")  # a title may hold `::`
            title, mark, genres = rest.rpartition("::")
            _width(path, number, 3 if mark else line.count("::") + 1, 3)
            yield number, (film, title, genres, "")


def _comma_fields(path: Path, number: int, line: str) -> tuple[str, str, str]:
    try:
        fields = next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise DataError(
            f"movielens: {path.name}, line {number}: a quote is never closed ({error}); mend the line, or "
            f"{fetch_again('movielens')}"
        ) from error
    _width(path, number, len(fields), 3)
    return fields[0], fields[1], fields[2]


def _users(layout: str, path: Path) -> pl.DataFrame:
    """(user, age, gender, occupation, zip); age is a number in 100k and a span in 1m."""
    separator = "|" if layout == "100k" else "::"
    ids: dict[int, int] = {}
    rows: list[tuple[Any, ...]] = []
    for number, line in decoded("movielens", path, or_latin=True):
        fields = line.split(separator)
        _width(path, number, len(fields), 5)
        _unique(ids, path, number, fields[0], "user")
        if layout == "100k":
            _, age, gender, occupation, code = fields
            rows.append((_whole(path, number, "age", age), gender, occupation, code))
        else:
            _, gender, age, occupation, code = fields
            kind = _whole(path, number, "occupation", occupation)
            if age not in AGES_1M or not 0 <= kind < len(OCCUPATIONS_1M):
                raise _line(path, number, f"age {age!r} or occupation {occupation!r} is not one of the README's codes")
            rows.append((AGES_1M[age], gender, OCCUPATIONS_1M[kind], code))
    age_type = pl.Int32 if layout == "100k" else pl.String
    schema = {"age": age_type, "gender": pl.String, "occupation": pl.String, "zip": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    empty = [pl.when(pl.col(c) != "").then(pl.col(c)).alias(c) for c in ("gender", "occupation", "zip")]
    return frame.select(pl.Series("user", list(ids), pl.Int32), "age", *empty)


def _unique(ids: dict[int, int], path: Path, number: int, text: str, what: str) -> None:
    entity = _whole(path, number, f"{what} id", text)
    if entity in ids:
        raise _line(path, number, f"{what} {entity} again (first in line {ids[entity]})")
    ids[entity] = number


def _whole(path: Path, number: int, what: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise _line(path, number, f"{what} {text!r} is not a whole number")
    return int(text)


def _width(path: Path, number: int, found: int, needed: int) -> None:
    if found != needed:
        raise _line(path, number, f"{found} fields, where {needed} are needed")


def _line(path: Path, number: int, reason: str) -> DataError:
    return DataError(f"movielens: {path.name}, line {number}: {reason}; mend the line, or {fetch_again('movielens')}")
