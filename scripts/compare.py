"""Compare saved runs of the same data and users: means over seeds, spreads, intervals, paired tests.

Runs of one config that differ in their seeds only are an arm; the first arm is the reference. A multirun stands for its
runs.

Examples:
    python scripts/compare.py runs/multirun/2026-01-31_12-00-00 --reference attention=mean
    python scripts/compare.py runs/run/2026-01-31_* runs/quickstart/2026-02-01_* --out paper/figures
    python scripts/compare.py runs/run/A runs/run/B --labels before after
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xrec.rundir.several import Several


def main(arguments: list[str] | None = None) -> int:
    """Print the tables and, with --out, write them and a figure; 0, or 1 with the reason on stderr."""
    options = _parser().parse_args(arguments)
    # Imported here, so that --help does not wait for polars.
    from xrec.errors import RunError, UserError
    from xrec.rundir.several import read_several

    try:
        several = read_several(options.runs, options.labels).with_reference(options.reference)
        for line in several.left_out_words():
            print(f"compare: {line}", file=sys.stderr)
        if sum(len(arm.runs) for arm in several.arms) == 1:
            raise RunError("one finished run is nothing to compare; give several (scripts/figures.py tells of one)")
        _show(several, options.out)
    except UserError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="a run directory, or a multirun")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write .tex, .md, .pdf and .png there as well")
    parser.add_argument("--reference", metavar="NAME", help="the arm that the others are tested against")
    parser.add_argument(
        "--labels",
        metavar="NAME",
        nargs="+",
        help="names of the arms, in their order; or a name for each run, and runs of one name are an arm",
    )
    return parser


def _show(several: Several, out: Path | None) -> None:
    """Every table on the terminal; and as files, with the figure."""
    from rich.console import Console

    from xrec.report.render import to_rich
    from xrec.report.seeds import seeds_tables
    from xrec.report.seeds_figure import seeds_figure
    from xrec.report.writing import write_all

    tables = seeds_tables(several)
    console = Console()
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        # A file has no width of its own, and rich would take 80.
        console.width = 160
    for name, table in tables.items():
        title = name.removeprefix("seeds_").replace("_", ", ").capitalize()
        console.print(to_rich(table, title, width=console.width), end="\n\n")
    if out is not None:
        for path in write_all({**tables, "seeds": seeds_figure(several)}, out)[0]:
            print(path)


if __name__ == "__main__":
    sys.exit(main())
