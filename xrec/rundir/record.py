"""stages.json: what a run began with, which stages are finished, and the sha256 of every file they wrote."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from xrec.errors import RunError
from xrec.files import file_digest
from xrec.plan import CONFIG, PLAN

RECORD = "stages.json"
RESULTS = "results.parquet"


@dataclass
class Record:
    """begun: file -> sha256 of what was written before the first stage. data_sha256: of the data it began with.
    stages: finished stage -> file -> sha256, in the order they were done. results: stage -> sha256 of its rows that
    results.parquet holds, and its own sha256."""

    begun: dict[str, str] = field(default_factory=dict)
    data_sha256: str | None = None
    stages: dict[str, dict[str, str]] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    results_sha256: str | None = None

    def document(self) -> dict[str, Any]:
        """As it is written; a list, since JSON objects keep no order."""
        stages = [{"stage": stage, "files": files} for stage, files in self.stages.items()]
        return {**asdict(self), "stages": stages}

    def refuse_edited(self, directory: Path) -> None:
        """Raises: RunError, when the settings are not those the run began with."""
        if self.begun and _damage(directory, CONFIG, self.begun.get(CONFIG)) is not None:
            raise RunError(
                f"{directory / CONFIG} is missing, or is not the one that this run began with (by {RECORD}): "
                "a run keeps its settings; put the file back as it was, or start a new run with the settings you want"
            )

    def damage(self, directory: Path, stage: str) -> str | None:
        """What is wrong with the files of a finished stage; None: nothing."""
        found = (_damage(directory, name, digest) for name, digest in self.stages[stage].items())
        return next((reason for reason in found if reason is not None), None)

    def to_be_done_again(self, directory: Path) -> dict[str, str]:
        """stage -> why, for finished stages that are damaged or built on one that is."""
        reasons: dict[str, str] = {}
        for stage in (s for s in PLAN if s.name in self.stages):
            below = next((name for name in stage.builds_on if name in reasons), None)
            reason = f"it builds on {below}" if below is not None else self.damage(directory, stage.name)
            if reason is not None:
                reasons[stage.name] = reason
        return reasons

    def digest_of(self, name: str) -> str | None:
        """The sha256 on record of a file by its name in the run directory; None: not on record."""
        if name == RESULTS:
            return self.results_sha256
        return next((files[name] for files in (self.begun, *self.stages.values()) if name in files), None)

    def results_are_whole(self, directory: Path) -> bool:
        """Whether results.parquet is as it was written, and holds the rows of all finished stages as they are."""
        rows = {stage: files.get(f"stages/{stage}.parquet") for stage, files in self.stages.items()}
        return self.results == rows and _damage(directory, RESULTS, self.results_sha256) is None


def read_record(directory: Path) -> Record:
    """The record of a run directory; an empty one where there is none.

    Raises:
        RunError: it is damaged.
    """
    path = directory / RECORD
    if not path.is_file():
        return Record()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(document, dict) and "done" in document:
            raise RunError(f"{directory} was written by an older version of xrec: start a new run")
        values = {f.name: document[f.name] for f in fields(Record)}
        values["stages"] = {str(entry["stage"]): dict(entry["files"]) for entry in values["stages"]}
        record = Record(**values)
        if not all(isinstance(files, dict) for files in (record.begun, record.results)):
            raise TypeError("not a mapping")
        return record
    except RunError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged ({' '.join(str(error).split()) or type(error).__name__}): put it back as it was, or "
            f"delete it, and resume={directory} does every stage again"
        ) from error


def _damage(directory: Path, name: str, digest: str | None) -> str | None:
    path = directory / name
    if not path.is_file():
        return f"{name} is missing"
    return None if file_digest(path) == digest else f"{name} was altered after it was written"
