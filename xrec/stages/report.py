"""Stage report: tables, report.html, and everything into the tracker. Made from saved results alone."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl
from omegaconf import DictConfig

from xrec.config.objectives import objective_rows
from xrec.files import write_json
from xrec.report.html import write_report
from xrec.report.plot import figure_bytes
from xrec.report.render import to_rich
from xrec.report.run_figures import RunFigures
from xrec.report.run_tables import RunTables, data_tables
from xrec.report.summary import summaries, wide
from xrec.rundir.table import summary
from xrec.stages.fit import MODEL_FILES
from xrec.stages.run import Done, Run
from xrec.tracking.tracker import Tracker

if TYPE_CHECKING:
    from rich.console import Console

OBJECTIVES = "objectives.json"


def report(run: Run, tables: RunTables) -> Done:
    """Write report.html and objectives.json; send everything to the tracker: tables, figures, summaries, objectives,
    report and model."""
    figures = RunFigures(tables)
    path = write_report(tables, figures)
    _show_tables(run.tracker, tables)
    for name, figure in figures.all():
        if figure is not None:
            run.tracker.image(name, partial(figure_bytes, figure, "png"))
    reached = objectives(run.config, tables.results.frame)
    write_json(run.store.path(OBJECTIVES), reached)
    run.tracker.summary(summaries(tables) | reached)
    run.tracker.artifact(f"report-{run.store.directory.name}", "report", [path])
    weights = [run.store.path(name) for name in MODEL_FILES]
    if weights[0].is_file():
        run.tracker.artifact(f"model-{run.store.directory.name}", "model", weights)
    return Done([], [path.name, OBJECTIVES])


def _show_tables(tracker: Tracker, tables: RunTables) -> None:
    """Each table twice: a row per cell with all that is known of it, to compute with; and as people read it."""
    for name, table in tables.all():
        columns = [c for c in table.columns if table[c].dtype in (pl.String, pl.Float64, pl.Int64)]
        tracker.table(name, columns, table.select(columns).rows())
        tracker.table(f"{name}_wide", *wide(table))


def show(tables: RunTables) -> None:
    """Print the run: data card, ranking, fidelity, and where the report is."""
    console = _console()
    for name, table in tables.all():
        if name.startswith(("data", "ranking", "fidelity")):
            console.print(to_rich(table, _title(name), width=console.width, columns=tables.short(table)), end="\n\n")
    html = tables.run.directory / "report.html"
    console.print(
        f"report: {html}" if html.is_file() else f"run: {tables.run.directory}", soft_wrap=True, highlight=False
    )


def show_data(card: dict[str, Any]) -> None:
    """Print a data card alone."""
    console = _console()
    for name, table in data_tables(card).items():
        console.print(to_rich(table, _title(name), width=console.width), end="\n\n")


def _title(name: str) -> str:
    return name.replace("_", ", ").capitalize()


def _console() -> Console:
    from rich.console import Console

    console = Console()
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        # A file has no width of its own, and rich would take 80.
        console.width = 160
    return console


def objectives(config: DictConfig, results: pl.DataFrame) -> dict[str, float]:
    """What a sweep may optimise, from saved results; those that were measured. See `xrec.config.objectives`."""
    reached = {}
    for name, where in objective_rows(config).items():
        with contextlib.suppress(KeyError):  # this run did not measure it
            reached[name] = summary(results, **where)
    return reached
