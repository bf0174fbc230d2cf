"""Content-addressed arrays on disk: written to a temporary name and renamed when whole, read memory-mapped.

A cache that cannot be written (read-only, full disk) costs speed, never a number: the value is computed and a
warning says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import psutil

log = logging.getLogger(__name__)

#: Raised whenever stored arrays change their meaning, so that old entries are never read as new ones.
FORMAT = 2


def digest(key: Any) -> str:
    """sha256 of a JSON-able key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class ArrayCache:
    """Named folders of arrays, keyed by everything that shaped them.

    Args:
        root: folder of the cache; it is made when first written to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._open: WeakValueDictionary[Path, np.ndarray] = WeakValueDictionary()

    def array(self, name: str, key: dict[str, Any], build: Callable[[], np.ndarray]) -> np.ndarray:
        """The array stored under (name, key), memory-mapped; `build()` makes it when it is not there. Not to be written
        to: all who ask for it share one mapping."""
        target = self._target(name, key)
        found = self._open.get(target)
        if found is None:
            found = self.folder(name, key, lambda: ({"array": build()}, {}))[0]["array"]
            self._open[target] = found
        return found

    def folder(
        self, name: str, key: dict[str, Any], build: Callable[[], tuple[dict[str, np.ndarray], dict[str, Any]]]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Several arrays and a JSON document stored together."""
        target = self._target(name, key)
        found = _read(target)
        if found is not None:
            return found
        with self._alone(target):
            found = _read(target)  # another process may have built it meanwhile
            return found if found is not None else self._build(target, build)

    def _build(
        self, target: Path, build: Callable[[], tuple[dict[str, np.ndarray], dict[str, Any]]]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, document = build()
        try:
            self._write(target, arrays, document)
        except OSError as error:
            log.warning(
                "cache %s cannot be written (%s): going on without it; set paths.cache to a writable folder",
                self.root,
                error,
            )
            return arrays, document
        stored = _read(target)
        return stored if stored is not None else (arrays, document)

    @contextlib.contextmanager
    def _alone(self, target: Path) -> Iterator[None]:
        """One process at a time builds an entry; the system lets go of the lock of a process that dies. Where there
        are no locks, several may build it, which costs time only."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError, ImportError):
                import fcntl

                self.root.mkdir(parents=True, exist_ok=True)
                handle = stack.enter_context((self.root / f"{target.name}.lock").open("w"))
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    log.info("another process is building %s: waiting for it", target.name)
                    fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _target(self, name: str, key: dict[str, Any]) -> Path:
        return self.root / f"{name}-{digest([FORMAT, key])[:24]}"

    def _write(self, target: Path, arrays: dict[str, np.ndarray], document: dict[str, Any]) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        _sweep(self.root)
        temporary = Path(tempfile.mkdtemp(prefix=f"{_mine()}{target.name}.", dir=self.root))
        try:
            for key, value in arrays.items():
                np.save(temporary / f"{key}.npy", value, allow_pickle=False)
            entry = {"arrays": sorted(arrays), "document": document}
            (temporary / "entry.json").write_text(json.dumps(entry))
            if target.exists() and _read(target) is None:  # torn: moved away in one step, then removed
                with contextlib.suppress(OSError):
                    os.replace(target, temporary / "torn")
            with contextlib.suppress(OSError):  # another process was faster: its entry is the same
                os.replace(temporary, target)
                shutil.rmtree(target / "torn", ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _mine() -> str:
    """How the temporary folders of this process begin."""
    return f".{socket.gethostname()}.{os.getpid()}."


def _sweep(root: Path) -> None:
    """Remove the temporary folders of processes of this machine that were killed."""
    for folder in root.glob(f".{socket.gethostname()}.*"):
        owner = folder.name.removeprefix(f".{socket.gethostname()}.").split(".")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """A whole entry, or None for one that is missing or torn."""
    try:
        entry = json.loads((folder / "entry.json").read_text())
        arrays = {k: np.load(folder / f"{k}.npy", mmap_mode="c", allow_pickle=False) for k in entry["arrays"]}
    except (OSError, EOFError, ValueError, KeyError):
        return None
    return arrays, entry["document"]


class SourceDigests:
    """sha256 of source files, remembered by (path, size, modification time) so that a large file is hashed once."""

    def __init__(self, root: str | Path) -> None:
        self.path = Path(root) / "source-digests.json"

    def of(self, files: list[Path]) -> list[str]:
        known = self._load()
        digests = []
        for file in files:
            stat = file.stat()
            key = f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
            if key not in known:
                known[key] = file_digest(file)
                self._save(known)
            digests.append(known[key])
        return digests

    def _load(self) -> dict[str, str]:
        try:
            return json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}

    def _save(self, known: dict[str, str]) -> None:
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            temporary.write_text(json.dumps(known))
            os.replace(temporary, self.path)


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Log how long a step took, in seconds."""
    start = time.perf_counter()
    yield
    log.info("%s: %.1f s", what, time.perf_counter() - start)
