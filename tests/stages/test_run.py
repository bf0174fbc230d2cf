"""Progress: gone before anything else is printed."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from xrec.stages import run

WORK = """
import sys, time
from xrec.stages.run import progress
for _ in progress(range(30), total=30, description="rank test"):
    time.sleep(0.05)
try:
    for i in progress(range(60), total=60, description="explain"):
        time.sleep(0.05)
        if i == 30:
            raise ValueError
except ValueError:
    pass
print("a table", flush=True)
"""


def screen(output: str) -> list[str]:
    """The lines a terminal shows: a carriage return goes back to the start of its line, and what follows overwrites."""
    lines = []
    for line in output.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def test_a_bar_on_a_terminal_is_gone_when_the_work_ends() -> None:
    terminal, other = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    child = subprocess.Popen([sys.executable, "-c", WORK], stdin=other, stdout=other, stderr=other)
    os.close(other)
    output = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other side closed
            break
        if not piece:
            break
        output += piece
    os.close(terminal)
    assert child.wait() == 0
    text = output.decode()
    assert "rank test:" in text and "explain:" in text, "there was something to be cleared"
    assert screen(text) == ["a table", ""]


def test_a_file_gets_lines_instead_of_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(run.time, "monotonic", lambda: float(next(clock)))
    assert list(run.progress(range(8), total=8, description="explain")) == list(range(8))
    said = capsys.readouterr()
    assert said.err == "explain: 2 of 8, about 90 s left\nexplain: 5 of 8, about 36 s left\n"
    assert said.out == ""
    list(run.progress(iter(range(4)), description="rank"))
    assert capsys.readouterr().err == "rank: 2\n"


def test_short_work_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(run.progress([])) == []
    assert list(run.progress(range(1000), total=1000, description="rank")) == list(range(1000))
    assert capsys.readouterr() == ("", "")
