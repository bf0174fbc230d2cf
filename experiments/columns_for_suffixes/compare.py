"""Are the numbers of a run from before the change of schema (commit e2c029a) those of a run from after it?

    python experiments/columns_for_suffixes/compare.py OLD_RUN NEW_RUN

Translates the old names with suffixes into the columns that replaced them, and prints the largest relative difference
of every ranking and fidelity value, by stage and metric.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from xrec.rundir.saved import SavedRun

KEYS = [
    "part", "model", "component", "seed", "stage", "group", "few", "explainer", "metric", "variant", "k", "step",
    "user", "item",
]  # fmt: skip
#: longest first
VARIANTS = {"_normalised_discrete": "discrete_normalised", "_normalised": "normalised", "_discrete": "discrete"}
VARIANTS["_curve"] = "curve"


def translated(old: pl.DataFrame) -> pl.DataFrame:
    """Rows of the old table in the new columns."""
    variant, metric = pl.lit(None, dtype=pl.String), pl.col("metric")
    for suffix, name in reversed(VARIANTS.items()):
        ends = pl.col("metric").str.ends_with(suffix)
        variant = pl.when(ends).then(pl.lit(name)).otherwise(variant)
        metric = pl.when(ends).then(pl.col("metric").str.strip_suffix(suffix)).otherwise(metric)
    share = pl.col("metric") == "part_share"
    ablated = pl.col("model").str.extract(r"^.+ -(\w+)$")
    few = pl.col("group").str.ends_with("_few")
    of_cases = pl.col("stage").is_in(["explain", "fidelity"]) & pl.col("group").is_not_null()
    return old.with_columns(
        pl.when(share).then(pl.lit("component_share")).otherwise(metric).alias("metric"),
        variant.alias("variant"),
        pl.when(share).then(pl.col("explainer")).otherwise(ablated).alias("component"),
        pl.col("model").str.replace(r" -\w+$", ""),
        pl.when(share).then(None).otherwise(pl.col("explainer").str.strip_suffix("_oracle")).alias("explainer"),
        pl.col("group").str.strip_suffix("_few"),
        pl.when(of_cases).then(few).alias("few"),
    )


def main(old: Path, new: Path) -> None:
    """Print the comparison."""
    stages = pl.col("stage").is_in(["fit", "rank", "explain", "fidelity"])
    one = translated(pl.read_parquet(old / "results.parquet").filter(stages)).select(*KEYS, "value")
    two = SavedRun(new).results.frame.filter(stages).select(*KEYS, "value")
    joined = one.join(two, on=KEYS, how="full", nulls_equal=True, coalesce=True, suffix="_new")
    both = joined.drop_nulls(["value", "value_new"])
    largest = pl.max_horizontal(pl.col("value").abs(), pl.col("value_new").abs(), pl.lit(1e-12))
    both = both.with_columns(((pl.col("value") - pl.col("value_new")).abs() / largest).alias("difference"))
    by = both.group_by("stage", "metric").agg(pl.len().alias("values"), pl.col("difference").max())
    for stage, metric, values, difference in by.sort("stage", "metric").iter_rows():
        print(f"{stage:9} {metric:32} {values:7,} values, largest relative difference {difference:.3g}")
    for name, missing in (("old", "value_new"), ("new", "value")):
        alone = joined.filter(pl.col(missing).is_null())
        groups = alone.group_by("stage", "metric", "variant").len().sort("stage", "metric", "variant", nulls_last=False)
        for stage, metric, variant, n in groups.iter_rows():
            print(f"only in the {name} run: {stage} {metric} {variant or ''} ({n:,} rows)")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
