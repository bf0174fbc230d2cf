"""Compare two runs of one config: identical, equal within a tolerance, or different, and what differs around them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from xrec.files import file_digest
from xrec.rundir.explanations import ATTRIBUTIONS
from xrec.rundir.saved import SavedRun
from xrec.rundir.table import SCHEMA, canonical_hash

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


#: beside the results: weights, which cases, and what was said of them
_FILES = ("model.safetensors", "cases.parquet", ATTRIBUTIONS)


@dataclass(frozen=True)
class Verdict:
    """status: 0 identical, 1 equal within tolerance, 2 different; text: the same in words, with the reasons."""

    status: int
    text: str


def compare(first: Path, second: Path, tolerance: float) -> Verdict:
    """Compare two runs by the files they left, weights, explanations and results; where they differ, say what, by how
    much, and what differs in the environment.

    Raises:
        RunError: a file of either is missing, or is not what that run wrote.
    """
    runs = SavedRun(first), SavedRun(second)
    for run in runs:
        run.check()
    one, two = (run.results.frame for run in runs)
    facts = [
        {name: _fact(run, name) for name in _FILES} | {"results": canonical_hash(frame)}
        for run, frame in zip(runs, (one, two), strict=True)
    ]
    same = [name for name, value in facts[0].items() if value == facts[1][name]]
    if len(same) == len(facts[0]):
        shown = "\n".join(f"  {name} {value}" for name, value in facts[0].items() if value is not None)
        return Verdict(IDENTICAL, f"identical\n{shown}")
    worst, lines = _differences(one, two)
    lines = [f"  {k}: {v} -> {facts[1][k]}" for k, v in facts[0].items() if k not in same] + lines
    lines += _environment(*(run.json("environment.json") or {} for run in runs))
    verdict, words = (EQUAL, "equal within") if worst <= tolerance else (DIFFERENT, "different beyond")
    return Verdict(verdict, f"{words} {tolerance:g} (largest relative difference {worst:.3g})\n" + "\n".join(lines))


def _fact(run: SavedRun, name: str) -> str | None:
    """What is compared of a file that is the same in every run of a config: the sha256 of what is in it."""
    if not run.has(name):
        return None
    if name == ATTRIBUTIONS:
        frame = run.table(name)
        assert frame is not None
        return hashlib.sha256(frame.write_csv(float_precision=17).encode()).hexdigest()
    return file_digest(run.require(name))


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
        .sort("relative", "stage", "metric", descending=[True, False, False])
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
