"""Are the numbers of two runs the same? For changes of the code that are to change none.

    python experiments/same_numbers/compare.py OLD_RUN NEW_RUN

Prints, by stage and metric, how many values there are and the largest absolute and relative difference; then what only
one of the runs has. Exits with 1 when a value differs by more than 1e-6 and by more than a millionth of itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from xrec.rundir.saved import SavedRun

KEYS = [
    "part", "model", "component", "seed", "stage", "group", "few", "explainer", "role", "metric", "variant", "k",
    "step", "user", "item",
]  # fmt: skip
TOLERANCE = 1e-6


def main(old: Path, new: Path) -> int:
    """Print the comparison."""
    stages = pl.col("stage").is_in(["fit", "rank", "explain", "fidelity"])
    one, two = (SavedRun(run).results.frame.filter(stages).select(*KEYS, "value") for run in (old, new))
    joined = one.join(two, on=KEYS, how="full", nulls_equal=True, coalesce=True, suffix="_new")
    both = joined.drop_nulls(["value", "value_new"])
    absolute = (pl.col("value") - pl.col("value_new")).abs()
    largest = pl.max_horizontal(pl.col("value").abs(), pl.col("value_new").abs(), pl.lit(1e-12))
    both = both.with_columns(absolute=absolute, relative=absolute / largest)
    by = both.group_by("stage", "metric").agg(pl.len().alias("n"), pl.col("absolute").max(), pl.col("relative").max())
    for stage, metric, n, most, share in by.sort("stage", "metric").iter_rows():
        print(f"{stage:9} {metric:24} {n:8,} values, largest difference {most:.3g}, relative {share:.3g}")
    for name, missing in (("old", "value_new"), ("new", "value")):
        alone = joined.filter(pl.col(missing).is_null())
        groups = alone.group_by("stage", "metric", "variant").len().sort("stage", "metric", "variant", nulls_last=False)
        for stage, metric, variant, n in groups.iter_rows():
            print(f"only in the {name} run: {stage} {metric} {variant or ''} ({n:,} rows)")
    others = both.filter((pl.col("absolute") > TOLERANCE) & (pl.col("relative") > TOLERANCE)).height
    print(f"{both.height:,} values in both, {others:,} of them differ")
    return int(others > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
