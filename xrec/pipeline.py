"""The composition root: one run from config to report, top to bottom, one call a stage."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

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
from xrec.files import DiskError
from xrec.memory import TRAINING_COPIES, named_memory_errors
from xrec.models.recommender import Recommender
from xrec.plan import CONFIG, PLAN, STAGES, Stage
from xrec.report.run_tables import RunTables
from xrec.rundir.directory import RunDirectory
from xrec.rundir.saved import SavedRun, read_yaml
from xrec.rundir.table import canonical_hash
from xrec.stages import examine as examining
from xrec.stages.early import checks_given_data, early_checks, refuse
from xrec.stages.environment import describe_environment
from xrec.stages.explain import explain
from xrec.stages.fidelity import fidelity
from xrec.stages.fit import build as build_model
from xrec.stages.fit import fit_model, load_model
from xrec.stages.inherit import check_source, given_overrides, inherit, inherit_settings, refuse_other_data
from xrec.stages.rank import rank
from xrec.stages.report import objectives, report, show
from xrec.stages.run import Done, Run, release_memory
from xrec.stages.settle import settle

log = logging.getLogger(__name__)
#: what each stage does with the model, which is handed to fit unfitted
WORK: dict[str, Callable[[Run, Recommender], Done]] = {
    "fit": fit_model,
    "rank": rank,
    "explain": explain,
    "fidelity": fidelity,
}
LESS_DATA = "take less of it (data.clean.since, data.clean.min_item_users), or make a smaller one"


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
    refuse(early_checks(config))
    _make_repeatable(config)
    with RunDirectory(directory, resume=resume) as store:
        current = _prepare(config, store, source, overrides)
        current.tracker.start(
            store.directory,
            _plain(config),
            store.directory.name,
            group or config.get("experiment", {}).get("name"),
            _job_type(config),
        )
        try:
            reached = _stages(current)
        except BaseException as error:
            current.tracker.finish(failed=True)
            if isinstance(error, DiskError):
                raise DiskError(f"{error}; then go on with resume={directory}") from error
            raise
        current.tracker.finish()
        return reached


def examine(config: DictConfig) -> None:
    """Build the data set, print its data card, and check everything that a run of all stages would (`stages=[]`).

    Raises:
        ProblemsError: all that is wrong.
    """
    _make_repeatable(config)
    examining.examine(config, read_data)


def _stages(current: Run) -> dict[str, float]:
    config, store = current.config, current.store
    todo = [s for s in PLAN if s.name in config.stages and s.name not in store.done()]
    measuring = [s for s in todo if s.name in WORK]
    with threadpool_limits(int(config.threads)):
        if measuring:
            _measure(current, measuring)
            release_memory()  # of the model: the table of results takes its place
        tables = RunTables(SavedRun(store.directory))
        store.environment(results_sha256=canonical_hash(tables.results.frame))
        for stage in todo[len(measuring) :]:  # the report
            _do(current, stage, partial(report, current, tables))
        show(tables)
    return objectives(config, tables.results.frame)


def _measure(current: Run, stages: Sequence[Stage]) -> None:
    """Do the stages that need the model: a new one, to be fitted, or the one that is saved."""
    fits = stages[0].name == "fit"
    model = build_model(current, current.config.model, copies=TRAINING_COPIES) if fits else load_model(current)
    for stage in stages:
        _do(current, stage, partial(WORK[stage.name], current, model))


def _do(current: Run, stage: Stage, do: Callable[[], Done]) -> None:
    """Do one stage and put it on record."""
    current.store.start(stage.name)
    with current.costed(stage.name) as cost, named_memory_errors(f"the stage {stage.name}", stage.lighter):
        done = do()
    current.store.finish(stage.name, [*done.rows, cost], done.files, done.reference)


def _prepare(config: DictConfig, store: RunDirectory, source: Path | None, overrides: Sequence[str]) -> Run:
    cache = ArrayCache(config.paths.cache)
    dataset = read_data(config, cache)
    if source is not None and "fit" not in config.stages:
        refuse_other_data(source, dataset.fingerprint)
    settle(config, dataset)
    current = Run(config, store, instantiate(config.tracking), dataset, cache, torch.device(config.device))
    refuse(checks_given_data(current))
    store.begin(
        OmegaConf.to_yaml(config, resolve=True),
        list(overrides),
        dataset.fingerprint,
        _documents(dataset),
        from_run=str(source) if source else None,
        threads=config.threads,
        **describe_environment(),
    )
    if source is not None:
        inherit(source, store, list(config.stages))
    return current


def read_data(config: DictConfig, cache: ArrayCache | None = None) -> SplitInteractions:
    """The data of a run, clean and split; from the config's cache, or another one. Raises: DataError."""
    with named_memory_errors("reading the data", LESS_DATA):
        return build(
            instantiate(config.data.source),
            instantiate(config.split),
            cache or ArrayCache(config.paths.cache),
            Cleaning(**OmegaConf.to_container(config.data.clean, resolve=True)),  # type: ignore[arg-type]
        )


def _documents(dataset: SplitInteractions) -> dict[str, Any]:
    """data_card.json; folds.parquet and truth.parquet where the split holds entities out or causes are known."""
    tables = {"folds.parquet": dataset.folds(), "truth.parquet": dataset.causes()}
    return {"data_card.json": dataset.card, **{name: columns for name, columns in tables.items() if columns}}


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
    if not (source / CONFIG).is_file():
        raise RunError(f"from_run={source} is not a run directory: it has no config.yaml")
    check_source(source, chosen)
    if "fit" not in chosen:
        taken = inherit_settings(config, restore(source), overrides, given_overrides(source))
        validate_job(config)
        log.info("%s are those of %s", ", ".join(taken), source)
    return source


def _make_repeatable(config: DictConfig) -> None:
    """Threads and deterministic algorithms; every random number comes from generators seeded by the config."""
    torch.set_num_threads(int(config.threads))
    if "torch._inductor.config" in sys.modules:
        torch.use_deterministic_algorithms(True)
    else:  # the same state, but that call imports torch's compiler (2 CPU-s) to set what this variable tells it
        torch.set_deterministic_debug_mode("error")
        os.environ["TORCHINDUCTOR_DETERMINISTIC"] = "1"
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
        RunError: not a run directory, or its config.yaml is not the one that the run began with.
    """
    saved = SavedRun(directory)
    if not saved.has(CONFIG):
        raise RunError(f"{directory} is not a run directory: it has no config.yaml")
    saved.record.refuse_edited(directory)
    config = OmegaConf.create(read_yaml(directory / CONFIG))
    if not isinstance(config, DictConfig) or "stages" not in config:
        raise RunError(f"{directory / CONFIG} is no config of a run: put it back as it was")
    return config
