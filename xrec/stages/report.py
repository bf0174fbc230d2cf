"""Stage report: tables, report.html, and everything into the tracker. Made from saved results alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

import polars as pl

from xrec.report.fidelity import fidelity_groups, fidelity_table
from xrec.report.html import write_report
from xrec.report.records import data_card_table, data_facts_table
from xrec.report.render import to_rich
from xrec.report.tables import RANKING_SUMMARY, cost_table, parts_table, ranking_table
from xrec.stages.run import Run
from xrec.tracking.files import write_json
from xrec.tracking.results import read_results, summary

TABLE_COLUMNS = ["block", "row", "column", "value", "low", "high", "text"]


def report(run: Run) -> None:
    """Write report.html; send summary tables, objectives, report and model to the tracker."""
    path = write_report(run.store.directory)
    for name, table in tables(run):
        columns = [c for c in table.columns if table[c].dtype in (pl.String, pl.Float64, pl.Int64)]
        run.tracker.table(name, columns, table.select(columns).rows())
    reached = objectives(run)
    write_json(run.store.path("objectives.json"), reached)
    run.tracker.log(reached)
    run.tracker.artifact(f"report-{run.store.directory.name}", "report", [path])
    weights = run.store.path("model.safetensors")
    if weights.is_file():
        run.tracker.artifact(f"model-{run.store.directory.name}", "model", [weights, run.store.path("model.json")])


def tables(run: Run, ranked: Sequence[str] | None = None) -> Iterator[tuple[str, pl.DataFrame]]:
    """The summary tables that this run's results allow, by name; those of the data card first.

    ranked: metrics of the ranking table, None = all.
    """
    card = json.loads(run.store.path("data_card.json").read_text())
    yield "data_cleaning", data_card_table(card)
    yield "data_facts", data_facts_table(card)
    results = read_results(run.store.path("results.parquet"))
    stages = set(results["stage"].unique())
    if "rank" in stages:
        yield "ranking", ranking_table(results, ranked)
        if results.filter(pl.col("metric") == "part_share").height:
            yield "parts", parts_table(results)
    if "fidelity" in stages:
        for group in fidelity_groups(results):
            yield f"fidelity_{group}", fidelity_table(results, group)
    yield "cost", cost_table(results, threads=int(run.config.threads))


def show(run: Run) -> None:
    """Print the run: data card, ranking, fidelity, and where the report is."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        # A file has no width of its own, and rich would take 80.
        console.width = 160
    for name, table in tables(run, RANKING_SUMMARY):
        if name.startswith(("data", "ranking", "fidelity")):
            console.print(to_rich(table, name.replace("_", ", ").capitalize(), width=console.width), end="\n\n")
    html = run.store.path("report.html")
    console.print(
        f"report: {html}" if html.is_file() else f"run: {run.store.directory}", soft_wrap=True, highlight=False
    )


def objectives(run: Run) -> dict[str, float]:
    """What a sweep may optimise, from saved results: `<part>_ndcg_at_10_<group>`, `<part>_removal_gain`
    (permutation SHAP on `new` cases) and `<part>_removal_gain_<explainer>`."""
    results = read_results(run.store.path("results.parquet"))
    model, reached = str(run.config.model.name), {}
    for part in run.config.ranking.parts:
        for group in run.config.ranking.groups:
            chosen = {"stage": "rank", "part": part, "group": group, "model": model, "metric": "ndcg", "k": 10}
            _reach(reached, f"{part}_ndcg_at_10_{group}", results, chosen)
    part = str(run.config.cases.part)
    for explainer in run.config.get("explainer") or {}:
        chosen = {"stage": "fidelity", "part": part, "group": "new", "metric": "removal_gain", "explainer": explainer}
        _reach(reached, f"{part}_removal_gain_{explainer}", results, chosen)
    if f"{part}_removal_gain_permutation_shap" in reached:
        reached[f"{part}_removal_gain"] = reached[f"{part}_removal_gain_permutation_shap"]
    return reached


def _reach(reached: dict[str, float], name: str, results: pl.DataFrame, where: dict[str, object]) -> None:
    try:
        reached[name] = summary(results, **where)
    except KeyError:  # this run did not measure it
        return
