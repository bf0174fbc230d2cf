"""The report of a run: one HTML file for people, made from the files of the run directory alone; no script in it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from xrec.files import write_text
from xrec.report.cards import user_cards
from xrec.report.cells import one_data_set, sample_words
from xrec.report.errors import ReportError
from xrec.report.fidelity import CaseGroup, fidelity_setting, fidelity_table, left_out_words, of_family
from xrec.report.learning import switched_off
from xrec.report.plot import figure_svg
from xrec.report.render import cell_words, clean, minus, number_words, to_html
from xrec.report.run_figures import RunFigures
from xrec.report.run_tables import RunTables
from xrec.report.tables import main_model
from xrec.rundir.saved import SavedRun, require_directory
from xrec.rundir.table import Results
from xrec.words import title_of

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

_FILES = ("results.parquet", "metrics.jsonl", "cases.parquet", "data_card.json", "config.yaml")


def write_report(tables: RunTables, figures: RunFigures) -> Path:
    """Write `report.html` into a run directory (temporary name, then renamed) and return its path.

    What is missing is said to be no part of the run. The same files give the same bytes.

    Raises:
        ReportError: the directory holds none of the files a report is made of.
        RunError: it does not exist, or one of its files is damaged.
    """
    run = require_directory(tables.run.directory)
    if not any(tables.run.has(name) for name in _FILES):
        raise ReportError(
            f"{run} holds none of {', '.join(_FILES)}: it is not a run directory, or the run saved nothing yet"
        )
    path = run / "report.html"
    write_text(path, _template().render(**_content(tables, figures)))
    return path


def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, finalize=finalize,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    # The numbers of the page are written as those of its tables.
    environment.filters["number"] = lambda value, form: minus(number_words(value, form))
    return environment.get_template("template.html")


def _content(tables: RunTables, figures: RunFigures) -> dict[str, Any]:
    """Everything the template shows, a key per section; '' or an empty list where the run has no such part."""
    run, results = tables.run, tables.results
    titles = ("Cleaning", "Sizes, splits, notes")
    return {
        "heading": _heading(run, results),
        "card": [_html(table, title) for table, title in zip(tables.data.values(), titles, strict=False)],
        "learning": _drawn(
            figures.learning,
            "learning",
            "Learning curves: losses against the step, validation metrics against the epoch",
        ),
        "switched_off": [title_of(term) for term in switched_off(run.log)],
        "learned": _html(tables.learned, "Item encoder"),
        "ranking": _html(tables.ranking, "Ranking"),
        "findings": _ranking_findings(tables.ranking),
        "components": _html(tables.components, "Components of the model"),
        "fidelity": [_fidelity(results, figures, cases) for cases in tables.case_groups],
        "cost": _html(tables.cost, "Cost by stage"),
        "users": user_cards(run),
        "glossary": _glossary(results),
        "config": _lines(run.require("config.yaml")) if run.has("config.yaml") else [],
    }


def _lines(path: Path) -> list[Markup]:
    """The lines of a text file, escaped, their indentation kept (`clean` would fold it)."""
    from markupsafe import escape

    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [escape(line[: len(line) - len(line.lstrip())] + clean(line)) for line in lines]


def _heading(run: SavedRun, results: Results) -> dict[str, Any]:
    """Title, command and a line of facts."""
    overrides, config = run.yaml("overrides.yaml"), run.config
    facts = {
        "data": one_data_set(results.frame.filter(pl.col("stage").is_in(["rank", "fidelity"]))),
        "model": title_of(main_model(results) or ""),
    }
    facts |= {name: config.get(name) for name in ("experiment", "seed", "threads")}
    command = None
    if isinstance(overrides, list):
        command = shlex.join(["python", "experiments/run.py", *map(str, overrides)])
    directory = run.directory.resolve()
    shown = {
        name: str(value)
        for name, value in facts.items()
        if value not in (None, "") and not isinstance(value, dict | list)
    }
    return {"title": f"{directory.parent.name}/{directory.name}", "facts": shown, "command": command}


def _html(table: pl.DataFrame, title: str) -> Markup | str:
    return to_html(table, title) if table.height else ""


def _drawn(figure: Figure | None, name: str, description: str) -> Markup | str:
    return "" if figure is None else figure_svg(figure, name, description)


def _fidelity(results: Results, figures: RunFigures, cases: CaseGroup) -> dict[str, Any]:
    """The tables and drawings of one group of cases."""
    rows, setting = fidelity_setting(results, cases)
    about = f"Cases of the {setting.part} part; {setting.title}"
    named = cases.name if cases.name.isidentifier() else "group"

    def table(title: str, metrics: Sequence[str], *variants: str | None, cost: bool = False) -> Markup | str:
        return _html(fidelity_table(results, cases, metrics, variants=variants or (None,), cost=cost), title)

    scores, ranks = of_family(results, "scores"), of_family(results, "ranks")
    others = [m for m in results.metrics if results.metrics[m].family not in ("scores", "ranks")]
    discrete = ("discrete", "discrete_normalised")
    return {
        "group": cases.title,
        "scores": table("Scores and cost", scores, None, "normalised", cost=True),
        "forest": _drawn(figures.forest(cases), f"forest-{named}", f"Fidelity of each explainer, {cases.title}"),
        "curves": _drawn(figures.removal(cases), f"removal-{named}", f"Deletion and insertion, {cases.title} cases"),
        "curves_caption": f"{about}; {sample_words(rows)}. {left_out_words(rows)}.",
        "ranks": table("Rank under removal", ranks),
        "others": table("Properties of the explanations", others),
        "discrete": [table(results.metric(name).label, [name], *discrete) for name in (*scores, *ranks)],
    }


def _ranking_findings(ranking: pl.DataFrame) -> list[str]:
    """One sentence per target group: the main model against the best baseline by NDCG@10, in the table's numbers."""
    sentences = []
    if ranking.is_empty():
        return sentences
    main = ranking["row"][0]
    for block in ranking["block"].unique(maintain_order=True):
        scores = ranking.filter((pl.col("block") == block) & (pl.col("column") == "NDCG@10"))
        own = scores.filter(pl.col("row") == main)
        others = scores.filter(pl.col("row") != main).sort("value", descending=True)
        if own.is_empty() or others.is_empty():
            continue
        best = others.row(0, named=True)
        shown = [cell_words(cell).main for cell in (own.row(0, named=True), best)]
        compared = ranking.filter(
            (pl.col("block") == block) & (pl.col("row") == best["row"]) & (pl.col("form") == "+.4f")
        )
        sentence = f"{block}: NDCG@10 of {title_of(main)} is {shown[0]}, "
        sentence += f"of the best baseline ({title_of(best['row'])}) {shown[1]}"
        if compared.height and compared["low"][0] is not None:
            difference = cell_words(compared.row(0, named=True))
            sentence += f"; paired difference {minus(difference.main)} {minus(difference.interval)}"
        sentences.append(f"{sentence}.")
    return sentences


def _glossary(results: Results) -> list[tuple[str, str, str]]:
    """(label, which direction is better, definition) of the metrics that occur and are defined."""
    present = set(results.frame["metric"].to_list())
    found = [m for name, m in results.metrics.items() if name in present and m.definition]
    return [(m.label, m.direction or "", m.definition) for m in found]
