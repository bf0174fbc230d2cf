"""A saved Optuna study, and what a directory holds: one run, the runs of a multirun, or the trials of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from xrec.errors import RunError
from xrec.rundir.saved import SavedRun, read_yaml

STUDY_RESULTS = "optimization_results.yaml"
_AGAIN = "run the command of the sweep again; it resumes to the total number of trials"


class Study(NamedTuple):
    """A saved study: what it optimised, its front, and the objectives of every trial that finished.

    `trials` maps trial number to {objective: value}; `unfinished` lists trial directories without objectives.
    """

    name: str
    objectives: list[str]
    directions: list[str]
    front: list[dict[str, Any]]
    trials: dict[int, dict[str, float]]
    unfinished: list[int]


def is_study(directory: Path) -> bool:
    """Whether the directory holds the trials of a study."""
    return (directory / STUDY_RESULTS).is_file() or (directory / "journal.log").is_file()


def runs_in(directory: Path) -> list[Path]:
    """The numbered run directories of a multirun, in order of number; [] where there are none."""
    numbered = [p for p in directory.iterdir() if p.is_dir() and p.name.isdigit()] if directory.is_dir() else []
    return sorted(numbered, key=lambda path: int(path.name))


def read_study(directory: Path) -> Study:
    """A study and the objectives of its trials.

    Raises:
        RunError: optimization_results.yaml is missing or lacks keys, or no trial has objectives.
    """
    path = directory / STUDY_RESULTS
    if not path.is_file():
        raise RunError(f"{path} is missing: the study has not finished; {_AGAIN}")
    saved = read_yaml(path)
    missing = [key for key in ("directions", "objectives", "front") if not isinstance(saved, dict) or key not in saved]
    if missing:
        raise RunError(f"{path} lacks {', '.join(missing)}; {_AGAIN}")
    trials: dict[int, dict[str, float]] = {}
    unfinished: list[int] = []
    for trial in runs_in(directory):
        values = SavedRun(trial).json("objectives.json")
        if isinstance(values, dict) and all(isinstance(values.get(name), int | float) for name in saved["objectives"]):
            trials[int(trial.name)] = {name: float(values[name]) for name in saved["objectives"]}
        else:
            unfinished.append(int(trial.name))
    if not trials:
        raise RunError(f"{directory}: no trial has an objectives.json; {_AGAIN}")
    name = str(saved.get("study_name", directory.name))
    return Study(name, list(saved["objectives"]), list(saved["directions"]), list(saved["front"]), trials, unfinished)
