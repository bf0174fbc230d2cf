"""Files as lazy frames of text columns, checked first: a file that is cut off, ragged or not text is an error here,
never a shorter table.

Delimited files (CSV, TSV, atomic) are looked through once for line ends, quotes and separators; where those do not say
that every line has the fields of the header, each line is counted.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from xrec.data.errors import DataError, refuse_all
from xrec.data.sources.reading import BOM, begins_document, binary, one_document, wraps_records
from xrec.words import did_you_mean

#: suffixes, without a `.gz` behind them
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
STRAY = "a stray quote? set quote to null if quotes are plain letters"
_CHUNK = 1 << 22
_DAMAGED = "it is cut off or damaged; get it again"


@dataclass(frozen=True)
class Opened:
    """A checked file.

    kind: delimited, lines, jsonl or parquet. rows: data rows it must give; None: only reading tells. exact: row i
    stands on line i + 2. separator, quote: of a delimited file. joined: the files that it is made of, one below the
    other; (): of `path` alone.
    """

    path: Path
    kind: str
    frame: pl.LazyFrame
    columns: tuple[str, ...]
    rows: int | None
    exact: bool = False
    separator: str = ""
    quote: str | None = None
    joined: tuple[Opened, ...] = ()

    @property
    def files(self) -> tuple[Opened, ...]:
        """Itself, or the files that it is made of."""
        return self.joined or (self,)

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return ", ".join(file.path.name for file in self.files)

    def where(self, row: int) -> str:
        """The file of a data row numbered from 0, and where in it that stands."""
        for file in self.files[:-1]:
            n_rows = file.frame.select(pl.len()).collect().item() if file.rows is None else file.rows
            if row < n_rows:
                return f"{file.name}, {file.place(row)}"
            row -= n_rows
        return f"{self.files[-1].name}, {self.files[-1].place(row)}"

    def place(self, row: int) -> str:
        """Where the data row numbered from 0 stands."""
        return f"line {row + 2}" if self.exact else f"row {row + 1}"


def name_of(source: str, dataset: str | None) -> str:
    """The name that a source goes by: the data set's, or else its own; `DataError` when it is no name for a folder."""
    if dataset is not None and not re.fullmatch(r"\w[\w.-]*", dataset):
        raise DataError(f"{source}: dataset is {dataset!r}, takes a name of letters, digits, '_', '-' and '.'")
    return source if dataset is None else dataset


def existing(source: str, path: str | Path | None, setting: str, advice: str, what: str = "FILE") -> Path:
    """The file at `path`. what: what `setting` should be set to, in the error.

    Raises:
        DataError: no path, or no such file.
    """
    if path is None or not str(path).strip():
        raise DataError(f"{source}: no file given; set {setting}={what}. {advice}")
    found = Path(path).expanduser()
    if not found.is_file():
        is_what = "is a folder, not a file" if found.is_dir() else "is not there"
        raise DataError(f"{source}: {found} {is_what}; set {setting}={what}. {advice}")
    return found


def check_columns(source: str, opened: Opened, columns: Mapping[str, str], setting: str) -> None:
    """Raise `DataError` unless the file has every column that `columns` maps to; it names all that are missing."""
    has, missing = opened.columns, []
    for role, column in columns.items():
        if column in has:
            continue
        hint = did_you_mean(column, has)
        if len(has) == 1 and any(s in has[0] for s in ";\t|,"):
            hint = "; is the separator another one? set separator"
        listed = ", ".join(has[:20]) + (", ..." if len(has) > 20 else "")
        missing.append(f"{source}: {opened.name} has no column {column!r} for {setting}.{role}{hint} (it has {listed})")
        if len(has) == 1:  # what is wrong is the line, not each column
            break
    refuse_all(missing)


def format_of(source: str, path: Path, setting: str | None) -> str:
    """csv, tsv, parquet or jsonl, by the setting or else the suffix."""
    known = sorted(set(FORMATS.values()))
    if setting is not None:
        if setting not in known:
            hint = did_you_mean(setting, known)
            raise DataError(f"{source}: format is {setting!r}, takes one of {', '.join(known)}{hint}")
        return setting
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    found = FORMATS.get(suffixes[-1]) if suffixes else None
    if found is None:
        raise DataError(f"{source}: {path.name}: the name does not tell the format; set format to {', '.join(known)}")
    return found


def collect(source: str, opened: Opened, frame: pl.LazyFrame) -> pl.DataFrame:
    """`frame`, computed.

    Raises:
        DataError: in place of whatever polars has against the file; names the line where that can be found out.
    """
    try:
        return frame.collect(engine="streaming")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError) as error:
        for file in (f for f in opened.files if f.kind != "parquet"):
            for number, text in lines_of(source, file.path):
                if file.kind == "jsonl" and text.strip():
                    _taken(f"{source}: {file.name}, line {number}", text)
        inexact = any(f.kind == "delimited" and not f.exact for f in opened.files)
        advice = stray(source, opened) if inexact else _DAMAGED
        raise DataError(f"{source}: {opened.name} cannot be read ({first_line(error)}); {advice}") from error


