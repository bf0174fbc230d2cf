"""Commit, versions, threads, CPU: what a run ran in, so that a rerun can be compared with it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

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
