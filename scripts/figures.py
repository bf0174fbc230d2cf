"""Figures and tables of a saved run or study, for a paper: PDF, PNG, LaTeX and Markdown from saved results only.

Examples:
    python scripts/figures.py runs/quickstart/2026-01-31_12-00-00
    python scripts/figures.py runs/lambda_weights --out paper/figures
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


def main(arguments: list[str] | None = None) -> int:
    """Write everything the directory has results for; 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "directory", metavar="RUN_OR_STUDY", type=Path, help="a run directory, or the directory of a study"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="where to write (default: RUN_OR_STUDY/figures)")
    options = parser.parse_args(arguments)
    # Imported here, so that --help does not wait for polars.
    from xrec.errors import UserError
    from xrec.rundir.saved import require_directory
    from xrec.rundir.study import is_study

    try:
        directory = require_directory(options.directory)
        out = options.out if options.out is not None else directory / "figures"
        written, absent = (study_figures if is_study(directory) else run_figures)(directory, out)
    except UserError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(path)
    for what in absent:
        print(f"figures: {what} not part of {directory}", file=sys.stderr)
    return 0


def run_figures(run: Path, out: Path) -> tuple[list[Path], list[str]]:
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
    return _write(made, out)


def study_figures(study_directory: Path, out: Path) -> tuple[list[Path], list[str]]:
    """The accuracy-fidelity front and the table of the trials on it.

    Raises:
        UserError: the study has not finished, or has a single objective.
    """
    from xrec.report import figures
    from xrec.report.records import front_table
    from xrec.rundir.study import read_study

    study = read_study(study_directory)
    return _write({"front": figures.accuracy_fidelity_front(study), "front_table": front_table(study)}, out)


def _write(made: dict[str, Any], out: Path) -> tuple[list[Path], list[str]]:
    """Write each table or figure under its name; those that come out empty are named instead."""
    from xrec.files import written as written_to
    from xrec.report.plot import save_figure

    with written_to(out):
        out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    absent: list[str] = []
    for name, thing in made.items():
        if thing is None:
            absent.append(name)
        elif hasattr(thing, "savefig"):
            written += save_figure(thing, out / name)
        elif thing.is_empty():
            absent.append(name)
        else:
            written += _write_table(thing, out, name)
    return written, absent


def _write_table(table: pl.DataFrame, out: Path, name: str) -> list[Path]:
    from xrec.files import write_text
    from xrec.report.render import to_latex, to_markdown

    texts = {out / f"{name}.tex": to_latex(table, name=name), out / f"{name}.md": to_markdown(table)}
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)


if __name__ == "__main__":
    sys.exit(main())
