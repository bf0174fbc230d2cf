r"""A table in LaTeX that fits the text of an article: as many columns as are wide enough, the others stacked below."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import polars as pl

from xrec.report.render.fit import Block, Ruler, fit, pieces, wrap
from xrec.report.render.grid import Column, Grid, grid
from xrec.report.render.numbers import cell_words, minus
from xrec.report.render.typeset import BOLD, escape_latex, interval_points, number_points, points

#: An article at 10 pt on A4 or letter paper: 345 pt wide, 550 pt high, here less a margin for other fonts.
_WIDTH, _HEIGHT = 335, 510
#: Lines of \footnotesize and of intervals, and of a caption; the rules around a table and the space above a heading.
_LINE, _INTERVAL_LINE, _CAPTION_LINE, _RULES, _SPACE = 9.5, 7.5, 12.0, 24.0, 5.0
_NARROW = 100
_GAP = 8
_HEAD = [
    r"% \usepackage{booktabs}",
    r"\begin{table}[tp]",
    r"\centering\sloppy\footnotesize\setlength{\tabcolsep}{4pt}\setlength{\belowcaptionskip}{4pt}",
]


class _Row(NamedTuple):
    """A row in LaTeX, its height in points and the heading it stands under."""

    heading: str
    line: str
    height: float


class _Tabular(NamedTuple):
    lines: list[str]
    height: float


def to_latex(table: pl.DataFrame, title: str = "", name: str = "", columns: Sequence[str] | None = None) -> str:
    r"""The table as a LaTeX `table` (needs booktabs only), escaped; `name` becomes `\label{tab:<name>}`.

    No wider than the text of an article at 10 pt: columns that do not fit stand in further tabulars below. What is
    higher than a page goes on in a further `table` of the same number.

    Raises:
        ReportError: `columns` (None: all) names one that the table does not have.
    """
    laid_out = grid(table, columns)
    caption = f"{title}. {laid_out.caption}" if title else laid_out.caption
    ruler = Ruler(points, number_points, interval_points, mark=0, gap=_GAP, narrow=_NARROW, bold=BOLD)
    room = _HEIGHT - _caption_height(caption)
    tabulars = [part for block in fit(laid_out, ruler, _WIDTH) for part in _tabulars(laid_out, block, room)]
    label = rf"\label{{tab:{re.sub(r'[^A-Za-z0-9:-]+', '-', name)}}}"
    lines = []
    for number, page in enumerate(_pages(tabulars, room)):
        if number == 0:
            head = [rf"\caption{{{_prose(caption)}}}", *([label] if name else [])]
        else:
            head = [r"\addtocounter{table}{-1}", rf"\caption{{{_prose(f'{title} (continued).'.strip())}}}"]
        body = "\n\\par\\medskip\n".join("\n".join(part.lines) for part in page)
        lines += [*_HEAD, *head, body, r"\end{table}", ""]
    return "\n".join(lines)


def _pages(tabulars: list[_Tabular], room: float) -> list[list[_Tabular]]:
    """Tabulars that fit one page together; one page without any where there are none."""
    found: list[list[_Tabular]] = [[]]
    used = 0.0
    for tabular in tabulars:
        if found[-1] and used + tabular.height > room:
            found.append([])
            used = 0.0
        found[-1].append(tabular)
        used += tabular.height
    return found


def _caption_height(caption: str) -> float:
    # \normalsize is 10/8 of \footnotesize.
    return (math.ceil(points(caption) * 10 / 8 / _WIDTH) + 2) * _CAPTION_LINE


def _prose(text: str) -> str:
    """Escaped text whose long words may break, though not within a number."""
    return " ".join(r"\allowbreak{}".join(map(escape_latex, pieces(word, _NARROW, points))) for word in text.split(" "))


def _tabulars(laid_out: Grid, block: Block, room: float) -> Iterator[_Tabular]:
    """The columns of a block, in as many tabulars as pages need."""
    columns = [laid_out.columns[i] for i in block.columns]
    heads = [wrap(c.heading, w, points) for c, w in zip(columns, block.widths, strict=True)]
    head = " & ".join(["", *(_stack(lines, c, "b") for lines, c in zip(heads, columns, strict=True))])
    head_height = _RULES + _LINE * max(map(len, heads))
    alignment = "l" + "".join("l" if column.words else "r" for column in columns)
    for rows in _fitting(list(_rows(laid_out, block)), room - head_height):
        lines = [rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}", r"\toprule", rf"{head} \\", r"\midrule"]
        before = ""
        for row in rows:
            if row.heading != before:
                lines += [r"\addlinespace"] * (row is not rows[0])
                lines += _heading(row.heading, len(columns))
            before = row.heading
            lines.append(row.line)
        lines += [r"\bottomrule", r"\end{tabular}"]
        yield _Tabular(lines, head_height + sum(row.height for row in rows))


def _fitting(rows: list[_Row], room: float) -> Iterator[list[_Row]]:
    found: list[_Row] = []
    for row in rows:
        if found and sum(other.height for other in found) + row.height > room:
            yield found
            found = []
        found.append(row)
    if found:
        yield found


def _rows(laid_out: Grid, block: Block) -> Iterator[_Row]:
    columns = [laid_out.columns[i] for i in block.columns]
    for heading, rows in laid_out.blocks:
        # The first row of a block is as high as itself and the heading above.
        above = (_SPACE + _LINE * len(wrap(heading, _WIDTH, points))) if heading else 0
        for row, cells in rows:
            names = wrap(row, block.names, points)
            shown = [_cell(cells[i], c, w) for i, c, w in zip(block.columns, columns, block.widths, strict=True)]
            line = " & ".join([_stack(names, None, "t"), *(words for words, _ in shown)])
            height = max([_LINE * len(names), *(height for _, height in shown)])
            yield _Row(heading, rf"{line} \\", height + above)
            above = 0


def _heading(heading: str, n_columns: int) -> list[str]:
    lines = wrap(heading, _WIDTH, points)
    return [rf"\multicolumn{{{n_columns + 1}}}{{@{{}}l@{{}}}}{{\emph{{{escape_latex(line)}}}}} \\" for line in lines]


def _cell(cell: dict[str, Any] | None, column: Column, width: float) -> tuple[str, float]:
    """A cell in LaTeX, and how high it is."""
    words = cell_words(cell)
    if cell is None or cell["text"] is not None:
        lines = wrap(words.main, width, points)
        return _stack(lines, column, "t"), _LINE * len(lines)
    main = escape_latex(minus(words.main + words.mark))
    main = rf"\textbf{{{main}}}" if cell["best"] else main
    if not words.interval:
        return main, _LINE
    lines = [rf"{{\tiny {escape_latex(minus(line))}}}" for line in wrap(words.interval, width, interval_points)]
    return _stacked([main, *lines], column, "t", r"\\[-2pt]"), _LINE + _INTERVAL_LINE * len(lines)


def _stack(lines: list[str], column: Column | None, place: str) -> str:
    """Lines of text above each other within a cell; names (no column) to the left."""
    return _stacked(list(map(escape_latex, lines)), column, place, r"\\")


def _stacked(lines: list[str], column: Column | None, place: str, between: str) -> str:
    """Lines in LaTeX above each other; `place`: 't' or 'b', which of them stands level with the other cells."""
    if len(lines) == 1:
        return lines[0]
    side = "l" if column is None or column.words else "r"
    return rf"\begin{{tabular}}[{place}]{{@{{}}{side}@{{}}}}{between.join(lines)}\end{{tabular}}"
