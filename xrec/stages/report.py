"""Stage report: tables, report.html, and everything into the tracker. Made from saved results alone."""

from __future__ import annotations

import polars as pl
from omegaconf import DictConfig

from xrec.files import write_json
from xrec.report.html import write_report
from xrec.report.render import to_rich
from xrec.report.run_tables import RunTables
from xrec.rundir.table import summary
from xrec.stages.fit import MODEL_FILES
from xrec.stages.run import Done, Run

TABLE_COLUMNS = ["block", "row", "column", "value", "low", "high", "text"]
OBJECTIVES = "objectives.json"


def report(run: Run, tables: RunTables) -> Done:
    """Write report.html and objectives.json; send summary tables, objectives, report and model to the tracker."""
    path = write_report(tables)
    for name, table in tables.all():
        columns = [c for c in table.columns if table[c].dtype in (pl.String, pl.Float64, pl.Int64)]
        run.tracker.table(name, columns, table.select(columns).rows())
    reached = objectives(run.config, tables.results.frame)
    write_json(run.store.path(OBJECTIVES), reached)
    run.tracker.log(reached)
    run.tracker.artifact(f"report-{run.store.directory.name}", "report", [path])
    weights = [run.store.path(name) for name in MODEL_FILES]
    if weights[0].is_file():
        run.tracker.artifact(f"model-{run.store.directory.name}", "model", weights)
    return Done([], [path.name, OBJECTIVES])


def show(tables: RunTables) -> None:
    """Print the run: data card, ranking, fidelity, and where the report is."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 160)
    for name, table in tables.all():
        if name.startswith(("data", "ranking", "fidelity")):
            console.print(to_rich(table, name.replace("_", ", ").capitalize()))
    html = tables.run.directory / "report.html"
    console.print(
        f"report: {html}" if html.is_file() else f"run: {tables.run.directory}", soft_wrap=True, highlight=False
    )


def objectives(config: DictConfig, results: pl.DataFrame) -> dict[str, float]:
    """What a sweep may optimise, from saved results: `<part>_ndcg_at_10_<group>`, `<part>_removal_gain`
    (permutation SHAP on `new` cases) and `<part>_removal_gain_<explainer>`."""
    model, reached = str(config.model.name), {}
    for part in config.ranking.parts:
        for group in config.ranking.groups:
            chosen = {"stage": "rank", "part": part, "group": group, "model": model, "component": None}
            _reach(reached, f"{part}_ndcg_at_10_{group}", results, chosen | {"metric": "ndcg", "k": 10})
    part = str(config.cases.part)
    for explainer in config.get("explainer") or {}:
        chosen = {"stage": "fidelity", "part": part, "group": "new", "few": False, "metric": "removal_gain"}
        _reach(reached, f"{part}_removal_gain_{explainer}", results, chosen | {"explainer": explainer})
    if f"{part}_removal_gain_permutation_shap" in reached:
        reached[f"{part}_removal_gain"] = reached[f"{part}_removal_gain_permutation_shap"]
    return reached


def _reach(reached: dict[str, float], name: str, results: pl.DataFrame, where: dict[str, object]) -> None:
    try:
        reached[name] = summary(results, **where)
    except KeyError:  # this run did not measure it
        return
