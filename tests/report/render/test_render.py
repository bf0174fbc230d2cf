"""Every format prints names as they are: nothing in them is code, markup or a column border."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html.parser import HTMLParser

import polars as pl
import pytest
from rich.console import Console

from tests.report.synthetic import HOSTILE, SCRIPT
from xrec.report.cells import table_of
from xrec.report.errors import ReportError
from xrec.report.render import (
    cell_words,
    clean,
    escape_latex,
    escape_markdown,
    number_words,
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


#: Lines above each other within a cell.
STACKED = r"\\begin\{tabular\}\[[tb]\].*?\\end\{tabular\}"


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
        "small", "br", "wbr",
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
    bodies = re.findall(r"\\midrule(.*?)\\bottomrule", text.replace(r"\&", ""), flags=re.DOTALL)
    shown = 0
    for body in bodies:
        rows = [line for line in re.sub(STACKED, "", body).splitlines() if "&" in line]
        assert len(rows) == len(HOSTILE) + 2
        assert len({line.count("&") for line in rows}) == 1
        shown += rows[0].count("&")
        assert all(line.endswith(r"\\") for line in rows)
        assert not any(re.match(r"[\[*]", line) for line in body.splitlines()), (
            "would be arguments of the line break before"
        )
    assert shown == n_columns


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
    console.print(to_rich(hostile_table(), "[red]title[/red]", width=400))
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
        (2321, ".10g", "2,321"),
        (1056247, ".10g", "1,056,247"),
        (-1234.5678, ".2f", "-1,234.57"),
        (1234.5678, "+.4f", "+1,234.5678"),
        (12.5, ".1%", "1,250.0%"),
        (1234, ".4g", "1,234"),
        (3e-8, ".2g", "3e-08"),
        (-1.5e80, ",.0f", "-1.5e+80"),
        (float("-inf"), ".3f", "-inf"),
        (0.4, ",.1f", "0.4"),
        (0.5, ".1%", "50.0%"),
        (0.0004, "p", "< .001"),
        (0.0124, "p", ".012"),
        (1.0, "p", "1"),
    ],
)
def test_numbers(value: float, form: str, words: str) -> None:
    table = table_of([{"row": "r", "column": "c", "value": value, "form": form}], "")
    assert cell_words(table.row(0, named=True)).main == words
    assert form == "p" or number_words(value, form) == words


def test_zero_is_a_value_and_null_is_absent() -> None:
    cells = [{"row": "r", "column": name, "value": value, "form": ".2f"} for name, value in (("a", 0.0), ("b", None))]
    assert [cell_words(cell).main for cell in table_of(cells, "").iter_rows(named=True)] == [".00", "–"]
    assert cell_words(None) == ("–", "", "")
    assert p_words(0.99951) == "1"


def test_clean() -> None:
    assert clean("a\x00b\n c\u202e\ud800") == "a b c"
    assert clean("a\u2028b\u2029c") == "a b c", "what ends a line"


def to_text(table: pl.DataFrame, columns: list[str]) -> str:
    return to_rich(table, width=120, columns=columns).plain


@pytest.mark.parametrize("face", [to_text, to_html, to_latex, to_markdown])
def test_chosen_columns_keep_every_row_and_the_others_are_named(face: Callable[..., str]) -> None:
    cells = [{"row": "first", "column": name, "value": 0.5, "form": ".2f"} for name in ("a", "b", "c")]
    table = table_of([*cells, {"row": "second", "column": "b", "value": 0.25, "form": ".2f"}], "Caption.")
    shown = face(table, columns=["c", "a"])
    assert "second" in shown
    assert ".25" not in shown
    assert "Caption. Columns left out here: b." in shown
    assert "left out here" not in face(table, columns=["c", "a", "b"])
    with pytest.raises(ReportError, match=r"columns=\['d'\]: this table has 'a', 'b', 'c'"):
        face(table, columns=["a", "d"])


#: What GitHub makes of rendered text: a name after an @ that no word precedes, a number after #, an address.
CALLS = re.compile(r"(?<![A-Za-z0-9_])@[A-Za-z0-9]|#[0-9]|[\w.+-]+@[\w-]+\.\w")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("NDCG@10", "NDCG@10"),
        ("NDCG@10 lost, new", "NDCG@10 lost, new"),
        ("NDCG@10.", "NDCG@10."),
        ("@user", "@&#8203;user"),
        ("é@10", "é@&#8203;10"),
        ("x @org/team", "x @&#8203;org/team"),
        ("x_@10", r"x\_@&#8203;10"),
        ("me@10.example.org", "me@&#8203;10.example.org"),
        ("me@1st.org", "me@&#8203;1st.org"),
        ("&#64;user", r"&amp;\#&#8203;64;user"),
        ("fix #12, a#b", r"fix \#&#8203;12, a\#b"),
    ],
)
def test_markdown_calls_nobody(text: str, written: str) -> None:
    from markdown_it import MarkdownIt

    assert escape_markdown(text) == written
    page = Structure()
    page.feed(MarkdownIt("gfm-like", {"linkify": False}).render(written))
    assert page.text.strip().replace("\u200b", "") == text
    assert not CALLS.search(page.text)
