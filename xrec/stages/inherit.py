"""What a run takes over from the saved run that stands in for its left-out stages, so that it is whole by itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from xrec.tracking.results import read_results, write_results
from xrec.tracking.store import RunStore

#: files by the stage that writes them
FILES = {
    "fit": ("model.safetensors", "model.json", "metrics.jsonl"),
    "explain": ("cases.parquet", "attributions.parquet"),
}
ORDER = ("fit", "rank", "explain", "fidelity")


def inherit(source: Path, store: RunStore, stages: Sequence[str]) -> None:
    """Copy model, cases, attributions and result rows of every left-out stage that comes before the last chosen one.

    With `fit` chosen nothing is taken over: what was measured of another model says nothing of the new one.
    """
    if "fit" in stages:
        return
    last = max((ORDER.index(s) for s in stages if s in ORDER), default=len(ORDER))
    taken = [s for s in ORDER[:last] if s not in stages]
    for name in (name for stage in taken for name in FILES.get(stage, ())):
        if (source / name).is_file():
            shutil.copyfile(source / name, store.path(name))
    rows = read_results(source / "results.parquet")
    of_stage = pl.col("stage").is_in(taken) | ((pl.col("stage") == "cost") & pl.col("output").is_in(_costs(taken)))
    if (kept := rows.filter(of_stage)).height:
        write_results(store.path("results.parquet"), kept)
    environment = source / "environment.json"
    if environment.is_file():
        store.environment(weights_sha256=json.loads(environment.read_text()).get("weights_sha256"))


def _costs(stages: Sequence[str]) -> list[str]:
    return [*stages, *(["explainers"] if "explain" in stages else [])]
