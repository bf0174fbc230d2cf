"""LaTeX tables compile whatever names hold, and none is wider or higher than the text of an article."""

from __future__ import annotations

import re
import shutil
import string
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.report.synthetic import HOSTILE, data_card
from xrec.report.cells import table_of
from xrec.report.fidelity import fidelity_groups, fidelity_table, headline
from xrec.report.records import data_card_table, data_facts_table, front_table
from xrec.report.render import escape_latex, minus, to_latex
from xrec.report.render.typeset import BOLD, interval_points, number_points, points
from xrec.report.tables import components_table, cost_table, ranking_table
from xrec.rundir.study import read_study
from xrec.rundir.table import Results

NAMES = (
    *HOSTILE, "推荐系统的解释方法" * 3, "Crème brûlée – “fine” ½ kg™ «fin» Łódź naïve Δ≥±", "a--b ?` !` << ,, ---",
    "unbreakable" * 20, "very long name " * 10, "*star first", "[brackets] first", "☕👩‍👩‍👧",
)  # fmt: skip


def compiled(body: str, folder: Path, paper: str = "letterpaper") -> str:
    """The log of pdflatex on a document of this body; skips where there is no LaTeX with booktabs."""
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        pytest.skip("no pdflatex on this machine")
    if not subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, text=True, check=False).stdout:
        pytest.skip("this LaTeX has no booktabs")
    text = "\\documentclass[10pt,%s]{article}\n\\usepackage{booktabs}\n\\begin{document}\n%s\n\\end{document}\n"
    (folder / "all.tex").write_text(text % (paper, body), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False)
    log = (folder / "all.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-3000:]
    return log


def run_tables(results: Results) -> Iterator[pl.DataFrame]:
    """Every table of a run, with all its columns."""
    yield data_card_table(data_card())
    yield data_facts_table(data_card())
    yield ranking_table(results)
    yield components_table(results)
    yield cost_table(results)
    for cases in fidelity_groups(results):
        yield fidelity_table(results, cases, headline(results))
        yield fidelity_table(results, cases, variants=(None, "normalised", "discrete"))


def made_tables() -> Iterator[pl.DataFrame]:
    """Tables that are hard to set: hostile names, large numbers, many columns, more rows than a page has lines."""
    for name in NAMES:
        shown = {"value": -0.12345, "low": -1.5, "high": 0.25, "form": "+.4f", "better": "higher", "mark": "††"}
        cells = [{"block": name, "row": name, "column": name, **shown, "best": True}]
        cells += [{"block": name, "row": name, "column": f"{name} text", "text": name}]
        yield table_of(cells, f"{name} {name}")
    huge = {"value": -987654321098765.25, "low": -987654321098765.25, "high": 987654321098765.25, "form": ",.20f"}
    yield table_of([{"row": f"{c} name" * 5, "column": f"Column {c}", **huge, "best": True} for c in range(4)], "")
    # Four of these fit if they are not bold.
    bold = {"value": 8_888_888_888_888.8, "form": ".1f", "best": True}
    yield table_of([{"row": "", "column": f"{c}", **bold} for c in range(8)], "123456789012345678 " * 40)
    yield table_of([{"row": f"r{r}", "column": "c", "value": 1.0, "form": ".1f"} for r in range(130)], "Words.")
    yield table_of(
        [
            {"block": f"Block {r // 40}", "row": f"row {r}", "column": f"Column {c}", "value": 1e4 * r + c}
            | {"form": ",.0f", "low": r - 1.0, "high": r + 1.0}
            for r in range(120)
            for c in range(9)
        ],
        "Caption. " * 60,
    )


@pytest.mark.parametrize("paper", [pytest.param("letterpaper", marks=pytest.mark.slow), "a4paper"])
def test_every_table_fits_the_text(paper: str, results: Results, study_directory: Path, tmp_path: Path) -> None:
    tables = [*run_tables(results), front_table(read_study(study_directory)), *made_tables()]
    texts = [to_latex(table, f"Table {n} {HOSTILE[1]}", name=f"t{n}") for n, table in enumerate(tables)]
    log = compiled("\n\\clearpage\n".join(texts), tmp_path, paper)
    too_wide = [float(width) for width in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    assert [width for width in too_wide if width > 1] == []
    assert "Overfull \\vbox" not in log
    assert "Float too large" not in log
    assert "multiply defined" not in log


def test_widths_are_not_underestimated(tmp_path: Path) -> None:
    """Characters and numbers against the widths that LaTeX sets them with."""
    numbers = ["-.0123", "+1,234.5678", "[-.0123, +.4567]", "1.200", "< .001", "50.0%"]
    words = [*string.printable.strip(), *"–†↑≤éŒ½™中", "Comprehensiveness", "random best of 10 (oracle)"]
    cases = [(r"\footnotesize", points(text), text) for text in words]
    cases += [(r"\footnotesize", number_points(text), minus(text)) for text in numbers]
    cases += [(r"\footnotesize\bfseries", BOLD * number_points(text), minus(text)) for text in numbers]
    cases += [(r"\tiny", interval_points(text), minus(text)) for text in numbers]
    lines = [
        rf"{{{style}\setbox0\hbox{{{escape_latex(text)}}}\typeout{{WIDTH {number} \the\wd0}}}}"
        for number, (style, _, text) in enumerate(cases)
    ]
    found = re.findall(r"WIDTH (\d+) ([\d.]+)pt", compiled("\n".join(lines), tmp_path))
    assert [int(number) for number, _ in found] == list(range(len(cases)))
    for (_, width), (style, estimate, text) in zip(found, cases, strict=True):
        assert float(width) <= estimate, f"{style} {text}"
        assert len(text) == 1 or estimate < 1.3 * float(width), f"{style} {text}: so careful that columns are lost"


def test_columns_that_do_not_fit_are_stacked_in_one_table() -> None:
    shown = {"form": "+.4f", "low": -0.1, "high": 0.25}
    cells = [{"row": r, "column": f"NDCG@{c}", "value": 0.5, **shown} for r in "ab" for c in range(1, 12)]
    text = to_latex(table_of(cells, "Words."), name="x")
    assert text.count(r"\begin{table}") == text.count(r"\caption") == text.count(r"\label{tab:x}") == 1
    tabulars = re.findall(r"\\begin\{tabular\}\{@\{\}(l[lr]*)@\{\}\}", text)
    assert len(tabulars) > 1
    assert sum(len(columns) - 1 for columns in tabulars) == 11
    assert [len(re.findall(rf"(?m)^{row} &", text)) for row in "ab"] == [len(tabulars)] * 2


def test_what_is_higher_than_a_page_goes_on_under_the_same_number() -> None:
    cells = [{"block": "B", "row": f"r{r}", "column": "c", "value": float(r), "form": ",.0f"} for r in range(130)]
    text = to_latex(table_of(cells, "Words."), "Title", name="x")
    n_pages = text.count(r"\begin{table}[tp]")
    assert n_pages == 3
    assert text.count(r"\caption{Title (continued).}") == text.count(r"\addtocounter{table}{-1}") == n_pages - 1
    assert text.count(r"\label") == 1
    assert text.count(r"\emph{B}") == n_pages, "the heading is repeated"
    assert re.findall(r"(?m)^r(\d+) &", text) == [str(r) for r in range(130)]


def test_what_latex_cannot_print_is_named() -> None:
    assert escape_latex("中é") == "U+4E2Dé"
    assert escape_latex("a---b–c") == r"a-{}-{}-b\textendash{}c"


def test_no_cells_no_tabular() -> None:
    assert r"\begin{tabular}" not in to_latex(table_of([], ""), "Nothing")
