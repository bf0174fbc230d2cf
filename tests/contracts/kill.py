"""Run a saved config in children that are killed at a given step of their work, then resumed. A program of its own, so
that it can fork before there are threads.

    python -m tests.contracts.kill CONFIG FOLDER STEP...

A step is a file that is put in place (`os.replace`), counted over the whole run; even numbers kill before it, odd ones
after. Prints, as JSON, per step: whether the child was killed, and the hashes after the resumption.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import OmegaConf

from xrec import pipeline


def in_child(work: Callable[[], object]) -> int:
    """The status of a child that does the work: 0, 1 for an error, minus the signal that killed it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            work()
            status = 0
        except BaseException:  # noqa: BLE001  (a child of a test ends here whatever it raises)
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(step: int) -> None:
    """Make this process die at that step."""
    plain, count = os.replace, 0

    def replace(source: object, target: object) -> None:
        nonlocal count
        if count == step // 2 and step % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(source, target)  # type: ignore[arg-type]
        if count == step // 2:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    os.replace = replace


def first(config: Path, run: Path, step: int | None) -> None:
    if step is not None:
        killed_at(step)
    pipeline.run(OmegaConf.load(config), run)  # type: ignore[arg-type]


def again(config: Path, run: Path) -> None:
    """As a person would: resume what was begun, start anew what was not."""
    if (run / "config.yaml").is_file():
        pipeline.run(pipeline.restore(run), run, resume=True)
    else:
        first(config, run, None)


def main(config: Path, folder: Path, steps: list[int]) -> None:
    """Print what became of each step."""
    torch.set_num_threads(1)
    answers = []
    for step in steps:
        run = folder / f"killed-{step}"
        status = in_child(lambda run=run, step=step: first(config, run, step))
        resumed = in_child(lambda run=run: again(config, run))
        answers.append({"step": step, "status": status, "resumed": resumed, "run": str(run)})
    print(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(step) for step in sys.argv[3:]])
