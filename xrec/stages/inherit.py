"""What a run takes over from the saved run that stands in for its left-out stages, so that it is whole by itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import DictConfig, OmegaConf, open_dict

from xrec.config.commandline import parse
from xrec.errors import RunError
from xrec.tracking.results import read_results, write_results
from xrec.tracking.store import RunStore

#: files by the stage that writes them
FILES = {
    "fit": ("model.safetensors", "model.json", "metrics.jsonl"),
    "explain": ("cases.parquet", "attributions.parquet"),
}
ORDER = ("fit", "rank", "explain", "fidelity")
#: settings by the stage that they belong to
SETTINGS = {
    "fit": ("seed", "data", "split", "model", "loss", "training"),
    "explain": ("cases", "masker", "players"),
}


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


def inherit_settings(config: DictConfig, saved: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Make the settings of left-out stages in `config` those of the saved run; the names of these settings.

    Raises:
        RunError: some overrides ask for other values than the saved run has.
    """
    taken = [name for stage, names in SETTINGS.items() if stage not in config.stages for name in names]
    refused = []
    for name in taken:
        refused += _refused(name, config, saved, overrides)  # one by one: what a value refers to is the saved run's
        if name in saved:
            OmegaConf.update(config, name, saved[name], merge=False, force_add=True)
        else:  # a closed-form model has no loss
            with open_dict(config):
                config.pop(name, None)
    if refused:
        raise RunError(
            f"from_run={config.from_run} brings its own {', '.join(taken)}; leave out, or fit anew with:\n"
            + "\n".join(f"  {line}" for line in refused)
        )
    return taken


def _refused(name: str, config: DictConfig, saved: DictConfig, overrides: Sequence[str]) -> list[str]:
    """The overrides of a setting that do not agree with the saved run, and how."""
    found = []
    for override in parse(overrides)[0]:
        path = (override.package or override.key_or_group).replace("/", ".")
        if path.split(".")[0] == name:
            mine, theirs = (_at(OmegaConf.to_container(c, resolve=True), path) for c in (config, saved))
            found += [f"{override.input_line} ({line})" for line in _differences(mine, theirs, path)[:1]]
    return found


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _differences(mine: Any, theirs: Any, path: str) -> list[str]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        names = {**mine, **theirs}
        return [d for n in names for d in _differences(mine.get(n), theirs.get(n), f"{path}.{n}")]
    return [] if mine == theirs else [f"{path} is {json.dumps(theirs)} there, not {json.dumps(mine)}"]
