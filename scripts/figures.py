"""Figures and tables of a saved run, multirun or study, for a paper: PDF, PNG, LaTeX, Markdown from saved results only.

Examples:
    python scripts/figures.py runs/quickstart/2026-01-31_12-00-00
    python scripts/figures.py runs/multirun/2026-01-31_12-00-00
    python scripts/figures.py runs/lambda_weights --out paper/figures
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Write everything the directory has results for; 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "directory",
        metavar="RUN_OR_STUDY",
        type=Path,
        help="a run directory, a multirun (several seeds: means, spreads, paired tests), or the directory of a study",
    )
    parser.add_argument("--all-columns", action="store_true", help="tables with every metric, not the main ones only")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where to write (default: RUN_OR_STUDY/figures)")
    options = parser.parse_args(arguments)
    # Imported here, so that --help does not wait for polars.
    from xrec.errors import UserError
    from xrec.rundir.saved import require_directory
    from xrec.rundir.several import is_multirun
    from xrec.rundir.study import is_study

    try:
        directory = require_directory(options.directory)
        out = options.out if options.out is not None else directory / "figures"
        if is_study(directory):
            written, absent = study_figures(directory, out)
        elif is_multirun(directory):
            written, absent = seeds_figures(directory, out)
        else:
            written, absent = run_figures(directory, out, all_columns=options.all_columns)
    except UserError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(path)
    for what in absent:
        print(f"figures: {what} not part of {directory}", file=sys.stderr)
    return 0


def run_figures(run: Path, out: Path, *, all_columns: bool = False) -> tuple[list[Path], list[str]]:
    """Learning curves, ranking and components tables, and for each group of cases fidelity table, forest and curves.

    Returns:
        The paths written, and what the run has no results for.

    Raises:
        RunError: there are no results, or a file is damaged.
    """
    import polars as pl

    from xrec.errors import RunError
    from xrec.report.fidelity import CaseGroup, fidelity_table, of_family
    from xrec.report.run_figures import RunFigures, file_name
    from xrec.report.run_tables import RunTables
    from xrec.report.writing import write_all
    from xrec.rundir.saved import SavedRun

    saved = SavedRun(run)
    if not saved.stages:
        raise RunError(
            f"{run} holds no finished stage of a run: finish it with `python experiments/run.py resume={run}`"
        )
    tables, results = RunTables(saved), saved.results
    measured = results.where(pl.col("stage") == "fidelity", pl.col("explainer").is_not_null()).frame["metric"].unique()
    families = list(dict.fromkeys(results.metric(name).family for name in results.order(measured)))
    made: dict[str, Any] = dict(RunFigures(tables).all())
    made |= {"ranking": tables.ranking, "components": tables.components, "cost": tables.cost}
    for cases in tables.case_groups or [CaseGroup("new")]:
        made[f"fidelity_{file_name(cases)}"] = tables.fidelity(cases)
        for family in families:
            table = fidelity_table(results, cases, of_family(results, family), variants=(None, "normalised"))
            made[f"fidelity_{family}_{file_name(cases)}"] = table
    return write_all(made, out, None if all_columns else tables.short)


def seeds_figures(multirun: Path, out: Path) -> tuple[list[Path], list[str]]:
    """Tables and figure over the seeds of each config of a multirun; unfinished runs are named on stderr.

    Raises:
        UserError: no run is finished, one is damaged, or they are not of one data set and split.
    """
    from xrec.report.seeds import seeds_tables
    from xrec.report.seeds_figure import seeds_figure
    from xrec.report.writing import write_all
    from xrec.rundir.several import read_several

    several = read_several([multirun])
    for line in several.left_out_words():
        print(f"figures: {line}", file=sys.stderr)
    return write_all({**seeds_tables(several), "seeds": seeds_figure(several)}, out)


def study_figures(study_directory: Path, out: Path) -> tuple[list[Path], list[str]]:
    """The accuracy-fidelity front and the table of the trials on it.

    Raises:
        UserError: the study has not finished, or has a single objective.
    """
    from xrec.report import figures
    from xrec.report.records import front_table
    from xrec.report.writing import write_all
    from xrec.rundir.study import read_study

    study = read_study(study_directory)
    return write_all({"front": figures.accuracy_fidelity_front(study), "front_table": front_table(study)}, out)


if __name__ == "__main__":
    sys.exit(main())
