"""The reading side of a run directory: every file is compared with the record before it is believed, and read once."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from xrec.errors import RunError
from xrec.files import file_digest
from xrec.plan import CONFIG, LOG
from xrec.rundir.record import RECORD, RESULTS, Record, read_record
from xrec.rundir.table import SCHEMA, Results, empty
from xrec.types import Metric

_AGAIN = "finish the run with `python experiments/run.py resume={}`, or start a new one"


class SavedRun:
    """What a run left behind. What is not there is None or empty; what is damaged is an error.

    Raises (each property as it is first read):
        RunError: a file is not what the run wrote, or cannot be read; the message names it.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    @cached_property
    def record(self) -> Record:
        return read_record(self.directory)

    def require(self, name: str) -> Path:
        """The path of a file that is there, whole.

        Raises:
            RunError: it is missing, or is not the one on record.
        """
        path, known = self.directory / name, self.record.digest_of(name)
        if not path.is_file():
            raise RunError(f"{path} is missing: {self._again}")
        if known is not None and file_digest(path) != known:
            raise RunError(
                f"{path} is not what the run wrote (its sha256 is not the one in {RECORD}): it was damaged or altered; "
                f"{self._again}"
            )
        return path

    def check(self) -> None:
        """Compare every file on record with the record.

        Raises:
            RunError: one of them is missing or altered.
        """
        for name in (*self.record.begun, *(n for files in self.record.stages.values() for n in files), RESULTS):
            if self.record.digest_of(name) is not None:
                self.require(name)

    def has(self, name: str) -> bool:
        """Whether there is such a file, or ought to be one."""
        return (self.directory / name).is_file() or self.record.digest_of(name) is not None

    @property
    def _again(self) -> str:
        return _AGAIN.format(self.directory)

    @cached_property
    def stages(self) -> list[str]:
        """Finished stages, in the order they were done."""
        return list(self.record.stages)

    @cached_property
    def results(self) -> Results:
        """The long table, and what its metrics mean. Empty when nothing was measured yet."""
        if not self.has(RESULTS):
            return Results(empty())
        frame = self.table(RESULTS)
        assert frame is not None
        if missing := [name for name in SCHEMA if name not in frame.columns]:
            raise RunError(
                f"{self.directory / RESULTS} lacks the columns {', '.join(missing)}: another version of xrec wrote it; "
                "start a new run"
            )
        try:
            frame = frame.select([pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()])
        except pl.exceptions.PolarsError as error:
            raise RunError(
                f"{self.directory / RESULTS} has columns of other types ({_first_line(error)}): another version of "
                "xrec wrote it; start a new run"
            ) from error
        same = {name: frame[name][0] for name in SCHEMA if frame[name].n_unique() == 1}  # kept once, not in every row
        frame = frame.with_columns([pl.lit(value, SCHEMA[name]).alias(name) for name, value in same.items()])
        broken = frame.filter(pl.col("value").is_null() | ~pl.col("value").is_finite())
        if broken.height:
            where = ", ".join(sorted(set(broken["metric"].to_list())))
            raise RunError(
                f"{self.directory / RESULTS}: {broken.height} values are not finite (metrics: {where}); left-out cases "
                "must have no row"
            )
        return Results(frame, *self._described())

    def _described(self) -> tuple[dict[str, Metric], str | None]:
        metrics: dict[str, Metric] = {}
        reference = None
        for stage in self.stages:
            document = self.json(f"stages/{stage}.json")
            metrics |= {entry["name"]: Metric(**entry) for entry in document["metrics"]}
            reference = document["reference"] or reference
        return metrics, reference

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """The logged lines of metrics.jsonl, in the order they were written; [] when there is no such file.

        A last line cut off by a kill is left out.
        """
        if not self.has(LOG):
            return []
        path = self.require(LOG)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        entries = []
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line) if line.strip() else None
            except json.JSONDecodeError as error:
                if number == len(lines):
                    break
                raise RunError(f"{path}, line {number}: not JSON ({error.msg}); {self._again}") from error
            if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                entries.append(entry)
        return entries

    def table(self, name: str) -> pl.DataFrame | None:
        """A parquet file; None where the run has none."""
        if not self.has(name):
            return None
        path = self.require(name)
        try:
            return pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise RunError(f"{path} is not a whole parquet file ({_first_line(error)}); {self._again}") from error

    def json(self, name: str) -> Any:
        """A JSON file; None where the run has none."""
        if not self.has(name):
            return None
        path = self.require(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{path} is not JSON ({error}); {self._again}") from error

    def yaml(self, name: str) -> Any:
        """A YAML file, plain types only; None where the run has none."""
        return read_yaml(self.require(name)) if self.has(name) else None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config; empty where there is none."""
        config = self.yaml(CONFIG)
        return config if isinstance(config, dict) else {}


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, plain types only.

    Raises:
        RunError: it is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is not YAML ({_first_line(error)}); put it back as it was") from error


def require_directory(directory: Path) -> Path:
    """The directory itself.

    Raises:
        RunError: it does not exist or is a file.
    """
    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        raise RunError(
            f"{directory} {what}; give a run directory (runs/<experiment>/<date_time>), a multirun or a study"
        )
    return directory


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
