"""The sweeper inside a real Hydra application, in processes of its own: killed, resumed, refused."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAY = ROOT / "conf/sweep/lambda_weights.yaml"

APPLICATION = """
import os, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    number = HydraConfig.get().job.num
    w = config.loss.weights
    with open("started.txt", "a") as started:
        started.write(f"{number} {w.kl} {w.adversarial} {w.item_reconstruction}\\n")
    if str(number) == os.environ.get("HANG_AT"):
        time.sleep(600)
    if str(number) in os.environ.get("RAISE_AT", "").split():
        raise RuntimeError(f"no luck with {number}")
    if str(number) in os.environ.get("NAN_AT", "").split():
        return [float("nan"), 0.0]
    Path(HydraConfig.get().runtime.output_dir, "done.txt").write_text("done")
    return [w.kl - w.adversarial, w.adversarial * w.reconstruction + w.item_reconstruction]

main()
"""

CONFIG = """
defaults:
  - _self_
  - model/item_encoder: []
  - explainer: []
  - baselines: []
  - sweep: null
seed: 3
paths: {runs: runs}
sweep: {name: null}
ranking: {parts: [validation, test]}
cases: {part: test, n_users: 5}
training: {epochs: 1}
loss: {weights: {kl: 1.0, adversarial: 1.0, item_reconstruction: 1.0, reconstruction: 1.0}}
"""


@dataclass(frozen=True)
class Application:
    """A toy application with the overlay `sweep=lambda_weights` of this repository."""

    directory: Path

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "xrec/sweep/plugin")])
        return subprocess.Popen(
            [sys.executable, "app.py", *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": paths, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, status: int = 0, **environment: str) -> str:
        process = self.start(*arguments, **environment)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == status, output
        return output

    def started(self) -> list[tuple[int, tuple[float, ...]]]:
        """(job number, parameters) of every job that began, in order."""
        path = self.directory / "started.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(line.split()[0]), tuple(map(float, line.split()[1:]))) for line in lines]

    def results(self, study: str = "lambda_weights") -> dict[str, Any]:
        return yaml.safe_load((self.directory / "runs" / study / "optimization_results.yaml").read_text())

    def trials(self, study: str = "lambda_weights") -> list[Any]:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        backend = JournalFileBackend(str(self.directory / "runs" / study / "journal.log"))
        return optuna.load_study(study_name=study, storage=JournalStorage(backend)).trials


@pytest.fixture
def application(tmp_path: Path) -> Application:
    for group in ("sweep", "model/item_encoder", "explainer", "baselines"):
        (tmp_path / "conf" / group).mkdir(parents=True)
    (tmp_path / "conf/model/item_encoder/bigan.yaml").write_text("{}")
    for explainer in ("random", "attention", "permutation_shap"):
        (tmp_path / f"conf/explainer/{explainer}.yaml").write_text("{}")
    (tmp_path / "app.py").write_text(APPLICATION)
    (tmp_path / "conf/config.yaml").write_text(CONFIG)
    (tmp_path / "conf/sweep/lambda_weights.yaml").write_text(OVERLAY.read_text())
    return Application(tmp_path)


def wait_for(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_killed_half_way_and_started_again(application: Application, how: signal.Signals) -> None:
    command = ("-m", "sweep=lambda_weights", "hydra.sweeper.n_trials=12")
    runs = application.directory / "runs/lambda_weights"

    application.run(*command, "hydra.sweep.dir=undisturbed")
    undisturbed = [p for _, p in application.started()]
    (application.directory / "started.txt").unlink()

    hang_at = 7
    process = application.start(*command, HANG_AT=str(hang_at))
    wait_for(lambda: application.started() and application.started()[-1][0] >= hang_at)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    before = application.started()
    assert before[-1][0] == hang_at, "the job that hangs was skipped: choose another number"

    output = application.run(*command)
    complete = {t.number: t for t in application.trials() if t.state.name == "COMPLETE"}
    assert len(complete) == 12
    started = application.started()
    assert len(started) == 13  # 12 and the one that was killed
    assert len({n for n, _ in started}) == 13  # under numbers of their own
    assert len({p for n, p in started if n in complete}) == 12  # none twice
    (killed,) = {n for n, _ in started} - complete.keys()
    assert killed == hang_at
    retried = started[len(before)]
    assert retried[1] == before[-1][1]  # nothing is lost: the killed one is asked again, first of all
    assert [p for n, p in started if n in complete] == undisturbed  # and the rest is as if nothing had happened
    done = {int(p.parent.name) for p in runs.glob("*/done.txt")}
    assert done == complete.keys()
    assert {int(p.name) for p in runs.iterdir() if p.is_dir()} == {n for n, _ in started}
    assert "12 of 12 finished" in output
    assert application.results()["n_trials"]["complete"] == 12
    assert application.results()["n_trials"]["killed"] == 1
    assert not list(runs.glob(".optimization_results*"))

    assert "nothing to do" in application.run(*command)
    assert len(application.started()) == 13


def test_nan_and_raising_trials_and_another_sampler(application: Application) -> None:
    output = application.run(
        "-m",
        "sweep=lambda_weights",
        "hydra.sweeper.n_trials=10",
        "hydra.sweeper.sampler.name=nsga2",
        "+hydra.sweeper.sampler.population_size=4",
        "hydra.sweeper.study_name=other",
        "training.epochs=2",
        RAISE_AT="1 5",
        NAN_AT="2",
    )
    trials = application.trials("other")
    errors = {t.number: t.user_attrs["error"] for t in trials if "error" in t.user_attrs}
    assert errors, "all of these numbers were skipped: choose others"
    assert set(errors) <= {1, 2, 5}
    for number, error in errors.items():
        expected = (
            "ValueError: validation_ndcg_at_10_new is nan" if number == 2 else f"RuntimeError: no luck with {number}"
        )
        assert error == expected
        assert f"trial {number} failed: {expected}" in output
    n_complete = sum(t.state.name == "COMPLETE" for t in trials)
    assert n_complete + len(errors) == 10
    content = application.results("other")
    assert content["objectives"] == ["validation_ndcg_at_10_new", "validation_removal_gain"]
    for entry in content["front"]:
        directory = application.directory / "runs/other" / entry["directory"]
        config = yaml.safe_load((directory / ".hydra/config.yaml").read_text())
        weights = {f"loss.weights.{k}": v for k, v in config["loss"]["weights"].items() if k != "reconstruction"}
        assert weights == entry["params"]
        assert config["training"]["epochs"] == 2
        assert config["ranking"]["parts"] == ["validation"]
        assert config["cases"] == {"part": "validation", "n_users": 5, "groups": ["new"]}
        assert re.search(rf"^{entry['number']} .*runs/other/{entry['number']}$", output, re.MULTILINE)


def test_mistakes_are_answered_without_leaving_a_study(application: Application) -> None:
    sweep = ("-m", "sweep=lambda_weights")
    output = application.run(*sweep, "loss.weights.kll=interval(0,1)", status=1)
    assert "did you mean 'loss.weights.kl'?" in output
    assert "Traceback" not in output
    output = application.run(*sweep, "loss.weights.kl=tag(log,interval(0,1))", status=1)
    assert "loss.weights.kl" in output
    assert "tag(zero,log" in output
    assert not (application.directory / "runs").exists()
    application.run(*sweep, "hydra.sweeper.n_trials=1")
    output = application.run(*sweep, "loss.weights.kl=interval(0,1)", status=1)
    assert "space: loss.weights.kl: saved log zero 0.001 to 1.0, now 0.0 to 1.0" in output
    assert "hydra.sweeper.study_name=" in output


def test_discovery_imports_nothing_heavy() -> None:
    script = (
        "import sys; from hydra.core.plugins import Plugins; Plugins.instance();"
        "assert 'hydra_plugins.xrec_sweeper.XrecSweeper' in Plugins.instance().class_name_to_class;"
        "print([m for m in ('optuna', 'torch', 'numpy', 'xrec') if m in sys.modules])"
    )
    paths = os.pathsep.join([str(ROOT), str(ROOT / "xrec/sweep/plugin")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert not (ROOT / "xrec/sweep/plugin/hydra_plugins/__init__.py").exists()
