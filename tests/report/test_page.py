"""Tables of the report fit a laptop's screen: their columns side by side are no wider than the page's text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from tests.report import synthetic
from xrec.report.cells import table_of
from xrec.report.html import write_report
from xrec.report.render import to_html
from xrec.report.run_figures import RunFigures
from xrec.report.run_tables import RunTables
from xrec.report.tables import ranking_table
from xrec.rundir.saved import SavedRun
from xrec.rundir.table import Results

TEMPLATE = (Path(__file__).parents[2] / "xrec" / "report" / "template.html").read_text()
#: Digits of DejaVu Sans, the widest font of the page, are .636 of the font size wide (bold .696): .86rem, small .78em.
DIGIT, BOLD, SMALL = 0.636 * 0.86 * 16, 0.696 * 0.86 * 16, 0.636 * 0.86 * 0.78 * 16


class Tables(HTMLParser):
    """The rows of every scrolling table; of a cell its text, and its width where no line break helps."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[tuple[str, float]]]] = []
        self.inside: list[str] = []
        self.text, self.width, self.widest = "", 0.0, 0.0
        for scrolling in re.findall(r'<div class="scroll">.*?</div>', text, flags=re.DOTALL):
            self.feed(scrolling)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.wraps = tag == "th" or ("class", "text") in attrs
            self.text, self.width, self.widest = "", 0.0, 0.0
        elif tag in ("br", "wbr"):
            self.width = 0.0
        if tag == "span" and ("class", "mark") in attrs:
            self.width += 1.1 * 0.86 * 16
            self.inside.append("mark")
        elif tag not in ("br", "wbr", "meta"):
            self.inside.append(tag)
        self.widest = max(self.widest, self.width)

    def handle_endtag(self, tag: str) -> None:
        self.inside.pop()
        if tag in ("td", "th"):
            self.tables[-1][-1].append((self.text, self.widest + 2 * 0.55 * 16 + 1))

    def handle_data(self, data: str) -> None:
        if not {"td", "th"} & set(self.inside):
            return
        self.text += data
        bold = {"b", "thead"} & set(self.inside)
        digit = SMALL if "small" in self.inside else BOLD if bold else DIGIT
        for word in re.split(r"(?<= )", data):
            if self.wraps:
                self.width = 0.0
            if "mark" not in self.inside:
                self.width += digit * len(word.rstrip(" ") if self.wraps else word)
            self.widest = max(self.widest, self.width)


def widths(html: str) -> list[float]:
    """How wide each table is when its texts are wrapped; block headings span all columns and wrap."""
    found = []
    for table in Tables(html).tables:
        rows = [row for row in table if len(row) > 1]
        found.append(sum(max(width for _, width in column) for column in zip(*rows, strict=True)))
    return found


def text_width() -> float:
    """Pixels of the page's text in a window of 1,280, by the style of `body`."""
    body = re.search(r"body \{[^}]*padding: ([\d.]+)rem; max-width: ([\d.]+)rem;", TEMPLATE)
    assert body is not None
    # A scroll bar takes some of the window.
    return min(16 * float(body[2]), 1280 - 16) - 2 * 16 * float(body[1])


@pytest.mark.slow
def test_the_tables_of_a_report_need_no_sideways_scrolling(run_directory: Path) -> None:
    tables = RunTables(SavedRun(run_directory))
    found = widths(write_report(tables, RunFigures(tables)).read_text(encoding="utf-8"))
    assert len(found) > 8
    assert max(found) <= text_width()
    assert max(found) > 0.6 * text_width(), "so careful that columns are lost"


@pytest.mark.parametrize("n_columns", [9, 14, 40])
def test_any_number_of_columns(n_columns: int) -> None:
    shown = {"form": ",.4f", "low": -1234567.5, "high": 98765.4321, "mark": "**", "best": True}
    names = ("row", "a long name of a row " * 8, "unbreakable" * 20, synthetic.SCRIPT * 3)
    cells = [
        {"block": name, "row": name, "column": f"Column {c}", "value": -987654.321 + c, **shown}
        for name in names
        for c in range(n_columns)
    ] + [{"block": name, "row": name, "column": "words", "text": name} for name in names]
    found = widths(to_html(table_of(cells, "")))
    assert len(found) > 1
    assert max(found) <= text_width()


def test_stacked_tables_hold_every_column_once_and_every_row_each(results: Results) -> None:
    more = pl.concat([results.frame, results.frame.with_columns(pl.col("k") + 1)])
    table = ranking_table(replace(results, frame=more))
    tables = Tables(to_html(table)).tables
    assert len(tables) > 1
    heads = [text.rstrip("\u00a0↑↓") for shown in tables for text, _ in shown[0][1:]]
    assert heads == table["column"].unique(maintain_order=True).to_list()
    rows = [[row[0][0] for row in shown[1:]] for shown in tables]
    assert all(names == rows[0] for names in rows)
    assert rows[0][:2] == ["All targets", "composed"]


def test_an_empty_cell_of_a_marked_column_leaves_room_for_the_mark() -> None:
    cells = [
        {"row": "a", "column": "x", "value": 1.0, "low": 0.5, "high": 1.5, "form": ".1f", "mark": "*"},
        {"row": "b", "column": "y", "text": "t"},
    ]
    html = str(to_html(table_of(cells, "")))
    assert '<td>–<span class="mark"></span></td>' in html
    assert '<td>1.0<span class="mark">*</span><br><small>[.5, 1.5]</small><span class="mark"></span></td>' in html
