"""A table in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from xrec.report.render.grid import clean, grid
from xrec.report.render.numbers import cell_words

#: `@` as in NDCG@10: after a word it calls nobody, and before a bare number it is no address.
_HARMLESS_AT = r"(?<=[A-Za-z0-9])@(?=[0-9]+(?![\w-]|\.\w))"
#: GitHub looks for @somebody and #123 in the rendered text, where an entity or a backslash is gone: only a character
#: between, of no width, keeps people from being called and issues from being linked.
_APART = "&#8203;"


def to_markdown(table: pl.DataFrame, title: str = "", columns: Sequence[str] | None = None) -> str:
    """The table in GitHub's Markdown, escaped, the caption below; a first column names the blocks, if there are any.

    Raises:
        ReportError: `columns` (None: all) names one that the table does not have.
    """
    laid_out = grid(table, columns)
    with_block = any(block for block, _ in laid_out.blocks)
    names = [""] * (1 + with_block)
    heads = names + [escape_markdown(column.heading.replace("\u00a0", " ")) for column in laid_out.columns]
    lines = [f"**{escape_markdown(title)}**\n"] if title else []
    lines += [_row(heads), _row(["---"] * len(names) + ["---:"] * len(laid_out.columns))]
    for block, rows in laid_out.blocks:
        for row, cells in rows:
            before = [escape_markdown(name) for name in ((block, row) if with_block else (row,))]
            lines.append(_row([*before, *map(_cell, cells)]))
    return "\n".join([*lines, "", escape_markdown(laid_out.caption), ""])


def escape_markdown(text: str) -> str:
    """Text that Markdown (GitHub's, with raw HTML and formulas) prints as it stands, calling nobody."""
    text = re.sub(r"([\\`*_{}\[\]|~$#!])", r"\\\1", clean(text))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(rf"{_HARMLESS_AT}|(@|#(?=[0-9]))", lambda at: at[0] + (_APART if at[1] else ""), text)


def _cell(cell: dict[str, Any] | None) -> str:
    words = cell_words(cell)
    shown = escape_markdown(words.main + words.mark)
    shown = f"**{shown}**" if cell is not None and cell["best"] else shown
    return f"{shown} {escape_markdown(words.interval)}".strip()


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
