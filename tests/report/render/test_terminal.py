"""A terminal table of any width shows every number whole, and no line is longer than the terminal."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from tests.report.synthetic import HOSTILE
from xrec.report.cells import table_of
from xrec.report.render import clean, number_words, p_words, to_rich
from xrec.report.render.fit import pieces, wrap
from xrec.report.run_tables import RunTables
from xrec.rundir.saved import SavedRun
from xrec.stages.report import show

WIDTHS = (60, 80, 120, 160)
#: No digits in these, so that every number on the screen is a cell's.
NAMES = (
    "additive", "permutation_shap", "a row name that is as long as a sentence and has to be wrapped somewhere",
    "unbreakable" * 8, "推荐系统的解释方法" * 6, "Ünïcødé ☕ names 👩‍👩‍👧", "[bold]x[/bold]",
    "<script>alert('x')</script>", "\x1bred\u202eabc", "NDCG", "Completeness error, normalised", "p (Holm)",
    "Comprehensiveness",
)  # fmt: skip
FORMS = (".4f", "+.4f", ".3f", ",.0f", ",.1f", ".1%", ".2g", ".10g", "p")


@st.composite
def cells(draw: st.DrawFn, names: tuple[str, ...] = NAMES) -> list[dict[str, Any]]:
    """Cells of up to six rows in three blocks and twelve columns, some absent, some of words."""
    name = st.sampled_from(names)
    column_and_form = st.tuples(name, st.sampled_from((*FORMS, "words")))
    columns = draw(st.lists(column_and_form, min_size=1, max_size=12))
    rows = draw(st.lists(st.tuples(st.sampled_from(("", *names)), name), min_size=1, max_size=6, unique=True))
    size = draw(st.sampled_from((1e-9, 1e-3, 1.0, 1e5, 1e9, 9e14, 1e30)))
    drawn = []
    for block, row in rows:
        for column, form in columns:
            where = {"block": block, "row": row, "column": f"{column} {form.strip('+,.')[-1]}"}
            if form == "words":
                drawn.append(where | {"text": draw(name)})
            elif form == "p":
                drawn.append(where | {"form": "p", "value": draw(st.floats(0, 1))})
            elif draw(st.integers(0, 5)):
                value, low, high = (draw(st.floats(-size, size)) for _ in range(3))
                interval = {"low": low, "high": high} if draw(st.booleans()) else {}
                mark = draw(st.sampled_from(("", "*", "††")))
                drawn.append(where | {"form": form, "value": value, "mark": mark, **interval, "best": value > 0})
    return drawn


def printed(table: pl.DataFrame, width: int, title: str = "") -> list[str]:
    """The lines a terminal of this width shows; rich has nothing left to wrap."""
    console = Console(file=io.StringIO(), width=width)
    console.print(to_rich(table, title, width=width))
    lines = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert lines == to_rich(table, title, width=width).plain.splitlines()
    return lines


def expected(table: pl.DataFrame) -> Counter[str]:
    """Every number of the table, as it is written."""
    found: Counter[str] = Counter()
    for cell in table.iter_rows(named=True):
        if cell["form"] == "p":
            found[p_words(cell["value"]).removeprefix("< ")] += 1
        elif cell["value"] is not None:
            values = [cell["value"], *([cell["low"], cell["high"]] if cell["low"] is not None else [])]
            found.update(number_words(value, cell["form"]) for value in values)
    return found


def numbers(lines: list[str]) -> Counter[str]:
    """Everything with a digit in it that stands between spaces, without the brackets and marks around."""
    tokens = [token.strip("[]*†").removesuffix(",").strip("[]*†") for line in lines for token in line.split()]
    return Counter(token for token in tokens if re.search(r"\d", token))


@pytest.mark.parametrize("width", WIDTHS)
@given(drawn=cells())
def test_every_number_is_whole_and_nothing_else_is_shown(width: int, drawn: list[dict[str, Any]]) -> None:
    table = table_of(drawn, "A caption that is long enough to be wrapped, on any screen that people use today, twice.")
    lines = printed(table, width, "A title")
    assert max(cell_len(line) for line in lines) <= width
    # A later cell of the same place overwrites an earlier one.
    shown = table.unique(["block", "row", "column"], keep="last")
    assert numbers(lines) == expected(shown)
    small = shown.filter((pl.col("form") == "p") & (pl.col("value") < 0.001)).height
    assert sum(line.count("< .001") for line in lines) == small


@pytest.mark.parametrize("width", WIDTHS)
@given(drawn=cells((*HOSTILE, "0" * 30 + "1234567", *(f"{name} 1,234.5678" for name in NAMES))))
def test_numbers_stay_whole_among_names_with_numbers(width: int, drawn: list[dict[str, Any]]) -> None:
    table = table_of(drawn, " ".join(HOSTILE))
    lines = printed(table, width, HOSTILE[0])
    assert max(cell_len(line) for line in lines) <= width
    assert expected(table.unique(["block", "row", "column"], keep="last")) <= numbers(lines)
    in_names = table.filter(pl.col("row").str.ends_with(" 1,234.5678"))["row"].n_unique()
    assert numbers(lines)["1,234.5678"] >= in_names


def wide_table(n_columns: int = 6, name: str = "row") -> pl.DataFrame:
    shown = {"form": "+.4f", "low": -0.1, "high": 0.25}
    cells = [
        {"block": block, "row": f"{name} {i}", "column": f"Column {c}", "value": i + c / 100, **shown}
        for block in ("One", "Two")
        for i in (1, 2)
        for c in range(n_columns)
    ]
    for cell in cells[n_columns - 1 :: n_columns]:
        cell |= {"column": "p (Holm)", "form": "p", "value": 0.0005, "low": None, "high": None}
    return table_of(cells, "The caption.")


def test_what_does_not_fit_stands_below_under_the_same_rows() -> None:
    first, second, third, caption = to_rich(wide_table(), "Title", width=60).plain.split("\n\n")
    assert first.splitlines()[:6] == [
        "Title",
        "                 Column 0          Column 1",
        "───────────────────────────────────────────",
        "One",
        "  row 1           +1.0000           +1.0100",
        "         [-.1000, +.2500]  [-.1000, +.2500]",
    ]
    assert second.splitlines()[0].split() == ["Column", "2", "Column", "3"]
    assert third.splitlines()[:5] == [
        "                                p",
        "                 Column 4  (Holm)",
        "─────────────────────────────────",
        "One",
        "  row 1           +1.0400  < .001",
    ]
    for block in (second, third):
        names = [line.split(" ")[0] or line[:7] for line in block.splitlines()]
        assert [name for name in names if name.strip() and not name.startswith("─")] == [
            "One", "  row 1", "  row 2", "Two", "  row 1", "  row 2",
        ]  # fmt: skip
    assert caption == "The caption."


def test_p_values_stay_beside_their_difference() -> None:
    for n_columns in range(2, 9):
        for width in (*WIDTHS, 61, 70, 79, 90, 100):
            heads = [
                line for line in to_rich(wide_table(n_columns), width=width).plain.splitlines() if "(Holm)" in line
            ]
            assert len(heads) == 1
            assert f"Column {n_columns - 2}" in heads[0]


def test_a_column_wider_than_the_screen_wraps_between_numbers() -> None:
    huge = {"value": -987654321098765.25, "low": -987654321098765.25, "high": 987654321098765.25, "form": ",.4f"}
    table = table_of([{"row": "name 12345678901234567890 " * 20, "column": "wide", **huge}], "")
    lines = [line.strip() for line in printed(table, 60)]
    assert numbers(lines)["12345678901234567890"] == 20
    assert any(line.endswith(" [-987,654,321,098,765.2500,") for line in lines)
    assert any(line.endswith(" 987,654,321,098,765.2500]") for line in lines)


def test_long_numbers_in_texts_stay_whole_if_there_is_room() -> None:
    long, longer = "1234567890" * 3, "1234567890" * 5
    cells = [
        {"row": f"name {longer}", "column": "text", "text": f"x{long} y {long}"},
        {"row": f"name {longer}", "column": "number", "value": 9e14, "form": ",.2f"},
    ]
    lines = printed(table_of(cells, f"caption {longer}"), 60)
    assert sum(line.count(long) for line in lines if longer not in line) == 2
    assert "900,000,000,000,000.00" in " ".join(lines), "the name gives way"
    assert lines[-1].endswith(longer)


def test_digits_of_a_marked_column_stand_below_each_other() -> None:
    values = {"a": ("**", 1.5), "b": ("", 10.25), "c": ("†", 2.0)}
    cells = [
        {"row": row, "column": "x", "value": value, "form": ".2f", "mark": mark}
        for row, (mark, value) in values.items()
    ]
    lines = to_rich(table_of(cells, ""), width=80).plain.splitlines()[2:]
    assert lines == ["a   1.50**", "b  10.25", "c   2.00†"]


def test_the_best_is_bold_and_only_it() -> None:
    cells = [
        {"row": row, "column": "x", "value": value, "form": ".2f", "best": best}
        for row, value, best in (("a", 0.5, True), ("b", 0.25, False))
    ]
    shown = to_rich(table_of(cells, "bold"), width=80)
    assert [shown.plain[span.start : span.end] for span in shown.spans if span.style == "bold"] == [".50"]


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=80), room=st.integers(2, 30))
def test_wrapping_loses_nothing(text: str, room: int) -> None:
    text = clean(text)
    lines = wrap(text, room, cell_len)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(cell_len(line) <= room for line in lines)


def test_wrapping_by_hand() -> None:
    assert wrap("mean over users, 2,029 of them", 12, len) == ["mean over", "users, 2,029", "of them"]
    assert pieces("abc-1,234.5678%def", 12, len) == ["abc", "-1,234.5678%", "def"]
    assert pieces("abc-1,234.5678%def", 11, len) == ["abc-1,234.5", "678%def"], "not even the number fits"
    assert wrap("a 12345678901 b", 4, len) == ["a", "1234", "5678", "901", "b"]
    assert wrap("", 10, len) == [""]
    assert wrap("unbreakable", 4, len) == ["unbr", "eaka", "ble"]


@pytest.mark.parametrize(("columns", "width"), [(None, 160), ("80", 80), ("60", 60), ("200", 200), ("wide", 160)])
def test_a_run_shown_without_a_terminal_obeys_columns(
    columns: str | None,
    width: int,
    run_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    show(RunTables(SavedRun(run_directory)))
    shown = capsys.readouterr().out
    tables = shown[: shown.rindex("report: " if (run_directory / "report.html").exists() else "run: ")]
    assert "Ranking on the test part" in " ".join(tables.split())
    assert width - 12 <= max(map(cell_len, tables.splitlines())) <= width
    assert "< .001" in tables
