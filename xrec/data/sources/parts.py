"""Which part of a published split an event is of: a column of words, or one file a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from xrec.data.errors import DataError
from xrec.data.interactions import PARTS
from xrec.data.sources.files import Opened, existing
from xrec.words import did_you_mean

#: as published splits write them, in any case -> the place in PARTS
WORDS = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2}
TAKES = "train, validation (or valid, val, dev) or test"
#: the column that says which file a row is from
COLUMN = "(part)"


def part_code(text: pl.Expr) -> pl.Expr:
    """The place in PARTS (UInt8) of a word; null for any other text."""
    return text.cast(pl.String).str.to_lowercase().replace_strict(WORDS, default=None, return_dtype=pl.UInt8)


def named_parts(
    source: str, parts: Mapping[str, str | None] | None, columns: Mapping[str, str] | None = None
) -> dict[str, str]:
    """`data.source.parts` as part (of PARTS, in that order) -> file, without those set to null; {} for null.

    Raises:
        DataError: a word that is no part, a part twice, or no training or test part; `columns` has a role `part`, too.
    """
    if parts is not None and "part" in (columns or ()):
        raise DataError(f"{source}: columns.part and parts are both given; set one of them to null")
    found: dict[str, str] = {}
    for word, file in (parts or {}).items():
        if str(word).lower() not in WORDS:
            raise DataError(f"{source}: parts.{word}: takes {TAKES}{did_you_mean(str(word), WORDS)}")
        part = PARTS[WORDS[str(word).lower()]]
        if part in found:
            raise DataError(f"{source}: parts.{word}: there is another file of the {part} part; put them in one")
        if file is not None:
            found[part] = str(file)
    if parts is not None:
        for part in ("train", "test"):
            if part not in found:
                raise DataError(f"{source}: parts.{part} is missing; name the file of the {part} part")
    return {part: found[part] for part in PARTS if part in found}


def part_files(source: str, path: str | None, parts: Mapping[str, str]) -> dict[str, Path]:
    """The file of each part; bare names stand in the folder `path`.

    Raises:
        DataError: one of them is missing, or `path` is no folder.
    """
    home = home_of(source, path)
    named = {part: Path(file) for part, file in parts.items()}
    beside = {part: home / file if file.parent == Path() else file for part, file in named.items()}
    advice = "Bare names stand in the folder data.path."
    return {p: existing(source, file, f"data.source.parts.{p}", advice) for p, file in beside.items()}


def home_of(source: str, path: str | None) -> Path:
    """The folder that files of parts stand in; `DataError` when `path` is not one."""
    home = Path("" if path is None else path).expanduser()
    if not home.is_dir():
        is_what = "is a file" if home.is_file() else "is not there"
        raise DataError(f"{source}: {home} {is_what}; with data.source.parts, set data.path to the folder they are in")
    return home


def benchmark_files(folder: Path, suffix: str) -> dict[str, Path]:
    """part -> file where all files of a folder that end in `suffix` are NAME.train, NAME.valid (if any) and NAME.test
    of one NAME; {} where they are not."""
    found: dict[str, Path] = {}
    names = set()
    for file in folder.glob(f"*{suffix}"):
        name, _, word = file.name.removesuffix(suffix).rpartition(".")
        part = PARTS[WORDS[word.lower()]] if word.lower() in WORDS else None
        if not name or part is None or part in found:
            return {}
        names.add(name)
        found[part] = file
    whole = len(names) == 1 and {"train", "test"} <= found.keys()
    return {part: found[part] for part in PARTS if part in found} if whole else {}


def together(source: str, opened: Mapping[str, Opened], columns: Sequence[str]) -> Opened:
    """Files of parts, one below the other, with the column COLUMN.

    Args:
        columns: those that are read; every file has them.
    Raises:
        DataError: a column is of another type in one of the files.
    """
    files = tuple(opened.values())
    types = [file.frame.select(columns).collect_schema() for file in files]
    for column in columns:
        for file, found in zip(files, types, strict=True):
            if found[column] != types[0][column]:
                raise DataError(
                    f"{source}: column {column!r} is {types[0][column]} in {files[0].name}, but {found[column]} in "
                    f"{file.name}; write it the same way in all of them"
                )
    frames = [f.frame.select(*columns, pl.lit(part).alias(COLUMN)) for part, f in opened.items()]
    rows = [file.rows for file in files]
    return replace(
        files[0],
        frame=pl.concat(frames),
        columns=tuple(dict.fromkeys([*(c for file in files for c in file.columns), COLUMN])),
        rows=None if None in rows else sum(n for n in rows if n is not None),
        joined=files,
    )
