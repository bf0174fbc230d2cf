"""Ctrl-C: one line that says how to go on, status 130, no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.contracts.test_application import ROOT, SWEEP, command, environment, execute

SCRIPT = """
import runpy, sys
from xrec import pipeline

def run(config, directory, *_, **__):
    if {begun}:
        (directory / "config.yaml").write_text("seed: 0")
    raise KeyboardInterrupt

pipeline.run = run
sys.argv[0] = {application!r}
runpy.run_path({application!r}, run_name="__main__")
"""
LATER = "the later jobs of this multirun have not begun"
STUDY = ("-m", *SWEEP, "hydra.sweeper.n_trials=1")


@pytest.mark.parametrize(
    ("overrides", "begun", "says"),
    [
        ((), False, "interrupted"),
        ((), True, "interrupted; go on with: python experiments/run.py resume={runs}/one"),
        (("-m", "seed=0,1"), False, f"interrupted; {LATER}"),
        (
            ("-m", "seed=0,1"),
            True,
            f"interrupted; {LATER}; go on with: python experiments/run.py resume={{runs}}/many/0",
        ),
        (STUDY, True, "interrupted; the same command goes on with the study"),
    ],
)
def test_one_line_says_how_to_go_on(
    overrides: tuple[str, ...], begun: bool, says: str, journey: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    where = [f"paths.runs={runs}", f"hydra.run.dir={runs}/one"]
    where += [f"hydra.sweep.dir={runs}/many"] if "seed=0,1" in overrides else []
    _, application, *arguments = command(journey, tmp_path / "cache", *overrides, *where)
    (tmp_path / "interrupted.py").write_text(SCRIPT.format(begun=begun, application=application))
    done = execute([sys.executable, str(tmp_path / "interrupted.py"), *arguments], tmp_path)
    assert done.returncode == 130, done.stderr
    assert [line for line in done.stderr.splitlines() if "interrupted" in line and "trial 0" not in line] == [
        says.format(runs=runs)
    ]
    assert "Traceback" not in done.stderr + done.stdout
    assert (runs / "one").exists() == (begun and not overrides)  # what nothing was written into is gone


def test_a_signal_in_the_midst_of_training_and_the_command_it_names(journey: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    overrides = ["stages=[fit]", "training.epochs=3000", "training.patience=3000", f"hydra.run.dir={run}"]
    process = subprocess.Popen(
        command(journey, tmp_path / "cache", *overrides),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while not (run / "checkpoint" / "last" / "state.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert errors.splitlines()[-1] == f"interrupted; go on with: python experiments/run.py resume={run}"
    assert (run / "config.yaml").is_file() and not (run / "model.safetensors").exists()


def test_a_signal_while_python_still_starts(tmp_path: Path) -> None:
    """Before Hydra is there: the check of the command line, which imports it, is interrupted."""
    script = "import runpy, xrec.config.prepass as p\ndef stop(*_): raise KeyboardInterrupt\np.main_prepass = stop\n"
    script += f"runpy.run_path({str(ROOT / 'experiments' / 'run.py')!r}, run_name='__main__')"
    done = execute([sys.executable, "-c", script], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ninterrupted\n")
