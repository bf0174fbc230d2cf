"""Compare two runs of one config: identical, equal within a tolerance, or different, and what differs around them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from xrec.tracking.results import SCHEMA, read_results

IDENTICAL, EQUAL, DIFFERENT = 0, 1, 2
_COMPARED = (
    "commit",
    "dirty_diff",
    "python",
    "platform",
    "cpu_capability",
    "torch_threads",
    "variables",
    "packages",
    "data_sha256",
)


@dataclass(frozen=True)
class Verdict:
    """status: 0 identical, 1 equal within tolerance, 2 different; text: the same in words, with the reasons."""

    status: int
    text: str


def compare(first: Path, second: Path, tolerance: float) -> Verdict:
    """Compare hashes of weights and results; where they differ, say what, by how much, and what differs in the
    environment."""
    one, two = (json.loads((p / "environment.json").read_text()) for p in (first, second))
    hashes = [(k, one.get(k), two.get(k)) for k in ("weights_sha256", "results_sha256")]
    if all(a == b for _, a, b in hashes):
        return Verdict(IDENTICAL, "identical\n" + "\n".join(f"  {k} {a}" for k, a, _ in hashes))
    worst, lines = _differences(read_results(first / "results.parquet"), read_results(second / "results.parquet"))
    lines = [f"  {k}: {a} -> {b}" for k, a, b in hashes if a != b] + lines + _environment(one, two)
    if worst <= tolerance:
        return Verdict(
            EQUAL, f"equal within {tolerance:g} (largest relative difference {worst:.3g})\n" + "\n".join(lines)
        )
    return Verdict(
        DIFFERENT, f"different (largest relative difference {worst:.3g}, tolerance {tolerance:g})\n" + "\n".join(lines)
    )


def _differences(one: pl.DataFrame, two: pl.DataFrame) -> tuple[float, list[str]]:
    """The largest relative difference over matching rows (infinite when rows are missing), and the worst metrics."""
    keys = [c for c in SCHEMA if c != "value"]
    one, two = (f.filter(pl.col("stage") != "cost") for f in (one, two))
    joined = one.join(two, on=keys, how="full", nulls_equal=True, suffix="_again", coalesce=True)
    lonely = joined.filter(pl.col("value").is_null() | pl.col("value_again").is_null()).height
    both = joined.drop_nulls(["value", "value_again"])
    a, b = both["value"].to_numpy(), both["value_again"].to_numpy()
    relative = np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-12)
    ranked = both.select("stage", "metric").with_columns(pl.Series("relative", relative))
    worst = (
        ranked.group_by("stage", "metric")
        .agg(pl.col("relative").max())
        .filter(pl.col("relative") > 0)
        .sort("relative", descending=True)
    )
    lines = [f"  {stage}/{metric}: up to {value:.3g} relative" for stage, metric, value in worst.head(10).iter_rows()]
    if lonely:
        lines.insert(0, f"  {lonely} rows are in one of the two results tables only")
        return float("inf"), lines
    return float(relative.max(initial=0.0)), lines


def _environment(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    lines = []
    for key in _COMPARED:
        a, b = one.get(key), two.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += [
                f"  environment: {key}.{k}: {a.get(k)} -> {b.get(k)}"
                for k in sorted(a.keys() | b.keys())
                if a.get(k) != b.get(k)
            ]
        elif a != b:
            shown = ("changed", "") if key == "dirty_diff" else (f"{a} ->", b)
            lines.append(f"  environment: {key}: {shown[0]} {shown[1]}".rstrip())
    return lines or ["  environment: no difference recorded"]
