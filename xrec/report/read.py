"""Reads the files of a run or study directory, and says what is wrong with them in words that help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from xrec.errors import UserError

TEXT_COLUMNS = (
    "data", "split", "part", "model", "stage", "group", "explainer", "masker", "players", "output", "metric", "user",
    "item",
)  # fmt: skip
RESULT_SCHEMA: dict[str, Any] = {
    **dict.fromkeys(TEXT_COLUMNS, pl.String),
    "fold": pl.Int64,
    "seed": pl.Int64,
    "k": pl.Int64,
    "step": pl.Float64,
    "value": pl.Float64,
}
RESUME = "finish it with `python experiments/run.py resume={}`, or start a new run"


class ReportError(UserError):
    """A saved run that cannot be read: names the file and what to do about it."""


class Study(NamedTuple):
    """A saved Optuna study: what it optimised, its front, and the objectives of every trial that finished.

    `trials` maps trial number to {objective: value}; `unfinished` lists trial directories without objectives.
    """

    name: str
    objectives: list[str]
    directions: list[str]
    front: list[dict[str, Any]]
    trials: dict[int, dict[str, float]]
    unfinished: list[int]


def require_directory(directory: Path) -> Path:
    """The directory itself.

    Raises:
        ReportError: it does not exist or is a file.
    """
    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        raise ReportError(
            f"{directory} {what}; give a run directory (runs/<experiment>/<date_time>) or a study (runs/<study>)"
        )
    return directory


def empty_results() -> pl.DataFrame:
    """A results table without rows, for runs that saved none."""
    return pl.DataFrame(schema=RESULT_SCHEMA)


def read_results(run: Path) -> pl.DataFrame:
    """The long table of a run, columns typed.

    Raises:
        ReportError: results.parquet is missing, unreadable, lacks columns, or holds values that are not finite.
    """
    path = run / "results.parquet"
    if not path.is_file():
        raise ReportError(f"{path} is missing: the run has not saved results; {RESUME.format(run)}")
    frame = _parquet(path, run)
    missing = [name for name in RESULT_SCHEMA if name not in frame.columns]
    if missing:
        raise ReportError(
            f"{path} lacks the columns {', '.join(missing)}: another version of xrec wrote it; start a new run"
        )
    frame = frame.select([pl.col(name).cast(dtype) for name, dtype in RESULT_SCHEMA.items()])
    broken = frame.filter(pl.col("value").is_null() | ~pl.col("value").is_finite())
    if broken.height:
        where = ", ".join(sorted({f"{m}" for m in broken["metric"].to_list()}))
        raise ReportError(
            f"{path}: {broken.height} values are not finite (metrics: {where}); left-out cases must have no row"
        )
    return frame


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The logged steps of metrics.jsonl in order of step, one dictionary a step; [] when the file is not there.

    A resumed run logs some steps twice: the later line wins. A last line cut off by a kill is left out.

    Raises:
        ReportError: a line before the last is not JSON.
    """
    path = run / "metrics.jsonl"
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    steps: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise ReportError(
                f"{path}, line {number}: not JSON ({error.msg}); remove the line or {RESUME.format(run)}"
            ) from error
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            steps.setdefault(entry["step"], {}).update(entry)
    return [steps[step] for step in sorted(steps)]


def scan_table(run: Path, name: str) -> pl.LazyFrame | None:
    """cases.parquet or attributions.parquet, lazily (attributions are long); None when the file is not there.

    Raises:
        ReportError: the file is not parquet.
    """
    path = run / name
    if not path.is_file():
        return None
    try:
        frame = pl.scan_parquet(path)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _broken(path, run, error) from error
    return frame


def read_json(path: Path) -> Any:
    """The content of a JSON file; None when it is not there.

    Raises:
        ReportError: it is not JSON.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReportError(f"{path} is not JSON ({error}); delete it and {RESUME.format(path.parent)}") from error


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, plain types only; None when it is not there.

    Raises:
        ReportError: it is not YAML.
    """
    if not path.is_file():
        return None
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReportError(
            f"{path} is not YAML ({str(error).splitlines()[0]}); restore it or {RESUME.format(path.parent)}"
        ) from error


def is_study(directory: Path) -> bool:
    """Whether the directory holds the trials of a study rather than one run."""
    return (directory / "optimization_results.yaml").is_file() or any(_trial_directories(directory))


def read_study(directory: Path) -> Study:
    """A study and the objectives of its trials.

    Raises:
        ReportError: optimization_results.yaml is missing or lacks keys, or no trial has objectives.
    """
    path = directory / "optimization_results.yaml"
    saved = read_yaml(path)
    again = "run the command of the sweep again; it resumes to the total number of trials"
    if saved is None:
        raise ReportError(f"{path} is missing: the study has not finished; {again}")
    missing = [key for key in ("directions", "objectives", "front") if not isinstance(saved, dict) or key not in saved]
    if missing:
        raise ReportError(f"{path} lacks {', '.join(missing)}; {again}")
    trials: dict[int, dict[str, float]] = {}
    unfinished: list[int] = []
    for trial in sorted(_trial_directories(directory), key=lambda path: int(path.name)):
        values = read_json(trial / "objectives.json")
        if isinstance(values, dict) and all(isinstance(values.get(name), int | float) for name in saved["objectives"]):
            trials[int(trial.name)] = {name: float(values[name]) for name in saved["objectives"]}
        else:
            unfinished.append(int(trial.name))
    if not trials:
        raise ReportError(f"{directory}: no trial has an objectives.json; {again}")
    name = str(saved.get("study_name", directory.name))
    return Study(name, list(saved["objectives"]), list(saved["directions"]), list(saved["front"]), trials, unfinished)


def _trial_directories(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_dir() and path.name.isdigit()] if directory.is_dir() else []


def _parquet(path: Path, run: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _broken(path, run, error) from error


def _broken(path: Path, run: Path, error: Exception) -> ReportError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ReportError(f"{path} is not a whole parquet file ({first}); delete it and {RESUME.format(run)}")
