"""JSON lines (or lines of Python literals) of any length, plain or gzip, as frames of a few columns, block by block.

polars reads a block where it can; where it cannot, Python reads the same block line by line, which is slower, takes
what is merely untidy (numbers as text, nested lists) and names the line of what is broken.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import polars as pl

from xrec.data.errors import DataError
from xrec.data.sources.delimited import POLARS_FAULTS
from xrec.data.sources.reading import BLOCK, begins_document, blocks, fetch_again, numbered, one_document

#: What `ast.literal_eval` and `json.loads` raise on a broken line.
PARSE_FAULTS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


class _NotValidError(ValueError):
    """A value that its field cannot hold."""


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else _whole_characters(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise _NotValidError("text")


def _whole_characters(text: str) -> str:
    """Halves of surrogate pairs, which JSON can write and UTF-8 cannot, become the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _number(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise _NotValidError("a number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _NotValidError("a number") from error
    if not isfinite(number):
        raise _NotValidError("a finite number")
    return number


def _whole(value: Any) -> int | None:
    number = _number(value)
    if number is None:
        return None
    if number != int(number) or abs(number) >= 2**63:
        raise _NotValidError("a whole number of 64 bits")
    return int(number)


def _texts(value: Any) -> list[str] | None:
    """A list of texts out of lists in lists; a lone text is a list of one; null and empty entries go."""
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        value = [value]
    found: list[str] = []
    for entry in value:
        if isinstance(entry, list | tuple):
            found += _texts(entry) or []
        elif text := _text(entry):
            found.append(text)
    return found


_TYPES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "id": (pl.String, _text),
    "text": (pl.String, _text),
    "number": (pl.Float64, _number),
    "whole": (pl.Int64, _whole),
    "texts": (pl.List(pl.String), _texts),
}


@dataclass(frozen=True)
class JsonLines:
    """A file of records, one a line.

    fields: name -> "id", "text", "number", "whole" (number) or "texts" (a list, flattened). `path` is JSON, or Python
    literals (`{'asin': '1'}`) when its first line is one.
    """

    source: str
    path: Path
    fields: dict[str, str]

    def first(self) -> dict[str, Any]:
        """The first record.

        Raises:
            DataError: no records, one JSON document, or a first line that is neither JSON nor a Python literal.
        """
        number, line = next(numbered(self.source, self.path, 1 << 16), (0, b""))
        if not number:
            raise DataError(f"{self.source}: {self.path.name} holds no records; {fetch_again(self.source)}")
        if begins_document(line.decode(errors="replace")):
            raise one_document(self.source, self.path)
        return self._record(number, line, self._parser(line))

    def frames(self, size: int = BLOCK) -> Iterator[pl.DataFrame]:
        """The records in order, one frame with the columns of `fields` per block of about `size` bytes.

        Raises:
            DataError: names the first line that is not a record, or whose field holds something else; a gzip that is
                cut off.
        """
        _, line = next(numbered(self.source, self.path, 1 << 16), (0, b""))
        parse = self._parser(line)
        for start, block in blocks(self.source, self.path, size):
            frame = self._fast(block) if parse is json.loads else None
            yield self._slow(start, block, parse) if frame is None else frame

    def _parser(self, line: bytes) -> Callable[[str], Any]:
        if line.lstrip()[:1] == b"{":
            try:
                if isinstance(_literal(line.decode()), dict) and not _is_json(line):
                    return _literal
            except PARSE_FAULTS:
                pass
        return json.loads

    def _fast(self, block: bytes) -> pl.DataFrame | None:
        """The block by polars, or None where polars fails or its answer needs a second look."""
        schema = {name: _TYPES[kind][0] for name, kind in self.fields.items()}
        try:
            frame = pl.read_ndjson(block, schema=schema)
        except POLARS_FAULTS:
            return None
        odd = [_second_look(name, kind) for name, kind in self.fields.items() if kind in ("id", "text", "texts")]
        if odd and frame.height and frame.select(pl.any_horizontal(odd).fill_null(False)).item():
            return None
        return frame

    def _slow(self, start: int, block: bytes, parse: Callable[[str], Any]) -> pl.DataFrame:
        columns: dict[str, list[Any]] = {name: [] for name in self.fields}
        for number, line in enumerate(block.split(b"\n"), start=start):
            if not line.strip():
                continue
            record = self._record(number, line, parse)
            for name, kind in self.fields.items():
                try:
                    columns[name].append(_TYPES[kind][1](record.get(name)))
                except _NotValidError as error:
                    found = str(record[name])[:80]
                    raise self._line(number, f": {name} is {found!r}, not {error}; mend the line") from error
        return pl.DataFrame(columns, schema={name: _TYPES[kind][0] for name, kind in self.fields.items()})

    def _record(self, number: int, line: bytes, parse: Callable[[str], Any]) -> dict[str, Any]:
        form = "JSON" if parse is json.loads else "a Python literal"
        try:
            record = parse(line.decode().strip())
        except UnicodeDecodeError as error:
            where = f"byte {error.start + 1} is 0x{line[error.start]:02x}"
            raise self._line(number, f" is not UTF-8 ({where}); convert the file to UTF-8") from error
        except PARSE_FAULTS as error:
            raise self._line(number, f" is not {form}: {line[:60]!r}; mend or remove the line") from error
        if not isinstance(record, dict):
            raise self._line(number, f" has no named fields: {line[:60]!r}; mend or remove the line")
        return record

    def _line(self, number: int, fault: str) -> DataError:
        return DataError(f"{self.source}: {self.path.name}, line {number}{fault}, or {fetch_again(self.source)}")


def _second_look(name: str, kind: str) -> pl.Expr:
    """Whether polars may have taken for text what was none: lists and objects come as their JSON text, half a surrogate
    pair as NUL. Lists may also hold nulls and empty texts."""
    nested = r'^[\[{]["\[{\]}]|\x00' if kind == "text" else r"^[\[{]|\x00"  # titles may well begin with a bracket
    if kind != "texts":
        return pl.col(name).str.contains(nested).any()
    entry = pl.element()
    strange = entry.is_null() | (entry == "") | entry.str.contains(nested)
    return pl.col(name).list.eval(strange.any()).list.any().any()


def _literal(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of backslashes that escape nothing
        return ast.literal_eval(text)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except PARSE_FAULTS:
        return False
    return True
