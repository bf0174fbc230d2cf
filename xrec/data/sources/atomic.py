"""Atomic files: NAME.inter, and where there are any NAME.item and NAME.user; tab-separated, no quoting, each column
typed in the header as `name:type` (token, float, token_seq, float_seq; a sequence's values are separated by spaces).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import RawData
from xrec.data.sources.attributes import Attributes, attribute_table, matched
from xrec.data.sources.files import Opened, existing, name_of, no_twice, open_delimited
from xrec.data.sources.logs import Log, Rules, roles_of
from xrec.data.sources.parts import benchmark_files, named_parts, part_files
from xrec.data.sources.table import log_of_parts, raw_data
from xrec.words import did_you_mean

#: type in the header -> type of the attribute
TYPES = {"token": "categorical", "float": "numeric", "token_seq": "list", "float_seq": None}
ADVICE = (
    "It is a folder with NAME.inter, or with NAME.train.inter, NAME.valid.inter and NAME.test.inter (and NAME.item, "
    "NAME.user), or a single .inter file."
)


class Atomic:
    """token: a category; float: a number; token_seq: several values; float_seq (vectors) are left out, and said to be.

    Args:
        path: the .inter file, or a folder with one. A folder whose .inter files are NAME.train.inter, NAME.valid.inter
            (if any) and NAME.test.inter is a log that comes split (split=given).
        columns: user, item, time, and optionally kind, value and part -> names in the header of .inter.
        item_name: the column of .item that names items for people; it is no attribute then.
        types: column of .item or .user -> categorical, numeric, list or text, where the header's is not wanted.
        time_format, timezone, kinds, unreadable, empty_value, dataset, parts: as for `Table`; parts: null takes files
            by their names.
    """

    name = "atomic"

    def __init__(
        self,
        path: str | None,
        columns: dict[str, str | None],
        item_name: str | None = None,
        types: dict[str, str] | None = None,
        time_format: str | None = None,
        timezone: str = "UTC",
        kinds: list[str] | None = None,
        unreadable: str = "error",
        empty_value: float | None = None,
        dataset: str | None = None,
        parts: dict[str, str | None] | None = None,
    ) -> None:
        self.name = name_of(Atomic.name, dataset)
        self.path, self.item_name, self.types = path, item_name, dict(types or {})
        self.columns = roles_of(self.name, columns)
        self.parts = named_parts(self.name, parts, self.columns)
        self.rules = Rules(time_format, timezone, kinds, unreadable, empty_value).checked(self.name)
        rules = [time_format, timezone, kinds, unreadable, empty_value]
        self._settings = {"columns": self.columns, "item_name": item_name, "types": self.types, "rules": rules}

    @property
    def settings(self) -> dict[str, Any]:
        """What changes what is read; which file is of which part is known by its name."""
        parts = [part for part in self._inter() if part]
        return self._settings | ({"parts": parts} if parts else {})

    def files(self) -> list[Path]:
        """The .inter file, or that of each part, then .item and .user where they are.

        Raises:
            DataError: no .inter file, or several that are no parts.
        """
        inter = self._inter()
        stem = next(iter(inter.values())).with_suffix("")
        if "" not in inter:
            stem = stem.with_suffix("")  # NAME of NAME.train
        about = {s: stem.with_name(f"{stem.name}{s}") for s in (".item", ".user")}
        found = [*inter.values(), *(f for f in about.values() if f.is_file())]
        if self.item_name is not None and about[".item"] not in found:
            raise DataError(f"{self.name}: item_name is {self.item_name!r}, but there is no {about['.item']}")
        return found

    def load(self) -> RawData:
        """Read, map and count."""
        opened: dict[str, Opened] = {}
        for part, path in self._inter().items():
            opened[part], types = self._open(path)
            self._check_roles(path, types)
        log = log_of_parts(self.name, opened, self.columns, self.rules)
        files = {f.suffix[1:]: f for f in self.files()[len(opened) :]}
        unused = dict(self.types)
        tables = {key: self._attributes(log, key, file, unused) for key, file in files.items()}
        if unused:
            columns = [c for table in tables.values() for c in table.frame.columns]
            hint = did_you_mean(min(unused), columns)
            raise DataError(f"{self.name}: types.{min(unused)}: neither .item nor .user has such a column{hint}")
        return raw_data(log, tables)

    def _inter(self) -> dict[str, Path]:
        """The file of each part, or that of "", the whole log."""
        if self.parts:
            return part_files(self.name, self.path, self.parts)
        path = self.path
        if path is not None and (folder := Path(path).expanduser()).is_dir():
            if parts := benchmark_files(folder, ".inter"):
                return parts
            path = self._only(folder)
        return {"": existing(self.name, path, "data.path", ADVICE, "FOLDER")}

    def _only(self, folder: Path) -> Path:
        found = sorted(folder.glob("*.inter"))
        if len(found) != 1:
            what = f"several: {', '.join(f.name for f in found)}" if found else "no .inter file"
            raise DataError(f"{self.name}: {folder} has {what}; set data.path to the one to read. {ADVICE}")
        return found[0]

    def _check_roles(self, path: Path, types: Mapping[str, str]) -> None:
        for role, column in self.columns.items():
            kind = types.get(column, "token")
            if kind.endswith("_seq"):
                raise DataError(
                    f"{self.name}: {path.name}: {column} is of type {kind}, but columns.{role} takes one value"
                )

    def _open(self, path: Path) -> tuple[Opened, dict[str, str]]:
        """The file with its columns by their bare names, and their types."""
        opened = open_delimited(self.name, path, "\t", None)
        types: dict[str, str] = {}
        renamed: list[pl.Expr] = []
        names = []
        for column in opened.columns:
            name, colon, kind = column.rpartition(":")
            if not colon or not name:
                advice = f"a header is name:type with {', '.join(TYPES)}"
                raise DataError(f"{self.name}: {path.name}, line 1: {column!r} has no type; {advice}")
            if kind not in TYPES:
                hint = did_you_mean(kind, TYPES)
                raise DataError(
                    f"{self.name}: {path.name}, line 1: {column!r}: type {kind!r}, takes {', '.join(TYPES)}{hint}"
                )
            names.append(name)
            types[name] = kind
            renamed.append(pl.col(column).alias(name))
        no_twice(self.name, path, names)
        return replace(opened, frame=opened.frame.select(renamed), columns=tuple(names)), types

    def _attributes(self, log: Log, key: str, path: Path, unused: dict[str, str]) -> Attributes:
        opened, types = self._open(path)
        ids, name = self.columns[key], self.item_name if key == "item" else None
        if ids not in types:
            raise DataError(
                f"{self.name}: {path.name} has no column {ids!r}, the {key} of .inter; give both the same name"
            )
        if name is not None and name not in types:
            hint = did_you_mean(name, types)
            raise DataError(f"{self.name}: {path.name} has no column {name!r} for item_name{hint}")
        wanted = {n: unused.pop(n, TYPES[kind]) for n, kind in types.items() if n not in (ids, name)}
        vectors = [n for n, kind in wanted.items() if kind is None]
        found = attribute_table(
            self.name,
            opened,
            (key, ids),
            {n: n for n in wanted if n not in vectors},
            name=name,
            types={n: kind for n, kind in wanted.items() if kind is not None},
            separator=" ",
            dtype=log.ids[key],
        )
        if vectors:
            found.notes.append(f"columns of vectors left out: {', '.join(vectors)}")
        log.steps.append(matched(self.name, log, key, found, path.name))
        return found
