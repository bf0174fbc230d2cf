"""One user a line, `user item item ...` in time order, and what is known of items in a JSON file of attribute ids.

Where every part has its own file, the times of a part go on where the longest line of the parts before it ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from xrec.data.errors import DataError
from xrec.data.interactions import PARTS
from xrec.data.schema import EVENT_COLUMNS, RawData, Step
from xrec.data.sources.attributes import Attributes, matched
from xrec.data.sources.files import Opened, collect, count_lines, existing, lines_of, name_of
from xrec.data.sources.logs import Log
from xrec.data.sources.parts import named_parts, part_files
from xrec.data.sources.table import raw_data

ADVICE = "It has one line per user: the user, then items in time order, with spaces between."


class Sequences:
    """Events are the positions of a user's items: time 0, 1, ... in the line. Files without times are of this form.

    Args:
        path: the lines, text or gzip. Ids are text without spaces ('007' is not '7').
        parts: of a log that comes split (split=given), the file of each part: {train: ..., validation: ..., test: ...},
            validation optional. `path` is the folder that bare file names stand in.
        attributes: JSON object, item -> list of attribute ids; they become the one attribute `attribute`. None: none.
        dataset: what the data is called in tables and reports; null: sequences.
    """

    name = "sequences"

    def __init__(
        self,
        path: str | None,
        attributes: str | None = None,
        dataset: str | None = None,
        parts: dict[str, str | None] | None = None,
    ) -> None:
        self.name = name_of(Sequences.name, dataset)
        self.path, self.attributes = path, attributes
        self.parts = named_parts(Sequences.name, parts)
        self.settings: dict[str, Any] = {"parts": list(self.parts)} if self.parts else {}

    def files(self) -> list[Path]:
        """The lines, or those of each part, and then the attributes.

        Raises:
            DataError: one of them is missing.
        """
        if self.parts:
            found = list(part_files(Sequences.name, self.path, self.parts).values())
        else:
            found = [existing(Sequences.name, self.path, "data.path", ADVICE)]
        if self.attributes is not None:
            advice = "It is a JSON object, item -> list of attribute ids; null goes without."
            found.append(existing(Sequences.name, self.attributes, "data.attributes", advice))
        return found

    def load(self) -> RawData:
        """Read both files; lines without items are counted."""
        n_logs, files = max(1, len(self.parts)), self.files()
        others = files[n_logs:]
        log = _log(dict(zip(self.parts or ("",), files[:n_logs], strict=True)))
        items = log.events.select(pl.col("item").unique().sort()).collect(engine="streaming")["item"]
        found = _attributes(others[0]) if others else Attributes(pl.DataFrame(schema={"item": pl.String}))
        if others:
            log.steps.append(matched(Sequences.name, log, "item", found, others[0].name))
        found.names = {i: f"item {i}" for i in items} | found.names
        return replace(raw_data(log, {"item": found}), own_counter=True)


def _log(files: Mapping[str, Path]) -> Log:
    """The events of one file (called ""), or of the files of parts with the column `part`."""
    opened: list[Opened] = []
    lines: list[pl.LazyFrame] = []
    events: list[pl.LazyFrame] = []
    begins = 0  # the time that a part's lines begin with: what is of another part is another event
    for part, path in files.items():
        file, of_file = _lines(path)
        found = _events(of_file, begins)
        if part:
            found = found.with_columns(pl.lit(PARTS.index(part), pl.UInt8).alias("part"))
            longest = collect(Sequences.name, file, of_file.select(pl.col("item").list.len().max())).item()
            begins += int(longest or 0)
        opened.append(file)
        lines.append(of_file)
        events.append(found)
    joined = opened[0] if len(opened) == 1 else replace(opened[0], joined=tuple(opened))
    every = pl.concat(events)
    steps = _steps(joined, pl.concat(lines), every)
    return Log(every, ("interaction",), steps, {"user": pl.String(), "item": pl.String()})


def _lines(path: Path) -> tuple[Opened, pl.LazyFrame]:
    """A checked file, and of its lines with something on them: number, user, item (a list)."""
    n_lines = count_lines(Sequences.name, path)
    read = pl.scan_lines(path, row_index_name="number", row_index_offset=1, glob=False)
    marked = pl.when(pl.col("number") == 1).then(pl.col("line").str.strip_prefix("\ufeff")).otherwise("line")
    scanned = read.with_columns(marked.alias("line"))
    opened = Opened(path, "lines", scanned, ("line",), n_lines)
    words = pl.col("line").str.strip_chars(" \t\r").str.replace_all(r"[ \t]+", " ").str.split(" ")
    lines = scanned.filter(pl.col("line").str.contains(r"[^ \t\r]"))
    lines = lines.select("number", words.alias("words")).select(
        "number", pl.col("words").list.first().alias("user"), pl.col("words").list.slice(1).alias("item")
    )
    _check(opened, scanned, lines)
    return opened, lines


def _events(lines: pl.LazyFrame, begins: int) -> pl.LazyFrame:
    """An event per user and item of a line, at the times begins, begins + 1, ..."""
    events = lines.filter(pl.col("item").list.len() > 0).with_columns(
        pl.int_ranges(begins, begins + pl.col("item").list.len().cast(pl.Int64), dtype=pl.Int64).alias("time"),
        pl.lit(0, pl.UInt8).alias("kind"),
        pl.lit(1.0).alias("value"),
    )
    return events.explode("item", "time").select(EVENT_COLUMNS)


def _check(opened: Opened, scanned: pl.LazyFrame, lines: pl.LazyFrame) -> None:
    name = f"{Sequences.name}: {opened.path.name}"
    read = collect(Sequences.name, opened, scanned.select(pl.len())).item()
    if read != opened.rows:
        raise DataError(
            f"{name} has {opened.rows} lines, but {read} can be read; it is cut off or damaged; get it again"
        )
    crowded = lines.filter(pl.concat_list("user", "item").list.join(" ").str.contains("\r", literal=True))
    if collect(Sequences.name, opened, crowded.head(1)).height:
        raise DataError(f"{name}: lines end in a lone carriage return; save it with line feeds")
    users = lines.group_by("user").agg(pl.len(), pl.col("number").sort().head(2)).filter(pl.col("len") > 1)
    twice = collect(Sequences.name, opened, users.sort("number").head(1))
    if twice.height:
        user, _, (first, second) = twice.row(0)
        raise DataError(
            f"{name}: user {user!r} stands on lines {first} and {second}, so that the order of the items is not known; "
            "join them in one line, in time order"
        )


def _steps(opened: Opened, lines: pl.LazyFrame, events: pl.LazyFrame) -> list[Step]:
    count = lines.select(
        pl.len(), pl.col("user").n_unique().alias("users"), pl.col("item").list.len().eq(0).sum().alias("lonely")
    )
    n_lines, n_users, lonely = collect(Sequences.name, opened, count).row(0)
    sizes = events.select(pl.len(), pl.col("user").n_unique().alias("users"), pl.col("item").n_unique().alias("items"))
    n_events, n_left, n_items = collect(Sequences.name, opened, sizes).row(0)
    if not n_events:
        raise DataError(f"{Sequences.name}: {opened.name}: no line has a user and an item. {ADVICE}")
    blank = sum(file.rows or 0 for file in opened.files) - n_lines
    note = f", {blank} blank lines left out" if blank else ""
    steps = [Step("read", f"interactions in {n_lines} lines of {opened.name}{note}", n_events, n_users, n_items)]
    if lonely:
        steps.append(Step("no items", f"{lonely} lines with a user and no item", n_events, n_left, n_items))
    return steps


def _attributes(path: Path) -> Attributes:
    text = "\n".join(line for _, line in lines_of(Sequences.name, path))
    name = f"{Sequences.name}: {path.name}"
    try:
        found = json.loads(text, object_pairs_hook=lambda pairs: _unique(name, pairs))
    except json.JSONDecodeError as error:
        raise DataError(f"{name}, line {error.lineno}: not JSON ({error.msg}); it is cut off or damaged") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: not JSON of item -> list of attribute ids ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{name}: holds a {type(found).__name__}, takes an object: item -> list of attribute ids")
    ids = {item: _ids(name, item, value) for item, value in found.items()}
    frame = pl.DataFrame(
        {"item": list(ids), "attribute": list(ids.values())},
        schema={"item": pl.String, "attribute": pl.List(pl.String)},
    )
    names = {item: f"item {item} (attributes {', '.join(of)})" if of else f"item {item}" for item, of in ids.items()}
    notes = []
    if repeated := sum(len(found[item]) - len(of) for item, of in ids.items()):
        notes.append(f"{repeated} attribute ids that an item has twice left out")
    return Attributes(frame, names, notes=notes)


def _unique(name: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise DataError(f"{name}: item {twice!r} is there twice; keep one list per item")
    return found


def _ids(name: str, item: str, value: Any) -> list[str]:
    """The attribute ids of an item as text, each once."""
    if not isinstance(value, list):
        raise DataError(f"{name}: item {item!r} has {_short(value)}, takes a list of attribute ids ([] for none)")
    for one in value:
        if isinstance(one, bool) or not isinstance(one, int | str) or one == "":
            raise DataError(f"{name}: item {item!r} has the attribute {_short(one)}, takes whole numbers or text")
    return list(dict.fromkeys(str(one) for one in value))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
