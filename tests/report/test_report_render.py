"""Every format prints names as they are: nothing in them is code, markup or a column border."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import polars as pl
import pytest
from rich.console import Console
from synthetic import HOSTILE, SCRIPT

from xrec.report.cells import table_of
from xrec.report.render import (
    cell_words,
    clean,
    escape_latex,
    escape_markdown,
    p_words,
    to_html,
    to_latex,
    to_markdown,
    to_rich,
)


def hostile_table() -> pl.DataFrame:
    """A table whose every name is hostile."""
    number = {
        "value": 0.123456,
        "low": -0.1,
        "high": 0.30004,
        "form": ".3f",
        "better": "higher",
        "mark": "**",
        "best": True,
    }
    cells = []
    for name in (*HOSTILE, "[bold]x[/bold]", "*star first"):
        cells.append(number | {"block": name, "row": name, "column": f"c {name}"})
        cells.append({"block": name, "row": name, "column": "words", "text": name})
    return table_of(cells, f"caption {' '.join(HOSTILE)}")


class Structure(HTMLParser):
    """Tags, and text within them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_inert_and_complete() -> None:
    page = Structure()
    page.feed(str(to_html(hostile_table(), SCRIPT)))
    assert set(page.tags) <= {
        "figure", "figcaption", "strong", "p", "div", "table", "thead", "tbody", "tr", "th", "td", "span", "b",
        "small", "br",
    }  # fmt: skip
    assert SCRIPT in page.text
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text
    assert ".123" in page.text
    assert "[−.100, .300]" in page.text


def test_latex_is_balanced_and_rows_are_whole() -> None:
    text = to_latex(hostile_table(), "t", name="a_b c")
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert "%" not in bare.replace("% \\usepackage", "")
    assert r"\label{tab:a-b-c}" in text
    n_columns = len(HOSTILE) + 2 + 1
    body = text[text.index(r"\midrule") :].replace(r"\&", "")
    body = re.sub(r"\\begin\{tabular\}\[c\].*?\\end\{tabular\}", "", body)
    rows = [line for line in body.splitlines() if "&" in line]
    assert len(rows) == len(HOSTILE) + 2
    assert {line.count("&") for line in rows} == {n_columns}
    assert all(line.endswith(r"\\") for line in rows)
    assert not any(re.match(r"[\[*]", line) for line in body.splitlines()), (
        "would be arguments of the line break before"
    )


def test_latex_escapes_by_hand() -> None:
    assert escape_latex("50% of A&B_c #1 {x} $5 ~^\\") == (
        r"50\% of A\&B\_c \#1 \{x\} \$5 \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert escape_latex("[a] *b* ↑") == r"{[}a{]} {*}b{*} $\uparrow$"


def test_markdown_has_one_width_and_no_html() -> None:
    lines = [line for line in to_markdown(hostile_table(), "t").splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert not any("<" in line for line in lines)
    assert escape_markdown("a|b `c` [d](e) *f* <g> &amp; $x$") == (
        r"a\|b \`c\` \[d\](e) \*f\* &lt;g&gt; &amp;amp; \$x\$"
    )


def test_markdown_reads_back_as_the_text_it_was() -> None:
    from markdown_it import MarkdownIt

    for name in HOSTILE:
        page = Structure()
        page.feed(MarkdownIt("gfm-like", {"linkify": False}).enable("table").render(to_markdown(hostile_table())))
        assert clean(name) in page.text
        assert not {"script", "a", "em", "code"} & set(page.tags)


def test_terminal_shows_names_and_obeys_none() -> None:
    console = Console(file=io.StringIO(), width=400, force_terminal=True)
    console.print(to_rich(hostile_table(), "[red]title[/red]"))
    shown = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "[bold]x[/bold]" in shown
    assert "[red]title[/red]" in shown
    assert SCRIPT in shown
    assert "\x1b[31m" not in shown


@pytest.mark.parametrize(
    ("value", "form", "words"),
    [
        (0.07554, ".4f", ".0755"),
        (-0.07554, ".3f", "-.076"),
        (0.0089, "+.4f", "+.0089"),
        (1.5, ".3f", "1.500"),
        (-0.00001, ".3f", ".000"),
        (0.00001, "+.4f", ".0000"),
        (10.25, ".3f", "10.250"),
        (-10.25, ".2f", "-10.25"),
        (1234.6, ",.0f", "1,235"),
        (0.4, ",.1f", "0.4"),
        (0.5, ".1%", "50.0%"),
        (0.0004, "p", "< .001"),
        (0.0124, "p", ".012"),
        (1.0, "p", "1"),
    ],
)
def test_numbers(value: float, form: str, words: str) -> None:
    table = table_of([{"row": "r", "column": "c", "value": value, "form": form}], "")
    assert cell_words(table.row(0, named=True)) == (words, "")


def test_zero_is_a_value_and_null_is_absent() -> None:
    cells = [{"row": "r", "column": name, "value": value, "form": ".2f"} for name, value in (("a", 0.0), ("b", None))]
    assert [cell_words(cell)[0] for cell in table_of(cells, "").iter_rows(named=True)] == [".00", "–"]
    assert cell_words(None) == ("–", "")
    assert p_words(0.99951) == "1"


def test_clean() -> None:
    assert clean("a\x00b\n c\u202e\ud800") == "a b c"
