"""What can be refused before anything is fitted or written, so that a mistake costs seconds and leaves nothing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from omegaconf import DictConfig

from xrec.config.capabilities import unmet_requires
from xrec.config.instantiate import instantiate
from xrec.config.schema import ConfigError
from xrec.errors import RunError
from xrec.memory import TRAINING_COPIES
from xrec.plan import PLAN
from xrec.stages.cases import check_cases
from xrec.stages.fit import build
from xrec.stages.parts import check_parts
from xrec.stages.rank import check_groups
from xrec.stages.run import Run
from xrec.tracking.tracker import Tracker


def refuse_early(config: DictConfig) -> None:
    """Refuse a device that is not there, a tracker that cannot start, and arguments that an option does not take.

    The options are built for what their constructors say, and thrown away: a stage would do so hours later.

    Raises:
        RunError: no such device. SettingError, DataError: whatever one of them refuses.
    """
    _check_device(str(config.device))
    tracker: Tracker = instantiate(config.tracking)
    tracker.check()
    instantiate(config.data.source)
    instantiate(config.split)
    for node in dict.fromkeys(name for stage in PLAN if stage.name in config.stages for name in stage.nodes):
        _build(config.get(node) or {})


def refuse_given_data(run: Run) -> None:
    """Refuse what only the data tells: models are built and thrown away, for sizes that do not fit into memory or that
    they do not take, and for what they are able to; parts must be there, groups and cases must not be empty. Stages
    that are done are not asked.

    Raises:
        SettingError: a model. RunError: a part, a group or the cases. ConfigError: an option needs what the model
            cannot do.
    """
    todo = [stage for stage in run.config.stages if stage not in run.store.done()]
    check_parts(run, todo)
    if "rank" in todo:
        check_groups(run)
        for name, node in (run.config.get("baselines") or {}).items():
            build(run, node, f"baselines.{name}")
    if "explain" in todo:
        check_cases(run)
    if set(todo) - {"report"}:
        model = build(run, run.config.model, copies=TRAINING_COPIES if "fit" in todo else 1)
        if errors := unmet_requires(run.config, model.capabilities.names()):
            raise ConfigError(errors)


def _build(node: Mapping[str, object]) -> None:
    """What a node describes, or each of its entries."""
    for entry in [node] if "_target_" in node else node.values():
        instantiate(entry)


def _check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise RunError(f"device={device}: this machine or this build of torch has no CUDA; use device=cpu")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise RunError(f"device={device}: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise RunError(f"device={device}: this machine or this build of torch has no MPS; use device=cpu")
