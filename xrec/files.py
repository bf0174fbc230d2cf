"""Files that are whole or not there, and what says so. Imports nothing of xrec but its errors."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xrec.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: how the system says it, for writers that turn its errors into their own (parquet, safetensors)
_FULL_WORDS = tuple(os.strerror(number) for number in _FULL)


class DiskError(UserError):
    """A file that cannot be written; the message names it and what to do."""


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """What fails in here for want of room or of a right to write is a `DiskError` that names `path`."""
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise DiskError(f"{path} cannot be written ({reason}): free some space, or write elsewhere") from error


def _reason(error: Exception) -> str | None:
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return error.strerror or str(error)
    return next((words for words in _FULL_WORDS if words in str(error)), None)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that is renamed to it when the block ends well, and removed when it does not.

    Raises:
        DiskError: no room, or no right to write.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with written(path):
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Down to the disk, so that no crash leaves a renamed file with holes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8", errors="replace"))


def write_json(path: Path, value: Any) -> None:
    """In the order given, so that a reader meets things in the order they were said."""
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
