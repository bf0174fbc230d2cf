"""Which process runs a trial, and whether it still lives. (Optuna's heartbeat works inside `study.optimize` only.)"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


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

    No owner at all counts as dead: the process died between asking for the trial and signing it.
    """
    if owner is None:
        return True
    if is_elsewhere(owner):
        return False
    if owner["boot"] != _boot():
        return True
    if not _PROC.is_dir():
        return not _answers(owner["pid"])
    state, started = _state_and_start(owner["pid"])
    # A killed process stays in the table as a zombie until its parent looks.
    return state is None or state in "ZX" or started != owner["process_start"]


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
