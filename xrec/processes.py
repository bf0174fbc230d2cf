"""Which process it was, whether it still lives, and one process at a time. Imports nothing of xrec but its errors."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xrec.errors import UserError

_PROC = Path("/proc")


class BusyError(UserError):
    """Another process works here; the message names it."""


def this_process() -> dict[str, Any]:
    """What tells this process from any other, also from a later one that is given the same number."""
    pid = os.getpid()
    _, started = _state_and_start(pid)
    return {
        "pid": pid,
        "host": socket.gethostname(),
        "boot": _boot(),
        "process_start": started,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def is_elsewhere(owner: Mapping[str, Any] | None) -> bool:
    """Whether the process is on another machine, where it cannot be looked up."""
    return owner is not None and owner["host"] != socket.gethostname()


def is_dead(owner: Mapping[str, Any] | None) -> bool:
    """Whether the process is gone. One on another machine is taken for alive.

    No owner at all counts as dead: the process died before it signed. An owner without `boot` and `process_start`
    (known by its number only) is dead when no process has that number.
    """
    if owner is None:
        return True
    if is_elsewhere(owner):
        return False
    if owner.get("boot", _boot()) != _boot():
        return True
    if not _PROC.is_dir():
        return not _answers(owner["pid"])
    state, started = _state_and_start(owner["pid"])
    # A killed process stays in the table as a zombie until its parent looks.
    return state is None or state in "ZX" or started != owner.get("process_start", started)


@contextlib.contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Be the only process with the file `lock`; the system lets go when a process dies, however it dies.

    The file stays: were it removed, a process that holds it and one that makes it anew would both be alone. Where there
    are no locks (some network drives), nobody is refused.

    Raises:
        BusyError: another process is in there; it is named. `what` says what it has.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            handle = stack.enter_context(lock.open("a+", encoding="utf-8"))
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                handle.seek(0)
                raise BusyError(f"{what} is in use by {_named(handle.read())}: wait for it, or end it") from error
            handle.truncate(0)
            handle.write(json.dumps(this_process()))
            handle.flush()
        yield


def _named(text: str) -> str:
    try:
        owner = json.loads(text)
        return f"process {owner['pid']} on {owner['host']} (since {owner['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _state_and_start(pid: int) -> tuple[str | None, int | None]:
    """State letter and start time in clock ticks since boot; None for a process that is not there."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None, None
    fields = stat.rpartition(")")[2].split()  # the command before it may hold spaces and brackets
    return fields[0], int(fields[19])


def _boot() -> str | None:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
