"""A table as HTML, in blocks that stand side by side on a laptop's screen without sideways scrolling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from xrec.report.render.fit import Block, Ruler, fit, pieces
from xrec.report.render.grid import ARROWS, Column, Grid, grid
from xrec.report.render.numbers import cell_words, minus, number_words, p_words

if TYPE_CHECKING:
    from markupsafe import Markup

#: Pixels of the report's text column in a window 1,280 wide (76rem less padding, template.html), less a margin.
ROOM = 1150
#: Pixels a character of a table takes in the widest font of template.html (DejaVu Sans), in a cell and an interval.
_CHARACTER, _SMALL = 8.8, 6.8
_NARROW = 24 * _CHARACTER


def to_html(table: pl.DataFrame, title: str = "", columns: Sequence[str] | None = None) -> Markup:
    """The table as an HTML figure, everything escaped; intervals in `<small>`, the best of a block in `<b>`.

    What does not fit `ROOM` side by side stands in a `<table>` of its own below, the row names repeated.

    Raises:
        ReportError: `columns` (None: all) names one that the table does not have.
    """
    from markupsafe import Markup

    laid_out = grid(table, columns)
    tables = Markup("\n").join(_table(laid_out, block) for block in fit(laid_out, _ruler(), ROOM))
    heading = Markup("<strong>{}</strong>").format(_words(title)) if title else ""
    return Markup('<figure class="table"><figcaption>{}<p>{}</p></figcaption>\n{}</figure>').format(
        heading, _words(laid_out.caption), tables
    )


def _ruler() -> Ruler:
    from rich.cells import cell_len

    def text(words: str) -> float:
        return _CHARACTER * cell_len(words)

    def interval(words: str) -> float:
        return _SMALL * cell_len(words)

    # .mark and the padding of a cell in template.html, in pixels.
    return Ruler(text, text, interval, mark=16, below=16, gap=18, narrow=_NARROW, bold=1.1)


def _words(text: str) -> Markup:
    """Text in which a word too long for a narrow column may break, though not within a number."""
    from markupsafe import Markup

    measure = _ruler().text
    return Markup(" ").join(Markup("<wbr>").join(pieces(word, _NARROW, measure)) for word in text.split(" "))


def _table(laid_out: Grid, block: Block) -> Markup:
    from markupsafe import Markup

    heads = Markup("").join(_heading(laid_out.columns[i]) for i in block.columns)
    body = Markup("")
    for heading, rows in laid_out.blocks:
        if heading:
            body += Markup('<tr class="block"><th scope="rowgroup" colspan="{}">{}</th></tr>\n').format(
                len(block.columns) + 1, _words(heading)
            )
        for row, cells in rows:
            shown = Markup("").join(_cell(cells[i], laid_out.columns[i]) for i in block.columns)
            body += Markup('<tr><th scope="row">{}</th>{}</tr>\n').format(_words(row), shown)
    return Markup(
        '<div class="scroll"><table>\n<thead><tr><td></td>{}</tr></thead>\n<tbody>\n{}</tbody></table></div>'
    ).format(heads, body)


def _heading(column: Column) -> Markup:
    from markupsafe import Markup

    arrow = ARROWS.get(column.better, "")
    if arrow:
        arrow = Markup('\u00a0<span title="{} is better">{}</span>').format(column.better, arrow)
    return Markup('<th scope="col"{}>{}{}</th>').format(_kind(column), _words(column.name), arrow)


def _kind(column: Column) -> Markup:
    from markupsafe import Markup

    return Markup(' class="text"') if column.words else Markup("")


def _cell(cell: dict[str, Any] | None, column: Column) -> Markup:
    from markupsafe import Markup

    words = cell_words(cell)
    if cell is not None and cell["text"] is not None:
        return Markup("<td{}>{}</td>").format(_kind(column), _words(words.main))
    shown = Markup("<b>{}</b>" if cell is not None and cell["best"] else "{}").format(minus(words.main))
    # The mark has its own room, so that the digits of a column stand below each other.
    room = Markup('<span class="mark">{}</span>') if column.marked else Markup("{}")
    shown += room.format(words.mark)
    if words.interval:
        shown += Markup("<br><small>{}</small>").format(minus(words.interval)) + room.format("")
    tip = Markup("")
    if cell is not None and words.mark and cell["p"] is not None:
        form = "+" + (cell["form"] or ".4g").lstrip("+")
        tip = Markup(' title="difference to random {}, p {} (Holm)"').format(
            minus(number_words(cell["difference"], form)), p_words(cell["p"])
        )
    return Markup("<td{}{}>{}</td>").format(_kind(column), tip, shown)
