"""A run on disk: config, environment, metrics, results; every file whole or not there."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xrec.errors import RunError
from xrec.files import write_json, write_text

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_CBWR",
    "ATEN_CPU_CAPABILITY",
    "PYTHONHASHSEED",
)
PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "polars",
    "shap",
    "captum",
    "numba",
    "hydra-core",
    "omegaconf",
    "optuna",
    "wandb",
    "safetensors",
)


class RunStore:
    """One run's directory.

    Args:
        directory: made when missing.
        resume: go on with a run that is there; without it a directory that already holds a run is refused.
    Raises:
        RunError: not writable, or holds another run.
    """

    def __init__(self, directory: str | Path, *, resume: bool = False) -> None:
        self.directory = Path(directory)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            probe = self.directory / f".probe.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise RunError(
                f"run directory {self.directory} cannot be written ({error.strerror}): set paths.runs or XREC_RUNS"
            ) from error
        if (self.directory / "config.yaml").exists() and not resume:
            raise RunError(
                f"{self.directory} already holds a run: finish it with resume={self.directory}, or choose "
                "another directory"
            )

    def path(self, name: str) -> Path:
        return self.directory / name

    def write_config(self, config: str, overrides: Sequence[str]) -> None:
        """The resolved config, and what was asked for."""
        write_text(self.path("config.yaml"), config)
        write_text(self.path("overrides.yaml"), "".join(f"- {json.dumps(o)}\n" for o in overrides) or "[]\n")

    def log(self, row: Mapping[str, float]) -> None:
        """Append one line to metrics.jsonl, flushed."""
        with self.path("metrics.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(dict(row)) + "\n")

    def trim_log(self, epochs: int) -> None:
        """Drop the lines of epochs after `epochs`, which a resumed run will write again, and a torn last line."""
        path = self.path("metrics.jsonl")
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

    def done(self) -> list[str]:
        """Stages that are finished, in order."""
        path = self.path("stages.json")
        return json.loads(path.read_text())["done"] if path.is_file() else []

    def mark_done(self, stage: str) -> None:
        write_json(self.path("stages.json"), {"done": [*(s for s in self.done() if s != stage), stage]})

    def environment(self, **facts: Any) -> None:
        """Write or extend environment.json."""
        path = self.path("environment.json")
        known = json.loads(path.read_text()) if path.is_file() else {}
        write_json(path, known | facts)


def describe_environment() -> dict[str, Any]:
    """Commit, dirty diff, versions, threads, CPU capability: what a rerun compares."""
    import importlib.metadata as metadata

    import torch

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty_diff": _git("diff", "HEAD"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch_threads": torch.get_num_threads(),
        "variables": {k: os.environ.get(k) for k in THREAD_VARIABLES},
        "packages": versions,
    }


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).resolve().parent
    try:
        command = ["git", "-C", str(folder), *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
