"""Directories that the config names: a run to resume or read from, and the place where runs are written."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xrec.plan import CONFIG


def run_directory_error(key: str, directory: object) -> str | None:
    """Why `directory` cannot be a saved run, or None."""
    path = Path(str(directory))
    if path.is_dir() and (path / CONFIG).is_file():
        return None
    why = "has no config.yaml" if path.is_dir() else "is no directory"
    return f"{key}: got {str(directory)!r}, which {why}; takes a run directory, such as runs/quickstart/<date_time>"


def unwritable_error(key: str, directory: object, fix: str) -> str | None:
    """Why nothing can be written under a directory, which may have to be made first, or None. Makes nothing."""
    path = Path(str(directory)).absolute()
    there = next(p for p in (path, *path.parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            return None
    except OSError as error:
        reason = error.strerror or str(error)
        return f"{key}: got {str(directory)!r}, which cannot be written to ({there}: {reason}); {fix}"


def directory_errors(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with `from_run` and `paths.runs` of a composed, resolved config."""
    from_run, folders = config.get("from_run"), config.get("paths")
    found = [run_directory_error("from_run", from_run)] if isinstance(from_run, str) else []
    root = folders.get("runs") if isinstance(folders, Mapping) else None
    if isinstance(root, str):
        found.append(unwritable_error("paths.runs", root, "set paths.runs, or XREC_RUNS"))
    return [error for error in found if error is not None]
