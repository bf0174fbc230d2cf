"""Any log in one file: CSV, TSV, Parquet or JSON lines, its columns mapped in yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import RawData
from xrec.data.sources.attributes import Attributes, attribute_table, matched
from xrec.data.sources.files import Opened, check_columns, existing, format_of, name_of, open_table
from xrec.data.sources.logs import Log, Rules, event_log, roles_of
from xrec.data.sources.parts import COLUMN, home_of, named_parts, part_files, together
from xrec.words import did_you_mean

_ENTITY = ("path", "columns", "types", "format")


class Table:
    """One row is one event. Ids are compared as written: in JSON lines, 1 and "1" are the same id.

    Args:
        path: .csv, .tsv, .parquet or .jsonl, the text formats also as .gz.
        columns: user, item, time, and optionally kind, value and part -> the names of the file's columns. time: null
            says that the rows stand in the order of the events. part: train, validation (or valid, val, dev) or test,
            of a log that comes split (split=given).
        format: csv, tsv, parquet or jsonl, where the file's name does not tell. separator: of a text file, where it is
            not that of its format. quote: the quoting character; null: quotes are letters like others.
        time_format: s, ms, us, ns (since 1970), period (the file counts weeks, say), or a pattern such as '%d/%m/%Y';
            null: found out, and asked for where that is not certain. Times without an offset are those of `timezone`.
        kinds: the kinds to keep, in this order; null: all there are, sorted.
        unreadable: `error`, or `drop` (and count) rows whose time or value cannot be read. empty_value: what an empty
            value counts as; null: it cannot be read.
        items, users: an attribute table: {path, columns: {item: ..., name: ..., attribute: column}, types: {attribute:
            categorical | numeric | list | text}}. Without attributes in `columns` every other column is one. A bare
            file name stands beside `path`. list_separator: between the values of a list.
        dataset: what the data is called in tables, reports and errors; null: table.
        parts: of a log that comes split, the file of each part: {train: ..., validation: ..., test: ...}, validation
            optional. `path` is the folder that bare file names stand in.
    """

    name = "table"

    def __init__(
        self,
        path: str | None,
        columns: dict[str, str | None],
        format: str | None = None,  # noqa: A002  (the word of the yaml)
        separator: str | None = None,
        quote: str | None = '"',
        time_format: str | None = None,
        timezone: str = "UTC",
        kinds: list[str] | None = None,
        unreadable: str = "error",
        empty_value: float | None = None,
        items: dict[str, Any] | None = None,
        users: dict[str, Any] | None = None,
        list_separator: str = "|",
        dataset: str | None = None,
        parts: dict[str, str | None] | None = None,
    ) -> None:
        self.name = name_of(Table.name, dataset)
        self.path, self.format, self.separator, self.quote = path, format, separator, quote
        self.columns = roles_of(self.name, columns)
        self.parts = named_parts(self.name, parts, self.columns)
        self.tables = {k: _entity(k, v) for k, v in (("item", items), ("user", users)) if v is not None}
        self.list_separator = list_separator
        self.rules = Rules(time_format, timezone, kinds, unreadable, empty_value).checked(self.name)
        _one_letter(separator=separator, quote=quote)
        if not list_separator:
            raise DataError(
                "table: list_separator is empty; takes what stands between the values of a list, such as '|'"
            )
        self.settings = {
            "columns": self.columns,
            "format": [format, separator, quote],
            "rules": [time_format, timezone, kinds, unreadable, empty_value],
            "tables": {k: {n: v for n, v in t.items() if n != "path"} for k, t in self.tables.items()},
            "list_separator": list_separator,
        } | ({"parts": list(self.parts)} if self.parts else {})

    def files(self) -> list[Path]:
        """The file of the log, or of each part of it, and then the tables.

        Raises:
            DataError: one of them is missing.
        """
        if self.parts:
            found = list(part_files(self.name, self.path, self.parts).values())
            home = home_of(self.name, self.path)
        else:
            found = [existing(self.name, self.path, "data.path", "It is a file of your own: one row per event.")]
            home = found[0].parent
        for key, table in self.tables.items():
            given = Path(str(table["path"]))
            beside = home / given if given.parent == Path() else given
            found.append(existing(self.name, beside, f"data.source.{key}s.path", f"It is a table of {key}s."))
        return found

    def load(self) -> RawData:
        """Read, map and count."""
        n_logs, files = max(1, len(self.parts)), self.files()
        logs, others = files[:n_logs], files[n_logs:]
        ids = (self.columns["user"], self.columns["item"])
        opened = [self._open(path, self.format, ids) for path in logs]
        log = log_of_parts(self.name, dict(zip(self.parts or ("",), opened, strict=True)), self.columns, self.rules)
        tables = {k: self._attributes(log, k, file) for k, file in zip(self.tables, others, strict=True)}
        return raw_data(log, tables)

    def _open(self, path: Path, kind: str | None, ids: tuple[str, ...], *, typed: bool = False) -> Opened:
        known = format_of(self.name, path, kind)
        return open_table(self.name, path, known, self.separator, self.quote, ids=ids, typed=typed)

    def _attributes(self, log: Log, key: str, path: Path) -> Attributes:
        table = self.tables[key]
        opened = self._open(path, table.get("format"), (table["columns"][key],), typed=True)
        columns = {k: v for k, v in table["columns"].items() if k not in (key, table["name"])}
        used = (table["columns"][key], table["columns"].get(table["name"]))
        if not columns:
            columns = {c: c for c in opened.columns if c and c not in used}
        found = attribute_table(
            self.name,
            opened,
            (key, used[0]),
            columns,
            name=used[1],
            types=table["types"],
            separator=self.list_separator,
            dtype=log.ids[key],
        )
        log.steps.append(matched(self.name, log, key, found, path.name))
        return found


def log_of_parts(source: str, opened: Mapping[str, Opened], columns: Mapping[str, str], rules: Rules) -> Log:
    """The event log of one file (called ""), or of the files of parts. Raises: DataError, as `event_log`."""
    if "" in opened:
        return event_log(source, opened[""], columns, rules)
    for file in opened.values():
        check_columns(source, file, columns, "columns")
    return event_log(source, together(source, opened, list(columns.values())), {**columns, "part": COLUMN}, rules)


def raw_data(log: Log, tables: Mapping[str, Attributes]) -> RawData:
    """What a log and its attribute tables are to the pipeline."""
    items, users = (tables.get(k) or Attributes(pl.DataFrame(schema={k: log.ids[k]})) for k in ("item", "user"))
    return RawData(
        events=log.events,
        items=items.frame,
        users=users.frame,
        item_names=items.names,
        event_kinds=log.kinds,
        text=items.text,
        steps=log.steps,
        own_counter=log.own_counter,
    )


def _entity(key: str, given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        if name not in _ENTITY:
            raise DataError(f"table: {key}s.{name}: takes {', '.join(_ENTITY)}{did_you_mean(str(name), _ENTITY)}")
    columns = {k: v for k, v in (given.get("columns") or {}).items() if v is not None}
    if not given.get("path"):
        raise DataError(f"table: {key}s.path is missing; name the file with one row per {key}")
    if key not in columns:
        raise DataError(f"table: {key}s.columns.{key} is missing; name the column with the {key} ids")
    return {
        "path": str(given["path"]),
        "columns": columns,
        "name": "name" if key == "item" else None,  # the role that is no attribute
        "types": dict(given.get("types") or {}),
        "format": given.get("format"),
    }


def _one_letter(**settings: str | None) -> None:
    for name, value in settings.items():
        if value is not None and (len(value) != 1 or not value.isascii()):
            raise DataError(f"table: {name} is {value!r}, takes one ASCII character")