def _taken(place: str, text: str) -> None:
    """Raise `DataError` when polars does not take a line that Python takes, such as one with the number 1e999."""
    try:
        pl.read_ndjson(text.encode())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(f"{place}: cannot be read ({first_line(error)}); mend the line") from error


def stray(source: str, opened: Opened) -> str:
    """The advice about a quote that polars and the csv module take differently, with its line where that is found."""
    delimited = [file for file in opened.files if file.kind == "delimited"]
    for file in delimited:
        mark, separator = re.escape(file.quote or '"'), re.escape(file.separator)
        field = f"(?:{mark}(?:[^{mark}]|{mark}{mark})*{mark}|[^{separator}{mark}]*)"
        whole = re.compile(f"{field}(?:{separator}{field})*")
        texts = lines_of(source, file.path)
        next(texts)
        for start, end, _ in _rows(source, file.path, file.separator, file.quote):
            if not whole.fullmatch("\n".join(next(texts)[1] for _ in range(start, end + 1))):
                among = f" of {file.name}" if opened.joined else ""
                return f"line {start}{among} has {STRAY}".replace("?", ";")
    return STRAY if delimited else _DAMAGED


def is_text(dtype: pl.DataType) -> bool:
    """Text, or nothing at all."""
    return dtype in (pl.String, pl.Null) or isinstance(dtype, pl.Categorical | pl.Enum)


def first_line(error: BaseException) -> str:
    """What a library says, without its advice about its own arguments."""
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


def open_table(
    source: str,
    path: Path,
    kind: str,
    separator: str | None = None,
    quote: str | None = '"',
    *,
    ids: Sequence[str] = (),
    typed: bool = False,
) -> Opened:
    """Any of the formats, every column of a text format as String (an empty field is null).

    ids: columns of ids. typed: columns of JSON lines have the types of their values instead, lists among them.
    """
    if kind == "parquet":
        return _parquet(source, path)
    if kind == "jsonl":
        return _json_lines(source, path, ids, typed)
    return open_delimited(source, path, separator or ("\t" if kind == "tsv" else ","), quote)


def open_delimited(source: str, path: Path, separator: str, quote: str | None) -> Opened:
    """A file of separated fields with a header.

    Raises:
        DataError: no rows, not UTF-8, a column named twice, a row with more or fewer fields than the header.
    """
    lines, marks, quotes = _counts(source, path, separator.encode(), b"" if quote is None else quote.encode())
    header = _header(source, path, separator, quote)
    plain = quotes == 0
    blanks = 0
    if plain and marks == (len(header) - 1) * lines and len(header) > 1:
        rows = lines - 1
    else:
        rows, blanks = _count_rows(source, path, separator, None if plain else quote, header)
    if rows == 0:
        raise DataError(f"{source}: {path.name} has a header and no rows")
    schema = dict.fromkeys(header, pl.String)
    # glob=False: a '[' in a name is a letter
    frame = pl.scan_csv(
        path, separator=separator, quote_char=None if plain else quote, schema=schema, has_header=True, glob=False
    )
    return Opened(path, "delimited", frame, tuple(header), rows + blanks, plain, separator, quote)


def lines_of(source: str, path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text without its line end) of every line; a byte-order mark is no part of the first."""
    number = 0
    try:
        with binary(path) as handle:
            for number, line in enumerate(handle, 1):
                yield number, line.removeprefix(BOM if number == 1 else b"").rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{source}: {path.name}, line {number}: not UTF-8 text ({error.reason}); save the file as UTF-8"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{source}: {path.name} cannot be read ({first_line(error)}); {_DAMAGED}") from error


def count_lines(source: str, path: Path) -> int:
    """How many lines a file has, blank ones too; `DataError` when it is empty or cannot be decompressed."""
    return _counts(source, path, b"\n", b"")[0]


def no_twice(source: str, path: Path, header: list[str]) -> None:
    """Raise `DataError` when a column is named twice."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{source}: {path.name}: the header names {twice[0]!r} twice; give every column its own name")


def _counts(source: str, path: Path, separator: bytes, quote: bytes) -> tuple[int, int, int]:
    """(lines, separators, quotes) of a file, by its bytes."""
    lines = marks = quotes = 0
    last = b""
    try:
        with binary(path) as handle:
            while chunk := handle.read(_CHUNK):
                lines += chunk.count(b"\n")
                marks += chunk.count(separator)
                quotes += chunk.count(quote) if quote else 0
                last = chunk[-1:]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{source}: {path.name} cannot be read ({first_line(error)}); {_DAMAGED}") from error
    if not last:
        raise DataError(f"{source}: {path.name} is empty")
    return lines + (last != b"\n"), marks, quotes


