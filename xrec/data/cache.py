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
from typing import IO, Any
from weakref import WeakValueDictionary

import numpy as np

from xrec.files import DiskError, file_digest, write_bytes
from xrec.processes import is_dead

log = logging.getLogger(__name__)

#: Raised whenever stored arrays change their meaning, so that old entries are never read as new ones. It is part of a
#: data set's fingerprint. Entries that lie on the disk in another way only are found damaged, and built again.
FORMAT = 3

#: bytes at either end of a file of an array that are looked at when it is opened
_END = 2**19
#: seconds
_DAY = 86400.0
#: what reading a damaged file may raise
_DAMAGE = (OSError, EOFError, ValueError, RecursionError)


def digest(key: Any) -> str:
    """sha256 of a JSON-able key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()


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
            if found is None and os.path.lexists(target):
                log.warning("cache entry %s is damaged, or of an older version: it is built again", target)
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
        are no locks, several may build it, which costs time only.

        The empty lock files stay: were one removed, a process that waits for it and one that makes it anew would both
        build.
        """
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
        temporary = Path(tempfile.mkdtemp(prefix=_mine(), dir=self.root))
        try:
            whole = temporary / target.name
            whole.mkdir()
            for key, value in arrays.items():
                with _on_disk(whole / f"{key}.npy") as handle:
                    np.save(handle, value, allow_pickle=False)
            ends = {key: _ends(whole / f"{key}.npy") for key in arrays}
            with _on_disk(whole / "entry.json") as handle:
                handle.write(_sealed({"arrays": ends, "document": document}))
            _flush(whole)
            if os.path.lexists(target) and _read(target) is None:  # moved away in one step, removed below
                with contextlib.suppress(OSError):
                    os.replace(target, temporary / "damaged")
            try:
                os.replace(whole, target)
            except OSError:
                if _read(target) is None:  # else another process was faster: its entry is the same
                    raise
            _flush(self.root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _mine() -> str:
    """How the temporary folders of this process begin."""
    return f".xrec-writes.{socket.gethostname()}.{os.getpid()}."


def _sweep(root: Path) -> None:
    """Remove the temporary folders of processes of this machine that were killed, and those more than a day old."""
    for folder in root.glob(".xrec-writes.*"):
        with contextlib.suppress(OSError, ValueError):
            host, owner, _ = folder.name.removeprefix(".xrec-writes.").rsplit(".", 2)
            killed = is_dead({"host": host, "pid": int(owner)})
            if killed or time.time() - folder.stat().st_mtime > _DAY:
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _on_disk(path: Path) -> Iterator[IO[bytes]]:
    """A new file that is down on the disk when the block ends: no crash leaves a renamed entry with holes."""
    with path.open("wb") as handle:
        yield handle
        handle.flush()
        os.fsync(handle.fileno())


def _flush(folder: Path) -> None:
    """The names in a folder down to the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _ends(path: Path) -> str:
    """Size and sha256 of a file's first and last bytes: all of a file up to 1 MiB, and the header (shape, type) of any.

    It takes milliseconds whatever the size; so a bit that flips in the middle of a large file is not noticed.
    """
    with path.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        found = hashlib.sha256(handle.read(_END))
        handle.seek(max(_END, size - _END))
        found.update(handle.read(_END))
    return f"{size} {found.hexdigest()}"


def _sealed(content: Any) -> bytes:
    """JSON that shows whether it is whole."""
    content = json.loads(json.dumps(content))  # as it will be read
    return json.dumps({"sha256": digest(content), "content": content}).encode()


def _unsealed(path: Path) -> Any:
    """What was `_sealed`.

    Raises:
        OSError, ValueError: it is missing, damaged, or of an older version.
    """
    stored = json.loads(path.read_text())
    if not isinstance(stored, dict) or stored.get("sha256") != digest(stored.get("content")):
        raise ValueError(f"{path} is damaged")
    return stored["content"]


def _read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """A whole entry, its arrays mapped copy-on-write, or None for one that is missing or damaged."""
    try:
        entry = _unsealed(folder / "entry.json")
        paths = {name: folder / f"{name}.npy" for name in entry["arrays"]}
        if any(_ends(paths[name]) != ends for name, ends in entry["arrays"].items()):
            return None
        arrays = {name: np.load(path, mmap_mode="c", allow_pickle=False) for name, path in paths.items()}
    except _DAMAGE:
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
            return _unsealed(self.path)
        except FileNotFoundError:
            return {}
        except _DAMAGE:
            log.warning("%s is damaged, or of an older version: source files are hashed again", self.path)
            return {}

    def _save(self, known: dict[str, str]) -> None:
        with contextlib.suppress(OSError, DiskError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self.path, _sealed(known))


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Log how long a step took, in seconds."""
    start = time.perf_counter()
    yield
    log.info("%s: %.1f s", what, time.perf_counter() - start)
