"""A tidy table laid out as people read it: columns with headings, blocks of rows, a caption."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from xrec.report.cells import caption_of
from xrec.report.errors import ReportError

ARROWS = {"higher": "↑", "lower": "↓"}


class Column(NamedTuple):
    """A heading with its direction; whether any cell below holds words, or a mark beside its number.

    `tied`: p values alone, which say nothing without the column before them.
    """

    name: str
    better: str
    words: bool
    marked: bool
    tied: bool

    @property
    def heading(self) -> str:
        """The name with its arrow, which no line break parts from it."""
        return f"{self.name}\u00a0{ARROWS[self.better]}" if self.better in ARROWS else self.name


class Grid(NamedTuple):
    """A table laid out: columns, blocks of rows, cells by column (None where absent)."""

    columns: list[Column]
    blocks: list[tuple[str, list[tuple[str, list[dict[str, Any] | None]]]]]
    caption: str


def clean(text: str) -> str:
    """Text without what no table shows: control characters, direction overrides, lone surrogates become spaces."""
    kept = "".join(
        " "
        if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069"
        else c
        for c in text
    )
    return re.sub(r" {2,}", " ", kept).strip()


def grid(table: pl.DataFrame, columns: Sequence[str] | None = None) -> Grid:
    """Lay out a tidy table in order of first appearance, underscores in row names as spaces.

    Args:
        columns: the ones to show; the caption names those left out. None shows all.

    Raises:
        ReportError: `columns` names one that the table does not have.
    """
    present = table["column"].unique(maintain_order=True).to_list()
    shown = present if columns is None else [name for name in present if name in columns]
    if unknown := [name for name in columns or () if name not in present]:
        raise ReportError(f"columns={unknown!r}: this table has {', '.join(map(repr, present)) or 'none'}")
    blocks: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for cell in table.iter_rows(named=True):
        # Every row stays, also one without a cell in the columns shown.
        blocks.setdefault(cell["block"], {}).setdefault(cell["row"], {})[cell["column"]] = cell
    laid_out = [
        (
            clean(block),
            [(clean(row.replace("_", " ")), [cells.get(name) for name in shown]) for row, cells in rows.items()],
        )
        for block, rows in blocks.items()
    ]
    left_out = [clean(name) for name in present if name not in shown]
    caption = clean(caption_of(table)) + (f" Columns left out here: {', '.join(left_out)}." if left_out else "")
    return Grid([_column(name, table.filter(pl.col("column") == name)) for name in shown], laid_out, caption)


def _column(name: str, cells: pl.DataFrame) -> Column:
    """What the cells of one column have in common."""
    return Column(
        name=clean(name),
        better=next(iter(cells["better"].drop_nulls().to_list()), ""),
        words=cells["text"].is_not_null().any(),
        marked=cells["mark"].fill_null("").ne("").any(),
        tied=cells["form"].eq_missing("p").all(),
    )
