"""The report of a run: one HTML file for people, made from the files of the run directory alone; no script in it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from xrec.report import figures, tables
from xrec.report.cards import user_cards
from xrec.report.cells import one_data_set, sample_words
from xrec.report.fidelity import (
    FIDELITY_PROPERTIES,
    FIDELITY_RANKS,
    FIDELITY_SCORES,
    NOT_IN_TABLES,
    fidelity_groups,
    fidelity_setting,
    left_out_words,
)
from xrec.report.metrics import METRICS, describe, title_of
from xrec.report.plot import figure_svg, write_whole
from xrec.report.read import (
    ReportError,
    empty_results,
    read_json,
    read_metrics,
    read_results,
    read_yaml,
    require_directory,
)
from xrec.report.render import cell_words, clean, minus, number_words, to_html

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

_FILES = ("results.parquet", "metrics.jsonl", "cases.parquet", "data_card.json", "config.yaml")


def write_report(run_directory: Path) -> Path:
    """Write `report.html` into a run directory (temporary name, then renamed) and return its path.

    Reads results.parquet, metrics.jsonl, cases.parquet, attributions.parquet, data_card.json, config.yaml and
    overrides.yaml. What is missing is said to be no part of the run. The same files give the same bytes.

    Raises:
        ReportError: the directory does not exist, holds none of these files, or one of them is broken.
    """
    run = require_directory(Path(run_directory))
    if not any((run / name).is_file() for name in _FILES):
        raise ReportError(
            f"{run} holds none of {', '.join(_FILES)}: it is not a run directory, or the run saved nothing yet"
        )
    path = run / "report.html"
    write_whole(path, _template().render(**_content(run)).encode("utf-8", errors="replace"))
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


def _content(run: Path) -> dict[str, Any]:
    """Everything the template shows, a key per section; '' or an empty list where the run has no such part."""
    results = read_results(run) if (run / "results.parquet").is_file() else empty_results()
    metrics = read_metrics(run)
    card = read_json(run / "data_card.json")
    card = card if isinstance(card, dict) else {}
    config = read_yaml(run / "config.yaml")
    threads = config.get("threads") if isinstance(config, dict) else None
    ranking = tables.ranking_table(results)
    return {
        "heading": _heading(run, results, config),
        "card": [
            _html(tables.data_card_table(card), "Cleaning"),
            _html(tables.data_facts_table(card), "Sizes, splits, notes"),
        ]
        if card
        else [],
        "learning": _drawn(
            figures.learning_curves(metrics),
            "learning",
            "Learning curves: losses and validation metrics against the step",
        ),
        "switched_off": figures.switched_off(metrics),
        "ranking": _html(ranking, "Ranking"),
        "findings": _ranking_findings(ranking),
        "parts": _html(tables.parts_table(results), "Parts of the model"),
        "fidelity": [_fidelity(results, group) for group in fidelity_groups(results)],
        "cost": _html(tables.cost_table(results, threads if isinstance(threads, int) else None), "Cost by stage"),
        "users": user_cards(run),
        "glossary": _glossary(results),
        "config": _lines(run / "config.yaml"),
    }


def _lines(path: Path) -> list[Markup]:
    """The lines of a text file, escaped, their indentation kept (`clean` would fold it)."""
    from markupsafe import escape

    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [escape(line[: len(line) - len(line.lstrip())] + clean(line)) for line in lines]


def _heading(run: Path, results: pl.DataFrame, config: Any) -> dict[str, Any]:
    """Title, command and a line of facts."""
    overrides = read_yaml(run / "overrides.yaml")
    config = config if isinstance(config, dict) else {}
    facts = {
        "data": one_data_set(results.filter(pl.col("stage").is_in(["rank", "fidelity"]))),
        "model": tables.main_model(results),
    }
    facts |= {name: config.get(name) for name in ("experiment", "seed", "threads")}
    command = None
    if isinstance(overrides, list):
        command = shlex.join(["python", "experiments/run.py", *map(str, overrides)])
    shown = {
        name: str(value)
        for name, value in facts.items()
        if value not in (None, "") and not isinstance(value, dict | list)
    }
    return {"title": f"{run.resolve().parent.name}/{run.resolve().name}", "facts": shown, "command": command}


def _html(table: pl.DataFrame, title: str) -> Markup | str:
    return to_html(table, title) if table.height else ""


def _drawn(figure: Figure | None, name: str, description: str) -> Markup | str:
    return "" if figure is None else figure_svg(figure, name, description)


def _fidelity(results: pl.DataFrame, group: str) -> dict[str, Any]:
    """The tables and drawings of one group of cases."""
    measured = results.filter((pl.col("stage") == "fidelity") & (pl.col("group") == group))
    present = measured["metric"].unique(maintain_order=True).to_list()
    discrete = [name for name in present if name.endswith("_discrete")]
    ranks = [name for name in FIDELITY_RANKS if name in present]
    elsewhere = (*FIDELITY_SCORES, *FIDELITY_RANKS, *NOT_IN_TABLES, *discrete)
    others = sorted(
        (name for name in present if name not in elsewhere), key=lambda name: name not in FIDELITY_PROPERTIES
    )
    rows, setting = fidelity_setting(results, group)
    about = (
        f"Cases of the {setting.part} part; players {setting.players}, masker {setting.masker}, output {setting.output}"
    )
    named = group if group.isidentifier() else "group"
    return {
        "group": group,
        "scores": _html(tables.fidelity_table(results, group, FIDELITY_SCORES), "Scores and cost"),
        "forest": _drawn(
            figures.fidelity_forest(results, group), f"forest-{named}", f"Fidelity of each explainer on {group} cases"
        ),
        "curves": _drawn(
            figures.removal_curves(results, group), f"removal-{named}", f"Deletion and insertion curves, {group} cases"
        ),
        "curves_caption": f"{about}; {sample_words(rows)}. {left_out_words(rows)}.",
        "ranks": _html(tables.fidelity_table(results, group, ranks, cost=False), "Rank under removal"),
        "others": _html(tables.fidelity_table(results, group, others, cost=False), "Properties of the explanations"),
        "discrete": [
            _html(tables.fidelity_table(results, group, [name], cost=False), describe(name).label) for name in discrete
        ],
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


def _glossary(results: pl.DataFrame) -> list[tuple[str, str, str]]:
    """(label, which direction is better, definition) of the metrics that occur."""
    present = {
        name.removesuffix("_discrete").removesuffix("_normalised") for name in results["metric"].drop_nulls().to_list()
    }
    return [(metric.label, metric.better, metric.definition) for name, metric in METRICS.items() if name in present]
