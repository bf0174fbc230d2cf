"""The composition root: one run from config to report, top to bottom, one call a stage."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import polars as pl
import torch
from omegaconf import DictConfig, OmegaConf
from threadpoolctl import threadpool_limits

from xrec.config.instantiate import instantiate
from xrec.config.validate import validate_job
from xrec.data.build import build
from xrec.data.cache import ArrayCache
from xrec.data.clean import Cleaning
from xrec.data.interactions import SplitInteractions
from xrec.errors import RunError
from xrec.files import whole_file
from xrec.models.base import Recommender
from xrec.stages.explain import explain
from xrec.stages.fidelity import fidelity
from xrec.stages.fit import fit_model, load_model
from xrec.stages.inherit import inherit, inherit_settings
from xrec.stages.rank import check_groups, rank
from xrec.stages.report import objectives, report, show
from xrec.stages.run import Run
from xrec.tracking.results import canonical_hash, read_results
from xrec.tracking.store import RunStore, describe_environment

log = logging.getLogger(__name__)
STAGES = ("fit", "rank", "explain", "fidelity", "report")


def run(
    config: DictConfig,
    directory: Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    group: str | None = None,
) -> dict[str, float]:
    """Run the chosen stages into `directory` and return the run's objectives by name.

    Args:
        overrides: what was asked for on the command line; kept beside the resolved config.
        resume: go on with the run that is there: finished stages are not repeated, fit goes on after its last epoch.
        group: W&B group (a multirun or a study).
    Raises:
        RunError, DataError, CheckpointError, LossError: each names the place and the fix.
    """
    source = _source(config, overrides)
    _check_device(str(config.device))
    store = RunStore(directory, resume=resume)
    if source is not None and not store.done():
        inherit(source, store, list(config.stages))
    _make_repeatable(config)
    current = _prepare(config, store, source, overrides)
    current.tracker.start(
        store.directory,
        _plain(config),
        store.directory.name,
        group or config.get("experiment", {}).get("name"),
        _job_type(config),
    )
    try:
        _stages(current)
    except BaseException:
        current.tracker.finish(failed=True)
        raise
    current.tracker.finish()
    return objectives(current)


def _stages(current: Run) -> None:
    config, store = current.config, current.store
    todo = [s for s in STAGES if s in config.stages and s not in store.done()]
    model: Recommender | None = None
    if "rank" in todo:
        check_groups(current)
    with threadpool_limits(int(config.threads)):
        if "fit" in todo:
            with current.costed("fit"):
                model = fit_model(current)
            store.mark_done("fit")
        elif set(todo) - {"report"}:
            model = load_model(current)
        for stage in [s for s in todo if s not in ("fit", "report")]:
            assert model is not None
            with current.costed(stage):
                if stage == "rank":
                    rank(current, model)
                elif stage == "explain":
                    explain(current, model)
                else:
                    fidelity(current, model)
            store.mark_done(stage)
        results = read_results(store.path("results.parquet"))
        store.environment(results_sha256=canonical_hash(results))
        if "report" in config.stages:
            with current.costed("report"):
                report(current)
            store.mark_done("report")
    show(current)


def _prepare(config: DictConfig, store: RunStore, source: Path | None, overrides: Sequence[str]) -> Run:
    cache = ArrayCache(config.paths.cache)
    dataset = build(
        instantiate(config.data.source),
        instantiate(config.split),
        cache,
        Cleaning(**OmegaConf.to_container(config.data.clean, resolve=True)),  # type: ignore[arg-type]
    )
    store.write_config(OmegaConf.to_yaml(config, resolve=True), list(overrides))
    store.environment(
        **describe_environment(),
        data_sha256=dataset.fingerprint,
        from_run=str(source) if source else None,
        threads=config.threads,
    )
    _describe_data(store, dataset)
    tracker = instantiate(config.tracking)
    return Run(config, store, tracker, dataset, cache, torch.device(config.device))


def _describe_data(store: RunStore, dataset: SplitInteractions) -> None:
    """data_card.json; folds.parquet and truth.parquet where the split holds entities out or causes are known."""
    store.path("data_card.json").write_text(json.dumps(dataset.card, indent=1))
    for name, columns in (("folds", dataset.folds()), ("truth", dataset.causes())):
        if columns:
            with whole_file(store.path(f"{name}.parquet")) as temporary:
                pl.DataFrame(columns).write_parquet(temporary)


def _source(config: DictConfig, overrides: Sequence[str]) -> Path | None:
    """The saved run that left-out stages are taken from; `config` takes its settings over."""
    chosen = [s for s in STAGES if s in config.stages]
    if config.from_run is None:
        if "fit" not in chosen and chosen != ["report"]:
            raise RunError(
                f"stages={chosen} leaves out fit: add it, or give from_run=<run directory> to take the model from"
            )
        return None
    source = Path(config.from_run)
    if not (source / "config.yaml").is_file():
        raise RunError(f"from_run={source} is not a run directory: it has no config.yaml")
    if "fit" not in chosen:
        taken = inherit_settings(config, restore(source), overrides)
        validate_job(config)
        log.info("%s are those of %s", ", ".join(taken), source)
    return source


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RunError(f"device={device}: this machine or this build of torch has no CUDA; use device=cpu")


def _make_repeatable(config: DictConfig) -> None:
    """Threads and deterministic algorithms; every random number comes from generators seeded by the config."""
    torch.set_num_threads(int(config.threads))
    torch.use_deterministic_algorithms(True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items()}


def _job_type(config: DictConfig) -> str:
    return "run" if len(config.stages) == len(STAGES) else "+".join(config.stages)


def restore(directory: Path) -> DictConfig:
    """The resolved config of a saved run.

    Raises:
        RunError: not a run directory.
    """
    path = directory / "config.yaml"
    if not path.is_file():
        raise RunError(f"{directory} is not a run directory: it has no config.yaml")
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    return config


def fail(error: Exception) -> NoReturn:
    """Print an error that names its place and fix, without a traceback, and exit with status 1."""
    print(f"\nerror: {error}", file=sys.stderr)
    sys.exit(1)
