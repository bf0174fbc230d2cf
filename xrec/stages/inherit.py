"""What a run takes over from the saved run that stands in for its left-out stages, so that it is whole by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from xrec.config.commandline import parse
from xrec.errors import RunError
from xrec.plan import MEASURING, PLAN
from xrec.rundir.directory import OVERRIDES, RunDirectory
from xrec.rundir.record import read_record
from xrec.rundir.saved import SavedRun, read_yaml

_COMPONENTS = "model.components"


def taken_over(stages: Sequence[str]) -> list[str]:
    """The left-out stages that come before the last chosen one. With `fit` chosen nothing is taken over: what was
    measured of another model says nothing of the new one."""
    if "fit" in stages:
        return []
    order = [stage.name for stage in MEASURING]
    last = max((order.index(s) for s in stages if s in order), default=len(order))
    return [s for s in order[:last] if s not in stages]


def check_source(source: Path, stages: Sequence[str]) -> None:
    """Before anything is made.

    Raises:
        RunError: the saved run has not finished its fit, or a file that would be taken over is missing or altered.
    """
    record = read_record(source)
    taken = taken_over(stages)
    if "fit" in taken and "fit" not in record.stages:
        raise RunError(f"from_run={source} holds no fitted model: its fit is not finished; resume={source} does it")
    for stage in (s for s in taken if s in record.stages):
        if (reason := record.damage(source, stage)) is not None:
            raise RunError(f"from_run={source}: {reason}; resume={source} does its stage {stage} again")


def refuse_other_data(source: Path, fingerprint: str) -> None:
    """Raises: RunError, when the saved run was made on other data or another split."""
    saved = read_record(source).data_sha256
    if saved != fingerprint:
        raise RunError(
            f"from_run={source} was made on other data or another split (sha256 {str(saved)[:12]}..., now "
            f"{fingerprint[:12]}...): use the same data and split settings"
        )


def inherit(source: Path, store: RunDirectory, stages: Sequence[str]) -> None:
    """Take stages over from the saved run, as far as it has them."""
    store.adopt(source, [s for s in taken_over(stages) if s not in store.done()])
    if "fit" in taken_over(stages):
        described = SavedRun(store.directory).json("model.json")  # on record, so whole
        store.environment(weights_sha256=described["weights_sha256"])


def given_overrides(source: Path) -> list[str]:
    """The overrides that a saved run was given."""
    path = source / OVERRIDES
    return list(read_yaml(path) or ()) if path.is_file() else []


def inherit_settings(
    config: DictConfig, saved: DictConfig, overrides: Sequence[str], given: Sequence[str] = ()
) -> list[str]:
    """Make the settings of left-out stages in `config` those of the saved run; the names of these settings.

    Args:
        given: the overrides that the saved run was given; what they left to the data is settled there, so the same ones
            agree with it.
    Raises:
        RunError: some overrides ask for other values than the saved run has.
    """
    overrides = [override for override in overrides if override not in given]
    taken = [name for stage in PLAN if stage.name not in config.stages for name in stage.settings]
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
            mine, theirs = (OmegaConf.to_container(c, resolve=True) for c in (config, saved))
            places = [p for p in _places(path) if _at(mine, p) is not None or _at(theirs, p) is not None]
            lines = [line for p in places[:1] for line in _differences(_asked(mine, p), _asked(theirs, p), p)]
            found += [f"{override.input_line} ({line})" for line in lines[:1]]
    return found


def _places(path: str) -> list[str]:
    """Where in a config an override of this path may show, nearest first: components are chosen by groups beside
    them (`model/attention`, `model/wide`)."""
    inner = path.removeprefix("model.")
    return [path] if inner == path else [path, f"model.components.{inner}", _COMPONENTS]


def _asked(config: Any, path: str) -> Any:
    """What is there; of all components their names, since a group of some of them says nothing of the others."""
    there = _at(config, path)
    return list(there) if path == _COMPONENTS and isinstance(there, dict) else there


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _differences(mine: Any, theirs: Any, path: str) -> list[str]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        names = {**mine, **theirs}
        return [d for n in names for d in _differences(mine.get(n), theirs.get(n), f"{path}.{n}")]
    return [] if mine == theirs else [f"{path} is {json.dumps(theirs)} there, not {json.dumps(mine)}"]