def _header(source: str, path: Path, separator: str, quote: str | None) -> list[str]:
    first = next((text for _, text in lines_of(source, path)), "")
    if "\r" in first:
        raise DataError(f"{source}: {path.name}: lines end in a lone carriage return; save it with line feeds")
    if not first.strip():
        raise DataError(f"{source}: {path.name}, line 1: no header; the first line must name the columns")
    if "\0" in first:
        raise DataError(f"{source}: {path.name}, line 1: not UTF-8 text; save the file as UTF-8")
    if quote is None:
        header = first.split(separator)
    else:
        header = next(csv.reader([first], delimiter=separator, quotechar=quote))
    no_twice(source, path, header)
    return header


def _count_rows(source: str, path: Path, separator: str, quote: str | None, header: list[str]) -> tuple[int, int]:
    """(rows, blank lines) below the header, every row's fields counted.

    Raises:
        DataError: a row with another number of fields, or a quote that does not close; names its line.
    """
    rows = blanks = 0
    start = 1
    for start, end, fields in _rows(source, path, separator, quote):
        if end == start and (not fields or (fields == [""] and len(header) == 1)):
            blanks += 1
        elif len(fields) != len(header):
            place = f"line {start}" if end == start else f"lines {start} to {end}"
            advice = "" if quote is None else f"; {STRAY}"
            raise DataError(
                f"{source}: {path.name}, {place}: {len(fields)} fields, but the header has {len(header)}{advice}"
            )
        else:
            rows += 1
    return rows, blanks


def _rows(source: str, path: Path, separator: str, quote: str | None) -> Iterator[tuple[int, int, list[str]]]:
    """(first line, last line, fields) of every row below the header."""
    lines = (text for _, text in lines_of(source, path))
    if quote is None:
        next(lines)
        for number, text in enumerate(lines, 2):
            yield number, number, text.split(separator) if text else []
        return
    limit = csv.field_size_limit(1 << 30)  # the module's own limit is there for untrusted servers
    reader = csv.reader((f"{text}\n" for text in lines), delimiter=separator, quotechar=quote, strict=True)
    end = 0
    try:
        for fields in reader:
            start, end = end + 1, reader.line_num
            if start > 1:
                yield start, end, fields
    except csv.Error as error:
        raise DataError(f"{source}: {path.name}, line {end + 1}: {error}; {STRAY}") from error
    finally:
        csv.field_size_limit(limit)


def _parquet(source: str, path: Path) -> Opened:
    try:
        frame = pl.scan_parquet(path, glob=False)
        columns = tuple(frame.collect_schema().names())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"{source}: {path.name} cannot be read as parquet ({first_line(error)}); {_DAMAGED}") from error
    return Opened(path, "parquet", frame, columns, None)


def _json_lines(source: str, path: Path, ids: Sequence[str], typed: bool) -> Opened:
    """Columns are the keys of all objects."""
    rows = 0
    keys: dict[str, None] = {}
    record: dict[str, Any] = {}
    for number, text in lines_of(source, path):
        if not text.strip():
            continue
        if not rows and begins_document(text):
            raise one_document(source, path)
        record = _json_object(source, path, number, text)
        for column in ids:
            if isinstance(value := record.get(column), bool | dict | list):
                got = json.dumps(value)[:60]
                raise DataError(
                    f"{source}: {path.name}, line {number}: {column} is {got}, takes text or a whole number"
                )
        if not record.keys() <= keys.keys():
            keys.update(dict.fromkeys(record))
        rows += 1
    if rows == 0:
        raise DataError(f"{source}: {path.name} is empty")
    if rows == 1 and wraps_records(record):
        raise one_document(source, path)
    with binary(path) as handle:
        marked = handle.read(3) == BOM
    schema = dict.fromkeys(keys, pl.String)
    content = io.BytesIO(_unmarked(path)) if marked else path
    opened = Opened(path, "jsonl", pl.scan_ndjson(content, schema=schema), tuple(keys), rows)
    if not typed:
        return opened
    frame = _typed_json(source, opened, content)
    return replace(opened, frame=frame.lazy(), columns=tuple(frame.columns))


def _typed_json(source: str, opened: Opened, content: Path | io.BytesIO) -> pl.DataFrame:
    try:
        frame = pl.scan_ndjson(content, infer_schema_length=None)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = f"cannot be read ({first_line(error)}); {_DAMAGED}"
        raise DataError(f"{source}: {opened.path.name} {reason}") from error
    return collect(source, opened, frame)


def _json_object(source: str, path: Path, number: int, text: str) -> dict[str, Any]:
    """The object that a line holds; `DataError` when it holds another thing."""
    place = f"{source}: {path.name}, line {number}"
    try:
        found = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not a JSON object ({first_line(error)})") from error
    if not isinstance(found, dict):
        raise DataError(f"{place}: {text.strip()[:40]!r}; takes JSON lines, one object a line")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(k for k in keys if keys.count(k) > 1)!r} is there twice")
    return found


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON: write null")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_json)


def _unmarked(path: Path) -> bytes:
    with binary(path) as handle:
        return handle.read().removeprefix(BOM)
