"""kill -9 anywhere, and the resumed run is the undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from tests.small_journey import SHORT
from xrec import pipeline
from xrec.rundir.compare import IDENTICAL, compare
from xrec.rundir.saved import SavedRun

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def undisturbed(configured: Callable[..., DictConfig], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The folder of config and run, and how many files the run puts in place."""
    folder = tmp_path_factory.mktemp("kill")
    config = configured(*SHORT)
    OmegaConf.save(config, folder / "config.yaml", resolve=True)
    pipeline.run(config, folder / "warm")  # fills the cache, so that every run below counts the same files
    with pytest.MonkeyPatch.context() as patch:
        count, plain = [], os.replace
        patch.setattr(os, "replace", lambda a, b: (count.append(b), plain(a, b)))
        pipeline.run(config, folder / "run")
    return folder, len(count)


def check(undisturbed: tuple[Path, int], steps: list[int]) -> None:
    folder = undisturbed[0]
    command = [sys.executable, "-m", "tests.contracts.kill", str(folder / "config.yaml"), str(folder), *map(str, steps)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'xrec/sweep/plugin'}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    for answer in json.loads(done.stdout):
        assert answer["status"] == -signal.SIGKILL, (answer, done.stderr)
        assert answer["resumed"] == 0, (answer, done.stderr)
        run = Path(answer["run"])
        assert compare(folder / "run", run, 0.0).status == IDENTICAL, answer
        assert SavedRun(run).json("objectives.json") == SavedRun(folder / "run").json("objectives.json")
        assert not list(run.glob("**/.*.tmp")) and not (run / "shards").exists(), answer


def test_killed_at_a_few_steps(undisturbed: tuple[Path, int]) -> None:
    n = 2 * undisturbed[1]
    check(undisturbed, [n // 4, n // 2 + 1])


@pytest.mark.slow
def test_killed_at_twenty_random_steps(undisturbed: tuple[Path, int]) -> None:
    check(undisturbed, sorted(random.Random(7).sample(range(2 * undisturbed[1]), 20)))
