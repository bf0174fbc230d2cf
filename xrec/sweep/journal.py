"""The journal file of a study. Imports Optuna at its top, so it is itself imported only when a study is opened."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

log = logging.getLogger(__name__)


class KernelLock(JournalFileOpenLock):
    """Locks the journal with flock, which the kernel undoes when a process dies.

    Optuna's own locks are files that a killed process leaves behind: the next start waits 30 seconds for them, or for
    ever when the path is relative. (One of them is the base class, because Optuna keeps the abstract one private.)
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Waits until the journal is free."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Frees it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def journal_storage(path: Path) -> JournalStorage:
    """The Optuna storage in this file, which is made when it is not there."""
    path = path.absolute()
    drop_torn_line(path)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=KernelLock(path)))


def drop_torn_line(path: Path) -> None:
    """Cuts off a last line that was not written to its end.

    The next line would be glued to it, and Optuna could not read the journal any more.
    """
    lock = KernelLock(path)
    lock.acquire()
    try:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            log.warning("%s: the last line was cut short and is dropped", path)
            os.truncate(path, whole)
    finally:
        lock.release()
