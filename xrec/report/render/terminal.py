"""A table for a terminal of a given width: lines of text, none longer, none cropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from xrec.report.render.fit import Block, Ruler, fit, wrap
from xrec.report.render.grid import Column, Grid, grid
from xrec.report.render.numbers import cell_words

if TYPE_CHECKING:
    from rich.text import Text

_GAP = 2
_MARK = 2
_INDENT = "  "


class _Cell(NamedTuple):
    """A cell in lines, how wide its column is and on which side they stand."""

    lines: list[str]
    width: int
    left: bool
    style: str = ""


def to_rich(table: pl.DataFrame, title: str = "", *, width: int, columns: Sequence[str] | None = None) -> Text:
    """The table for a terminal of `width` characters (60 or more), intervals on a second line.

    What does not fit side by side stands in blocks below, the row names repeated. Names are never read as markup.

    Raises:
        ReportError: `columns` (None: all) names one that the table does not have.
    """
    from rich.cells import cell_len
    from rich.text import Text

    laid_out = grid(table, columns)
    ruler = Ruler(cell_len, cell_len, cell_len, mark=_MARK, gap=_GAP, narrow=24, indent=len(_INDENT))
    parts = [_block(laid_out, block, width) for block in fit(laid_out, ruler, width)]
    if title:
        parts = [Text("\n").join([_words(title, width, "bold"), *parts[:1]]), *parts[1:]]
    if laid_out.caption:
        parts.append(_words(laid_out.caption, width, "dim"))
    return Text("\n\n").join(parts)


def _words(text: str, width: int, style: str) -> Text:
    from rich.cells import cell_len
    from rich.text import Text

    return Text("\n").join(Text(line, style=style) for line in wrap(text, width, cell_len))


def _block(laid_out: Grid, block: Block, width: int) -> Text:
    """Headings, a rule, and the rows of the columns that stand side by side."""
    from rich.cells import cell_len
    from rich.text import Text

    names, widths = int(block.names), [int(w) for w in block.widths]
    columns = [laid_out.columns[i] for i in block.columns]
    heads = [_Cell(wrap(c.heading, w, cell_len), w, c.words) for c, w in zip(columns, widths, strict=True)]
    lines = _side_by_side([_Cell([""], names, left=True), *heads], bottom=True)
    lines.append(Text("─" * (names + sum(widths) + _GAP * len(widths)), style="dim"))
    for heading, rows in laid_out.blocks:
        indent = _INDENT if heading else ""
        if heading:
            lines.append(_words(heading, width, "italic"))
        for row, cells in rows:
            name = [indent + line for line in wrap(row, names - len(indent), cell_len)]
            shown = [_cell(cells[i], c, w) for i, c, w in zip(block.columns, columns, widths, strict=True)]
            lines += _side_by_side([_Cell(name, names, left=True), *shown])
    return Text("\n").join(lines)


def _cell(cell: dict[str, Any] | None, column: Column, width: int) -> _Cell:
    from rich.cells import cell_len

    words = cell_words(cell)
    main = words.main + words.mark
    if column.marked:
        # Room for the mark where there is none, so that the digits of a column stand below each other.
        main += " " * (_MARK - len(words.mark))
    lines = [main] if cell_len(main) <= width else wrap(main, width, cell_len)
    lines += wrap(words.interval, width, cell_len) if words.interval else []
    return _Cell(lines, width, column.words, "bold" if cell is not None and cell["best"] else "")


def _side_by_side(cells: list[_Cell], *, bottom: bool = False) -> list[Text]:
    """Lines of a row of cells; shorter cells end in blank lines, or with `bottom` start with them."""
    from rich.cells import cell_len
    from rich.text import Text

    height = max(len(cell.lines) for cell in cells)
    rows = []
    for number in range(height):
        line = Text()
        for at, cell in enumerate(cells):
            above = number - (height - len(cell.lines) if bottom else 0)
            words = cell.lines[above] if 0 <= above < len(cell.lines) else ""
            blank = " " * (cell.width - cell_len(words))
            line.append(" " * _GAP * (at > 0) + ("" if cell.left else blank))
            line.append(words, cell.style)
            line.append(blank if cell.left else "")
        line.rstrip()
        rows.append(line)
    return rows
