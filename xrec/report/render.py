"""One tidy table, four faces: terminal (rich), HTML, LaTeX, Markdown. Whatever names hold, they come out as text."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from xrec.report.cells import caption_of

if TYPE_CHECKING:
    from markupsafe import Markup
    from rich.table import Table
    from rich.text import Text

ABSENT = "–"
ARROWS = {"higher": "↑", "lower": "↓"}


class Column(NamedTuple):
    """A heading with its direction arrow; whether any cell below holds words, or a mark beside its number."""

    name: str
    arrow: str
    words: bool
    marked: bool


class Grid(NamedTuple):
    """A table laid out: columns, blocks of rows, cells by column (None where absent)."""

    columns: list[Column]
    blocks: list[tuple[str, list[tuple[str, list[dict[str, Any] | None]]]]]
    caption: str


def clean(text: str) -> str:
    """Text without what no table shows: control characters, direction overrides, lone surrogates become spaces."""
    kept = "".join(
        " " if unicodedata.category(c) in ("Cc", "Cs") or "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069" else c
        for c in text
    )
    return re.sub(r" {2,}", " ", kept).strip()


def grid(table: pl.DataFrame) -> Grid:
    """Lay out a tidy table: columns, blocks, rows in order of first appearance, underscores in row names as spaces."""
    columns: dict[str, Column] = {}
    blocks: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for cell in table.iter_rows(named=True):
        before = columns.get(
            cell["column"],
            Column(clean(cell["column"]), ARROWS.get(cell["better"] or "", ""), words=False, marked=False),
        )
        columns[cell["column"]] = before._replace(
            words=before.words or cell["text"] is not None, marked=before.marked or bool(cell["mark"])
        )
        blocks.setdefault(cell["block"], {}).setdefault(cell["row"], {})[cell["column"]] = cell
    laid_out = [
        (
            clean(block),
            [(clean(row.replace("_", " ")), [cells.get(column) for column in columns]) for row, cells in rows.items()],
        )
        for block, rows in blocks.items()
    ]
    return Grid(list(columns.values()), laid_out, clean(caption_of(table)))


def cell_words(cell: dict[str, Any] | None) -> tuple[str, str]:
    """(value or text with its mark, interval or '') of a cell, as plain text."""
    if cell is None:
        return ABSENT, ""
    if cell["text"] is not None:
        return clean(cell["text"]), ""
    if cell["value"] is None:
        return ABSENT, ""
    if cell["form"] == "p":
        return p_words(cell["value"]), ""
    form = cell["form"] or ".4g"
    interval = ""
    if cell["low"] is not None and cell["high"] is not None:
        interval = f"[{_number(cell['low'], form)}, {_number(cell['high'], form)}]"
    return _number(cell["value"], form) + (cell["mark"] or ""), interval


def p_words(p: float) -> str:
    """'< .001', '.012': p values are below one, so the leading zero says nothing."""
    if p < 0.001:
        return "< .001"
    return "1" if round(p, 3) >= 1 else f"{p:.3f}".removeprefix("0")


def to_rich(table: pl.DataFrame, title: str = "") -> Table:
    """The table for a terminal, intervals on a second line; names are never read as rich markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    laid_out = grid(table)
    words = {"title": Text(title, style="bold") if title else None, "caption": Text(laid_out.caption, style="dim")}
    out = Table(**words, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left", caption_justify="left")
    out.add_column("", no_wrap=True)
    body = [[*map(_terminal_cell, cells, laid_out.columns)] for _, rows in laid_out.blocks for _, cells in rows]
    for number, column in enumerate(laid_out.columns):
        # Headings may wrap, intervals may not; long texts (reasons of a data card) may.
        width = max((len(line) for cells in body for line in cells[number].plain.split("\n")), default=0)
        heading = Text(f"{column.name} {column.arrow}".strip())
        out.add_column(heading, justify="left" if column.words else "right", min_width=min(width, 20))
    shown = iter(body)
    for block, rows in laid_out.blocks:
        if block:
            out.add_row(Text(block, style="italic"))
        for row, _ in rows:
            out.add_row(Text(f"  {row}" if block else row), *next(shown))
    return out


def to_html(table: pl.DataFrame, title: str = "") -> Markup:
    """The table as an HTML figure, everything escaped; intervals in `<small>`, the best of a block in `<b>`."""
    from markupsafe import Markup

    laid_out = grid(table)
    heads = Markup("").join(map(_html_heading, laid_out.columns))
    body = Markup("")
    for block, rows in laid_out.blocks:
        if block:
            body += Markup('<tr class="block"><th scope="rowgroup" colspan="{}">{}</th></tr>\n').format(
                len(laid_out.columns) + 1, block
            )
        for row, cells in rows:
            body += Markup('<tr><th scope="row">{}</th>{}</tr>\n').format(
                row, Markup("").join(map(_html_cell, cells, laid_out.columns))
            )
    return Markup(
        '<figure class="table"><figcaption>{}<p>{}</p></figcaption>\n<div class="scroll"><table>\n'
        "<thead><tr><td></td>{}</tr></thead>\n"
        "<tbody>\n{}</tbody></table></div></figure>"
    ).format(Markup("<strong>{}</strong>").format(title) if title else "", laid_out.caption, heads, body)


def to_latex(table: pl.DataFrame, title: str = "", name: str = "") -> str:
    r"""The table as a LaTeX `table` (needs booktabs only), escaped; `name` becomes `\label{tab:<name>}`."""
    laid_out = grid(table)
    lines = [r"% \usepackage{booktabs}", r"\begin{table}[t]", r"\centering\footnotesize\setlength{\tabcolsep}{4pt}"]
    lines.append(rf"\caption{{{escape_latex(f'{title}. {laid_out.caption}' if title else laid_out.caption)}}}")
    if name:
        lines.append(rf"\label{{tab:{re.sub(r'[^A-Za-z0-9:-]+', '-', name)}}}")
    alignment = "".join("l" if column.words else "r" for column in laid_out.columns)
    lines += [rf"\begin{{tabular}}{{l{alignment}}}", r"\toprule"]
    heads = [escape_latex(f"{column.name} {column.arrow}".strip()) for column in laid_out.columns]
    lines += [" & ".join(["", *heads]) + r" \\", r"\midrule"]
    for number, (block, rows) in enumerate(laid_out.blocks):
        if block:
            lines += [r"\addlinespace"] * (number > 0)
            lines.append(rf"\multicolumn{{{len(heads) + 1}}}{{l}}{{\emph{{{escape_latex(block)}}}}} \\")
        lines += [" & ".join([escape_latex(row), *map(_latex_cell, cells)]) + r" \\" for row, cells in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def to_markdown(table: pl.DataFrame, title: str = "") -> str:
    """The table in GitHub's Markdown, escaped, the caption below; a first column names the blocks, if there are any."""
    laid_out = grid(table)
    with_block = any(block for block, _ in laid_out.blocks)
    heads = ([""] if with_block else []) + [
        "",
        *(escape_markdown(f"{column.name} {column.arrow}".strip()) for column in laid_out.columns),
    ]
    lines = [f"**{escape_markdown(title)}**\n"] if title else []
    lines += [
        _markdown_row(heads),
        _markdown_row(["---"] * (len(heads) - len(laid_out.columns)) + ["---:"] * len(laid_out.columns)),
    ]
    for block, rows in laid_out.blocks:
        for row, cells in rows:
            lines.append(
                _markdown_row(
                    ([escape_markdown(block)] if with_block else [])
                    + [escape_markdown(row), *map(_markdown_cell, cells)]
                )
            )
    return "\n".join([*lines, "", escape_markdown(laid_out.caption), ""])


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': "''", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "†": r"\textdagger{}", "−": "$-$",
    # Bare, these would be arguments of the line break that ends the row before.
    "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(_LATEX.get(character, character) for character in clean(text))


def escape_markdown(text: str) -> str:
    """Text that Markdown (GitHub's, with raw HTML and formulas) prints as it stands."""
    text = re.sub(r"([\\`*_{}\[\]|~$#!])", r"\\\1", clean(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")


def _number(value: float, form: str) -> str:
    text = format(value, form)
    if form.endswith("f") and "," not in form and abs(value) < 1:
        # ".0755", as the protocol writes shares: the zero before the point says nothing and costs a column.
        text = text.replace("0.", ".", 1)
    # A rounded zero has no sign: "-0.000" reads as a finding.
    return text if re.search(r"[1-9]", text) else text.lstrip("+-")


def _terminal_cell(cell: dict[str, Any] | None, column: Column) -> Text:
    from rich.text import Text

    main, interval = cell_words(cell)
    if cell is not None and column.marked:
        # Room for the mark where there is none, so that the digits of a column stand below each other.
        main += " " * (2 - len(cell["mark"] or ""))
    return Text("\n".join(filter(None, (main, interval))), style="bold" if cell is not None and cell["best"] else "")


def _html_heading(column: Column) -> Markup:
    from markupsafe import Markup

    better = next((name for name, arrow in ARROWS.items() if arrow == column.arrow), "")
    arrow = Markup('\u00a0<span title="{} is better">{}</span>').format(better, column.arrow) if column.arrow else ""
    return Markup('<th scope="col"{}>{}{}</th>').format(_html_kind(column), column.name, arrow)


def _html_kind(column: Column) -> Markup:
    from markupsafe import Markup

    return Markup(' class="text"') if column.words else Markup("")


def _html_cell(cell: dict[str, Any] | None, column: Column) -> Markup:
    from markupsafe import Markup

    main, interval = cell_words(cell)
    if cell is None:
        return Markup("<td{}>{}</td>").format(_html_kind(column), main)
    mark = cell["mark"] or ""
    if cell["text"] is None:
        main, interval = _minus(main.removesuffix(mark)), _minus(interval)
    shown = Markup("<b>{}</b>" if cell["best"] else "{}").format(main)
    # The mark has its own room, so that the digits of a column stand below each other.
    shown += Markup('<span class="mark">{}</span>').format(mark) if column.marked else mark
    small = (
        Markup("<br><small>{}</small>{}").format(
            interval, Markup('<span class="mark"></span>') if column.marked else ""
        )
        if interval
        else ""
    )
    tip = Markup("")
    if mark and cell["p"] is not None:
        tip = Markup(' title="difference to random {}, p {} (Holm)"').format(
            f"{cell['difference']:+.4g}", p_words(cell["p"])
        )
    return Markup("<td{}{}>{}{}</td>").format(_html_kind(column), tip, shown, small)


def _minus(text: str) -> str:
    """Hyphens before digits as minus signs."""
    return re.sub(r"(?<![\w.])-(?=[\d.])", "−", text)


def _latex_cell(cell: dict[str, Any] | None) -> str:
    main, interval = cell_words(cell)
    shown = escape_latex(_minus(main) if cell is not None and cell["text"] is None else main)
    if cell is not None and cell["best"]:
        shown = rf"\textbf{{{shown}}}"
    if not interval:
        return shown
    small = escape_latex(_minus(interval))
    return rf"\begin{{tabular}}[c]{{@{{}}r@{{}}}}{shown}\\[-2pt]{{\tiny {small}}}\end{{tabular}}"


def _markdown_cell(cell: dict[str, Any] | None) -> str:
    main, interval = cell_words(cell)
    shown = escape_markdown(main)
    shown = f"**{shown}**" if cell is not None and cell["best"] else shown
    return f"{shown} {escape_markdown(interval)}".strip()


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
