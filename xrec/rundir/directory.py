"""The writing side of a run directory: one process at a time, every file whole or not there, finished stages on record.

stages.json is the record: what the run began with, and for each finished stage the sha256 of every file it wrote. A
stage whose files are missing or altered is a stage to be done again, and so are those that build on it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from xrec.errors import RunError
from xrec.files import file_digest, whole_file, write_json, write_text, written
from xrec.plan import CONFIG, LOG, PLAN
from xrec.processes import alone
from xrec.rundir.record import RECORD, RESULTS, Record, read_record
from xrec.rundir.table import Rows, empty, write_rows

log = logging.getLogger(__name__)

OVERRIDES = "overrides.yaml"
ENVIRONMENT = "environment.json"
#: where each stage's own rows lie, and what its metrics mean
STAGE_TABLES = "stages"
LOCK = ".lock"


class RunDirectory:
    """One run's directory, held alone from `with` to its end; a new one that nothing was begun in is removed again.

    Args:
        directory: made when missing.
        resume: go on with the run that is there; without it a directory that already holds a run is refused.

    Raises:
        RunError: not writable, holds another run, or its record is damaged.
        BusyError: another process works in it.
    """

    def __init__(self, directory: str | Path, *, resume: bool = False) -> None:
        self.directory = Path(directory)
        self._resume = resume
        self._record = Record()
        self._stale: set[str] = set()
        self._documents: tuple[str, ...] = ()

    def __enter__(self) -> RunDirectory:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            probe = self.path(f".probe.{os.getpid()}")
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise RunError(
                f"run directory {self.directory} cannot be written ({error.strerror}): set paths.runs or XREC_RUNS"
            ) from error
        with contextlib.ExitStack() as stack:
            stack.enter_context(alone(self.path(LOCK), f"run directory {self.directory}"))
            if {p.name for p in self.directory.iterdir()} <= {LOCK}:
                stack.callback(self._remove_unbegun)
            self._open()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._stack.close()

    def _open(self) -> None:
        if self.path(CONFIG).exists() and not self._resume:
            raise RunError(
                f"{self.directory} already holds a run: finish it with resume={self.directory}, or choose "
                "another directory"
            )
        for leftover in self.directory.glob("**/.*.tmp"):  # of a process that was killed; nobody else is in here
            leftover.unlink(missing_ok=True)
        self._record = read_record(self.directory)
        self._record.refuse_edited(self.directory)
        for stage, reason in self._record.to_be_done_again(self.directory).items():
            log.warning("%s: %s; stage %s is done again", self.directory, reason, stage)
            del self._record.stages[stage]
            self._stale.add(stage)
        if (self.done() or self._record.results) and not self._record.results_are_whole(self.directory):
            log.warning("%s: %s was not whole; it is put together again", self.directory, RESULTS)
            self._write_results()

    def _remove_unbegun(self) -> None:
        """A new directory in which nothing was begun goes again. What is not ours stays, and the directory with it."""
        if not self.path(CONFIG).exists():
            for name in (LOCK, ENVIRONMENT, OVERRIDES, RECORD, *self._documents):
                self.path(name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.directory.rmdir()

    def path(self, name: str) -> Path:
        return self.directory / name

    # the beginning

    def begin(
        self, config: str, overrides: Sequence[str], data_sha256: str, documents: Mapping[str, Any], **facts: Any
    ) -> None:
        """Write config.yaml (once: a resumed run keeps its own), overrides.yaml, environment.json with `facts`, and
        `documents`: .json from plain values, .parquet from columns.

        Raises:
            RunError: a resumed run began with other data.
        """
        saved = self._record.data_sha256
        if saved is not None and saved != data_sha256:
            raise RunError(
                f"{self.directory} was begun with other data (sha256 {saved[:12]}..., now {data_sha256[:12]}...): "
                "bring that data back, or start a new run"
            )
        self._documents = tuple(documents)
        for name, content in documents.items():
            if name.endswith(".json"):
                write_json(self.path(name), content)
            else:
                with whole_file(self.path(name)) as temporary:
                    pl.DataFrame(content).write_parquet(temporary)
        if not self.path(OVERRIDES).exists():
            write_text(self.path(OVERRIDES), "".join(f"- {json.dumps(o)}\n" for o in overrides) or "[]\n")
        self.environment(data_sha256=data_sha256, **facts)
        if not self.path(CONFIG).exists():
            write_text(self.path(CONFIG), config)
        names = [CONFIG, OVERRIDES, *documents]
        self._record.begun = {name: file_digest(self.path(name)) for name in names}
        self._record.data_sha256 = data_sha256
        self._save_record()

    def environment(self, **facts: Any) -> None:
        """Write or extend environment.json; a damaged one is written anew."""
        path = self.path(ENVIRONMENT)
        known: Any = {}
        if path.is_file():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                log.warning("%s was damaged: it is written anew", path)
        facts = (known if isinstance(known, dict) else {}) | facts
        write_json(path, dict(sorted(facts.items())))

    # the log of a fit

    def log(self, row: Mapping[str, float]) -> None:
        """Append one line to metrics.jsonl, flushed."""
        path = self.path(LOG)
        with written(path), path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(dict(row)) + "\n")

    def trim_log(self, epochs: int) -> None:
        """Drop the lines of epochs after `epochs`, which a resumed run will write again, and a torn last line."""
        path = self.path(LOG)
        if not path.is_file():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line).get("epoch", 0) <= epochs:
                    kept.append(line)
            except ValueError:
                continue
        write_text(path, "".join(f"{line}\n" for line in kept))

    # stages

    def done(self) -> list[str]:
        """Stages that are finished and whole, in the order they were done."""
        return list(self._record.stages)

    def start(self, stage: str) -> None:
        """Before a stage is done. One that is done again because its files were damaged starts from nothing."""
        if stage in self._stale:
            for name in next(s.unfinished for s in PLAN if s.name == stage):
                path = self.path(name)
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def finish(self, stage: str, rows: Sequence[Rows], files: Sequence[str], reference: str | None = None) -> None:
        """Put a stage on record: its rows (the whole results table is written once), and the files it wrote."""
        self.path(STAGE_TABLES).mkdir(exist_ok=True)
        table, described = f"{STAGE_TABLES}/{stage}.parquet", f"{STAGE_TABLES}/{stage}.json"
        with whole_file(self.path(table)) as temporary:
            write_rows(temporary, rows)
        metrics = {name: asdict(metric) for r in rows for name, metric in r.metrics.items()}
        write_json(self.path(described), {"metrics": list(metrics.values()), "reference": reference})
        names = [table, described, *(name for name in files if self.path(name).is_file())]
        self._record.stages.pop(stage, None)
        self._record.stages[stage] = {name: file_digest(self.path(name)) for name in names}
        self._write_results()

    def _write_results(self) -> None:
        """results.parquet, the rows of all finished stages; then the record, which says so."""
        with whole_file(self.path(RESULTS)) as temporary:
            self._stage_tables().sink_parquet(temporary)
        self._record.results = {s: self._record.stages[s][f"{STAGE_TABLES}/{s}.parquet"] for s in self.done()}
        self._record.results_sha256 = file_digest(self.path(RESULTS))
        self._save_record()

    def results(self) -> pl.DataFrame:
        """The rows of all finished stages."""
        return self._stage_tables().collect()

    def _stage_tables(self) -> pl.LazyFrame:
        tables = [pl.scan_parquet(self.path(f"{STAGE_TABLES}/{stage}.parquet")) for stage in self.done()]
        return pl.concat([empty().lazy(), *tables])

    def adopt(self, source: Path, stages: Sequence[str]) -> None:
        """Take finished stages over from another run, with their files and rows.

        Raises:
            RunError: the source has not finished one of them, or a file of it is missing or altered.
        """
        record = read_record(source)
        for stage in stages:
            if stage not in record.stages:
                continue
            if (reason := record.damage(source, stage)) is not None:
                raise RunError(f"{source}: {reason}; resume={source} does stage {stage} again")
            for name in record.stages[stage]:
                self.path(name).parent.mkdir(exist_ok=True)
                with whole_file(self.path(name)) as temporary:
                    shutil.copyfile(source / name, temporary)
            self._record.stages[stage] = dict(record.stages[stage])
        self._write_results()

    def _save_record(self) -> None:
        write_json(self.path(RECORD), self._record.document())
