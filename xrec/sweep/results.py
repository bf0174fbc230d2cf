"""What a sweep found: `optimization_results.yaml`, and a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xrec.files import write_text
from xrec.sweep.space import Space
from xrec.sweep.trials import DIRECTORY, counts

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

RESULTS = "optimization_results.yaml"

_HEADER = """\
# The front: trials that no other trial beats in every objective (with one objective: the best trial).
# Directories are relative to this file.
"""


def results(study: Study, space: Space, objectives: Sequence[str]) -> dict[str, Any]:
    """The contents of optimization_results.yaml; the front is sorted by the first objective, best first."""
    return {
        "study_name": study.study_name,
        "directions": [d.name.lower() for d in study.directions],
        "objectives": list(objectives),
        "n_trials": {f.value: n for f, n in counts(study).items()},
        "front": [_entry(trial, space, objectives) for trial in front(study)],
    }


def front(study: Study) -> list[FrozenTrial]:
    """The Pareto front, or the best trial; empty as long as no trial is complete."""
    from optuna.study import StudyDirection

    if not study.get_trials(deepcopy=False, states=_complete()):
        return []
    trials = [study.best_trial] if len(study.directions) == 1 else study.best_trials
    sign = -1.0 if study.directions[0] == StudyDirection.MAXIMIZE else 1.0
    return sorted(trials, key=lambda t: (sign * t.values[0], t.number))


def write_results(content: dict[str, Any], sweep_dir: Path) -> Path:
    """Writes the file whole or not at all, so that a reader never sees half of it."""
    from omegaconf import OmegaConf

    path = sweep_dir / RESULTS
    write_text(path, _HEADER + OmegaConf.to_yaml(OmegaConf.create(content)))
    return path


def table(content: dict[str, Any], sweep_dir: Path) -> str:
    """The front as text, one trial a line."""
    if not content["front"]:
        return "no trial has finished with a result"
    first = content["front"][0]
    rows = [["trial", *first["values"], *first["params"], "directory"]]
    for entry in content["front"]:
        cells = [*entry["values"].values(), *entry["params"].values()]
        rows.append([str(entry["number"]), *map(_cell, cells), str(sweep_dir / entry["directory"])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _entry(trial: FrozenTrial, space: Space, objectives: Sequence[str]) -> dict[str, Any]:
    return {
        "number": trial.number,
        "values": dict(zip(objectives, trial.values, strict=True)),
        "params": dict(space.values(trial.params)),
        "directory": trial.user_attrs.get(DIRECTORY, str(trial.number)),
    }


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _complete() -> tuple[Any, ...]:
    from optuna.trial import TrialState

    return (TrialState.COMPLETE,)
