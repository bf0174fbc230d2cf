"""What can be refused before anything is fitted or written, so that a mistake costs seconds and leaves nothing.

Each check stands alone and raises a `UserError`: a run stops at the first, `stages=[]` lists what all of them say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from xrec.config.capabilities import capabilities_of, unmet_requires
from xrec.config.instantiate import instantiate
from xrec.config.schema import ConfigError
from xrec.data.split.settling import at_once
from xrec.errors import RunError
from xrec.memory import TRAINING_COPIES
from xrec.plan import PLAN
from xrec.stages.cases import check_cases, check_game
from xrec.stages.fit import build, objective, training_settings
from xrec.stages.parts import check_parts
from xrec.stages.rank import NO_COLD, check_groups
from xrec.stages.run import Run

Check = Callable[[], object]
#: what a training builds without data
_OF_TRAINING = ("training.learning_rate_schedule", "loss.reconstruction", "loss.schedules", "loss.terms")


def refuse(checks: Iterable[Check]) -> None:
    """Do the checks one after the other; the first that fails raises."""
    for check in checks:
        check()


def early_checks(config: DictConfig) -> Iterator[Check]:
    """What needs no data: a device that is not there, a tracker that cannot start, cold items that the split does not
    hold out, and arguments that an option does not take.

    The options are built for what their constructors say, and thrown away: a stage would do so hours later.
    """
    yield lambda: _check_device(str(config.device))
    yield lambda: instantiate(config.tracking).check()
    yield lambda: instantiate(config.data.source)
    yield lambda: _check_split(config)
    nodes = dict.fromkeys(name for stage in PLAN if stage.name in config.stages for name in stage.nodes)
    for node in (*nodes, *(_OF_TRAINING if "fit" in config.stages else ())):
        yield from _building(OmegaConf.select(config, node) or {})


def checks_given_data(run: Run) -> Iterator[Check]:
    """What only the data tells: models are built and thrown away, for sizes that do not fit into memory or that they do
    not take, and for what they are able to; parts must be there, groups, cases and training windows must not be empty.
    Stages that are done are not asked."""
    todo = [stage for stage in run.config.stages if stage not in run.store.done()]
    yield lambda: check_parts(run, todo)
    if "rank" in todo:
        yield lambda: check_groups(run)
        for name, node in (run.config.get("baselines") or {}).items():
            yield partial(_check_baseline, run, name, node)
    if "explain" in todo:
        yield lambda: check_game(run)
        yield lambda: check_cases(run)
    if "fit" in todo and "trainable" in (capabilities_of(run.config) or ()):
        yield lambda: training_settings(run.config).make_examples(run.dataset)
    if set(todo) - {"report"}:
        yield lambda: _check_model(run, todo)


def _check_model(run: Run, todo: list[str]) -> None:
    """Its sizes, what the options need of it, and whether its loss terms have weights."""
    fits = "fit" in todo
    model = build(run, run.config.model, copies=TRAINING_COPIES if fits else 1)
    if errors := unmet_requires(run.config, model.capabilities.names()):
        raise ConfigError(errors)
    if fits and model.capabilities.trainable:
        objective(run).check(model)
        training_settings(run.config).check(model)


def _check_baseline(run: Run, name: str, node: DictConfig) -> None:
    """Its sizes, and that nothing of it is left untrained; one of the model's name is the model."""
    trainable = build(run, node, f"baselines.{name}").capabilities.trainable
    if trainable and node.name != run.config.model.name:
        raise RunError(
            f"baselines.{name}: the model {node.name} is trained, and baselines are fitted only; make it a run of its "
            "own, and put the two side by side with scripts/compare.py"
        )


def _check_split(config: DictConfig) -> None:
    split = instantiate(config.split)
    known = at_once(split) or split
    if getattr(known, "cold_items", None) is not False:
        return
    if "rank" in config.stages and "cold" in config.ranking.groups:
        raise RunError(NO_COLD.format(known.name))
    if "fit" in config.stages and str(config.get("training", {}).get("monitor")).endswith("/cold"):
        raise RunError(f"training.monitor names cold, but split {known.name} has no cold items; use split=cold_item")


def _building(node: Mapping[str, Any]) -> Iterator[Check]:
    """What a node describes, or each of its entries."""
    for entry in [node] if "_target_" in node else node.values():
        yield partial(instantiate, entry)


def _check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise RunError(f"device={device}: this machine or this build of torch has no CUDA; use device=cpu")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise RunError(f"device={device}: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise RunError(f"device={device}: this machine or this build of torch has no MPS; use device=cpu")
