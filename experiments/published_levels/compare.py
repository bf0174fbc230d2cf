"""Mean NDCG@10, or another metric, of test items over the users of all folds, and paired differences (95 % intervals).

    python experiments/published_levels/compare.py NAME=RUN,RUN,... [NAME=REFERENCE.json,...] [NAME=RUN,...:MODEL]

Each argument holds one result per fold (several seeds of a fold are averaged per user): run directories, of which the
model's rows are read (or those of a baseline, `:ease`), or files written by a plain reference. The first is compared
with each of the others. Targets are the new ones; with `--group all`, all.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl

Users = dict[str, list[float]]


def read(text: str, group: str, metric: str) -> tuple[str, dict[str, float]]:
    name, _, given = text.partition("=")
    paths, _, model = given.partition(":")
    found: Users = defaultdict(list)
    for path in map(Path, paths.split(",")):
        for user, value in (
            json.loads(path.read_text()) if path.suffix == ".json" else of_run(path, model, group, metric)
        ).items():
            found[user].append(value)
    return name, {user: float(np.mean(values)) for user, values in found.items()}


def of_run(run: Path, model: str, group: str, metric: str) -> dict[str, float]:
    measured, _, k = metric.partition("@")
    rows = pl.read_parquet(run / "results.parquet").filter(
        pl.col("stage") == "rank", pl.col("part") == "test", pl.col("group") == group, pl.col("metric") == measured,
        pl.col("k") == int(k), pl.col("user").is_not_null(), pl.col("component").is_null(),
    )  # fmt: skip
    rows = rows.filter(pl.col("model") == (model or rows["model"][0]))
    return dict(zip(rows["user"].to_list(), rows["value"].to_list(), strict=True))


def interval(values: np.ndarray) -> str:
    generator = np.random.default_rng(0)
    means = values[generator.integers(len(values), size=(2000, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", choices=("new", "all"), default="new")
    parser.add_argument("--metric", default="ndcg@10")
    parser.add_argument("result", nargs="+", metavar="NAME=RUN,RUN,...")
    asked = parser.parse_args()
    (first, own), *others = (read(text, asked.group, asked.metric) for text in asked.result)
    print(f"{first:24s} {np.mean(list(own.values())):.4f}  ({len(own)} users)")
    for name, values in others:
        shared = sorted(own.keys() & values.keys())
        difference = interval(np.array([own[user] - values[user] for user in shared]))
        mean = np.mean(list(values.values()))
        print(f"{name:24s} {mean:.4f}  {first} minus this: {difference} ({len(shared)} users)")


if __name__ == "__main__":
    main()
