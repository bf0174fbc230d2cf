"""NDCG@10 of cold items, ranked among themselves: generative item encoders against closed forms, three folds.

    python experiments/cold_items/run.py journey                                    # Complete Journey
    python experiments/cold_items/run.py beauty data.path=Beauty.txt data.attributes=Beauty_item2attributes.json

Runs what is not there yet (one process at a time, in RUNS/cold_items/DATA/NAME/FOLD) and prints a table. Overrides that
follow go to every run. With `--only NAME ...` some models; with `--table` nothing is run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

from xrec.rundir.saved import SavedRun
from xrec.stats.bootstrap import generator_for, resampled_means

ROOT = Path(__file__).resolve().parents[2]
FOLDS = (0, 1, 2)
MAP = "model.cold_map._target_=xrec.models.cold_map."
#: of the composed models: a VAE that starts as PureSVD, whose decoder is the items' features; no path of items alone
COMPOSED = [
    "split=cold_item", "model/wide=[]", "model/attention=none", "model/user_encoder=vae", "model.embedding_size=64",
    "model.components.user_encoder.hidden_size=64", "model.components.user_encoder.start=svd",
    "model.components.user_encoder.decay=0.6", "loss.weights.kl=0.05", "training.n_negatives=null",
    "training.max_pairs=1000000000", "training.batch_size=100", "training.patience=4",
    "training.monitor=validation/ndcg_at_10/cold", "ranking.ablations=false",
]  # fmt: skip
JOURNEY = [*COMPOSED, "training.windows=[-8,-4]", "training.horizon=4", "training.hidden_only=true"]
BEAUTY = [*COMPOSED, "data=sequences", "split@split.base=leave_last_out", "training=profile"]
#: the factors are there at the start: little is left to learn
GENERATED = [
    "model/item_encoder=conditional_gan", "model.item_encoder.deviation=0.2", "training.learning_rate=0.00003",
    "training.learning_rate_scale={wide: 5.0, neural: 1.0}", "training.epochs=4",
]  # fmt: skip
#: the map from latents to features begins at random
ENCODED = [
    "model.item_encoder.fine_tune=true", "training.learning_rate=0.01",
    "training.learning_rate_scale={wide: 1.0, neural: 1.0}", "training.epochs=15",
]  # fmt: skip

#: data -> model -> overrides; the first is what the others are compared with
MODELS: dict[str, dict[str, list[str]]] = {
    "journey": {
        "EASE + ridge map": [
            "experiment=cold_cj", f"{MAP}RidgeColdMap", "~model.cold_map.power", "~model.cold_map.shrinkage",
            "+model.cold_map.regularization=1",
        ],
        "EASE + similar map": ["experiment=cold_cj"],
        "MARec's idea (aligned)": [
            "experiment=cold_cj", f"{MAP}AlignedColdMap", "~model.cold_map.shrinkage", "model.cold_map.power=1",
            "+model.cold_map.regularization=1000",
        ],
        "content kNN": ["split=cold_item", "model=content_knn", "model.half_life=16"],
        "conditional_gan": [*JOURNEY, *GENERATED],
        "bigan": [*JOURNEY, "model/item_encoder=bigan", *ENCODED],
        "aae": [*JOURNEY, "model/item_encoder=aae", *ENCODED],
    },
    "beauty": {
        "EASE + ridge map": ["experiment=cold_beauty"],
        "EASE + similar map": [
            "experiment=cold_beauty", f"{MAP}SimilarColdMap", "~model.cold_map.regularization",
            "+model.cold_map.power=5",
        ],
        "MARec's idea (aligned)": [
            "experiment=cold_beauty", f"{MAP}AlignedColdMap", "+model.cold_map.power=3",
            "model.cold_map.regularization=1",
        ],
        "content kNN": [
            "data=sequences", "split=cold_item", "split@split.base=leave_last_out", "model=content_knn",
            "model.history_decay=0.65",
        ],
        "conditional_gan": [*BEAUTY, *GENERATED],
        "bigan": [*BEAUTY, "model/item_encoder=bigan", *ENCODED],
        "aae": [*BEAUTY, "model/item_encoder=aae", *ENCODED],
    },
}  # fmt: skip
REFERENCE = "EASE + ridge map"


def place(data: str, name: str, fold: int) -> Path:
    words = "".join(c if c.isalnum() else "_" for c in name)
    return Path(os.environ.get("XREC_RUNS", "runs")) / "cold_items" / data / words / str(fold)


def run(data: str, name: str, fold: int, overrides: list[str]) -> None:
    """Fit and rank, or what is left of it."""
    directory = place(data, name, fold)
    if finished(directory):
        return
    command = [sys.executable, str(ROOT / "experiments" / "run.py")]
    if directory.exists():
        command.append(f"resume={directory}")
    else:
        command += [*MODELS[data][name], "stages=[fit,rank]", "baselines=[]", "ranking.groups=[cold]"]
        command += ["ranking.chunk_size=64", "threads=1", "tracking=none", f"split.fold={fold}"]
        command += [f"hydra.run.dir={directory}", *overrides]
    subprocess.run(command, check=True)


def finished(directory: Path) -> bool:
    return directory.exists() and "rank" in SavedRun(directory).stages


def by_user(directory: Path, part: str) -> dict[str, float]:
    if not finished(directory):
        raise SystemExit(f"cold_items: {directory} is not ranked yet; leave --table out")
    rows = pl.read_parquet(directory / "results.parquet").filter(
        pl.col("stage") == "rank", pl.col("part") == part, pl.col("group") == "cold", pl.col("metric") == "ndcg",
        pl.col("k") == 10, pl.col("user").is_not_null(), pl.col("component").is_null(),
    )  # fmt: skip
    return dict(zip(rows["user"].to_list(), rows["value"].to_list(), strict=True))


def difference(own: list[dict[str, float]], other: list[dict[str, float]]) -> tuple[float, float, float]:
    """Mean over folds of the mean over a fold's users of own minus other, and its 95 % bootstrap interval: users are
    drawn with all their folds."""
    users = sorted(set().union(*own))
    there = np.array([[user in fold for fold in own] for user in users], dtype=np.float64)
    apart = np.array(
        [[a[user] - b[user] if user in a else 0.0 for a, b in zip(own, other, strict=True)] for user in users]
    )
    means = resampled_means(np.hstack([apart, there]), generator_for("cold_items"), 2000)
    n = len(own)
    low, high = np.quantile((means[:, :n] / means[:, n:]).mean(1), [0.025, 0.975])
    return float((apart.sum(0) / there.sum(0)).mean()), float(low), float(high)


def table(data: str, names: list[str]) -> None:
    print(f"| {data} | validation | test | fold 0 | 1 | 2 | minus {REFERENCE} [95 %] |\n|---|---|---|---|---|---|---|")
    reference = [by_user(place(data, REFERENCE, fold), "test") for fold in FOLDS]
    for name in names:
        found = {p: [by_user(place(data, name, fold), p) for fold in FOLDS] for p in ("validation", "test")}
        means = {part: [float(np.mean(list(fold.values()))) for fold in folds] for part, folds in found.items()}
        cells = [float(np.mean(means["validation"])), float(np.mean(means["test"])), *means["test"]]
        words = "" if name == REFERENCE else "{:+.4f} [{:+.4f}, {:+.4f}]".format(*difference(found["test"], reference))
        print(f"| {name} | {' | '.join(f'{value:.4f}' for value in cells)} | {words} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=MODELS)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_intermixed_args()
    names = asked.only or list(MODELS[asked.data])
    if not asked.table:
        for name in names:
            for fold in FOLDS:
                run(asked.data, name, fold, asked.overrides)
    table(asked.data, names)


if __name__ == "__main__":
    main()
