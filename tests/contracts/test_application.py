"""The application as people run it: a subprocess, killed and resumed, run twice, run again, swept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.rundirs import put_on_record
from tests.small_journey import SHORT, SMALL
from xrec.rundir.saved import SavedRun

ROOT = Path(__file__).resolve().parents[2]
#: with what its removal gain is of: the explainer, the reference, and scores
SWEEP = ("sweep=lambda_weights", "explainer=[random,permutation_shap]", "fidelity=[score]")


#: everything but the report, which is half of a small run, and which no hash is of
MEASURED = "stages=[fit,rank,explain,fidelity]"


def command(journey: Path, cache: Path, *overrides: str) -> list[str]:
    base = [f"data.source.path={journey}", f"paths.cache={cache}", *SMALL, *SHORT]
    flags = [o for o in overrides if o.startswith("-")]  # argparse wants them before the overrides
    return [
        sys.executable,
        str(ROOT / "experiments" / "run.py"),
        *flags,
        *base,
        *(o for o in overrides if o not in flags),
    ]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'xrec/sweep/plugin'}", "WANDB_MODE": "offline"}


def execute(arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=300)


def hashes(run: Path) -> tuple[str, str]:
    known = json.loads((run / "environment.json").read_text())
    return known["weights_sha256"], known["results_sha256"]


def kill_when(arguments: list[str], cwd: Path, ready: Callable[[], bool]) -> None:
    """Start, wait until `ready`, kill -9."""
    process = subprocess.Popen(
        arguments, cwd=cwd, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while not ready():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def undisturbed(journey: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    done = execute(command(journey, folder / "cache", MEASURED, f"hydra.run.dir={folder / 'a'}"), folder)
    assert done.returncode == 0, done.stderr
    return folder, folder / "a"


def test_the_same_command_twice_gives_the_same_hashes(journey: Path, undisturbed: tuple[Path, Path]) -> None:
    folder, first = undisturbed
    again = execute(command(journey, folder / "cache", MEASURED, f"hydra.run.dir={folder / 'b'}"), folder)
    assert again.returncode == 0, again.stderr
    assert hashes(folder / "b") == hashes(first)


@pytest.mark.slow
def test_another_seed_gives_other_weights(journey: Path, undisturbed: tuple[Path, Path]) -> None:
    folder, first = undisturbed
    execute(command(journey, folder / "cache", f"hydra.run.dir={folder / 's'}", "seed=1", "stages=[fit]"), folder)
    assert hashes(folder / "s")[0] != hashes(first)[0]


@pytest.mark.parametrize("where", ["training", "explaining"])
@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_hashes(where: str, journey: Path, undisturbed: tuple[Path, Path]) -> None:
    folder, first = undisturbed
    run = folder / where
    ready = {
        "training": run / "checkpoint" / "last" / "state.json",
        "explaining": run / "shards" / "00001.answers.parquet",
    }[where]
    kill_when(command(journey, folder / "cache", MEASURED, f"hydra.run.dir={run}"), folder, ready.exists)
    assert "explain" not in SavedRun(run).stages
    done = execute([sys.executable, str(ROOT / "experiments" / "run.py"), f"resume={run}"], folder)
    assert done.returncode == 0, done.stderr
    assert hashes(run) == hashes(first)


def test_rerun_says_identical_and_different(undisturbed: tuple[Path, Path]) -> None:
    folder, first = undisturbed
    script = [sys.executable, str(ROOT / "experiments" / "rerun.py")]
    done = execute([*script, str(first)], folder)
    assert done.returncode == 0 and "identical" in done.stdout.splitlines(), done.stdout + done.stderr
    other = folder / "of another seed"
    shutil.copytree(first, other)
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 5", 1))
    put_on_record(other)
    done = execute([*script, str(other)], folder)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "different" in done.stdout


def test_errors_have_no_traceback(journey: Path, tmp_path: Path) -> None:
    done = execute(command(journey, tmp_path / "cache", "data.clean.min_item_users=10000"), tmp_path)
    assert done.returncode == 1
    assert "lower data.clean.min_item_users" in done.stderr
    assert "Traceback" not in done.stderr


def test_cold_items_are_ranked_apart_and_their_folds_saved(journey: Path, tmp_path: Path) -> None:
    run = tmp_path / "cold"
    overrides = ["split=cold_item", "stages=[fit,rank,report]", "tracking=none"]
    overrides += ["training.monitor=validation/ndcg_at_10/cold", "model/item_encoder=aae"]
    overrides += ["model.item_encoder.pretraining_steps=20"]
    done = execute(command(journey, tmp_path / "cache", *overrides, f"hydra.run.dir={run}"), tmp_path)
    assert done.returncode == 0, done.stderr
    folds, results = pl.read_parquet(run / "folds.parquet"), pl.read_parquet(run / "results.parquet")
    assert set(folds["part"]) == {"train", "validation", "test"}
    assert set(results["split"]) == {"cold_item_temporal"}
    assert set(results.filter(pl.col("metric") == "ndcg")["group"]) == {"all", "new", "cold"}
    page = (run / "report.html").read_text()
    assert "Cold items, ranked among themselves" in page
    assert all(words in page for words in ("Discriminator accuracy", "Round trip", "Probe: item factors"))
    fitted = results.filter(pl.col("stage") == "fit")
    best = fitted.filter(pl.col("metric") == "validation/ndcg_at_10/cold")["value"].item()
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert best == max(line.get("validation/ndcg_at_10/cold", 0.0) for line in logged) > 0
    assert "Long tail" in done.stdout


def test_cold_items_where_there_are_none_are_refused_before_the_fit(journey: Path, tmp_path: Path) -> None:
    overrides = ["ranking.groups=[all,cold]", "stages=[fit,rank]", "tracking=none", f"hydra.run.dir={tmp_path}/none"]
    done = execute(command(journey, tmp_path / "cache", *overrides), tmp_path)
    assert done.returncode == 1 and not (tmp_path / "none" / "model.safetensors").exists()
    assert "ranking.groups names cold, but split temporal has no cold items; use split=cold_item" in done.stderr
    assert "Traceback" not in done.stderr


def test_directory_of_another_run_is_refused(journey: Path, undisturbed: tuple[Path, Path]) -> None:
    folder, first = undisturbed
    done = execute(command(journey, folder / "cache", MEASURED, f"hydra.run.dir={first}"), folder)
    assert done.returncode == 1
    assert "already holds a run" in done.stderr


def test_multirun_goes_into_one_folder(journey: Path, tmp_path: Path) -> None:
    overrides = ["-m", "seed=0,1", "stages=[fit,rank]", f"hydra.sweep.dir={tmp_path / 'both'}"]
    done = execute(command(journey, tmp_path / "cache", *overrides), tmp_path)
    assert done.returncode == 0, done.stderr
    assert hashes(tmp_path / "both" / "0")[0] != hashes(tmp_path / "both" / "1")[0]


@pytest.mark.slow
def test_a_used_multirun_folder_is_refused(journey: Path, tmp_path: Path) -> None:
    overrides = ["-m", "seed=0", "stages=[fit,rank]", f"hydra.sweep.dir={tmp_path / 'used'}"]
    assert execute(command(journey, tmp_path / "cache", *overrides), tmp_path).returncode == 0
    before = hashes(tmp_path / "used" / "0"), (tmp_path / "used" / "0" / "config.yaml").read_bytes()
    done = execute(command(journey, tmp_path / "cache", *overrides, "training.epochs=1"), tmp_path)
    assert done.returncode != 0
    assert "already holds a run" in done.stderr
    assert (hashes(tmp_path / "used" / "0"), (tmp_path / "used" / "0" / "config.yaml").read_bytes()) == before


@pytest.mark.slow
def test_sweep_killed_half_way_ends_with_its_total(journey: Path, tmp_path: Path) -> None:
    study = tmp_path / "runs" / "lambda_weights"
    overrides = [
        "-m",
        *SWEEP,
        "hydra.sweeper.n_trials=12",
        f"paths.runs={tmp_path / 'runs'}",
        "training.epochs=1",
    ]
    arguments = command(journey, tmp_path / "cache", *overrides)
    kill_when(arguments, tmp_path, (study / "5" / "config.yaml").exists)
    done = execute(arguments, tmp_path)
    assert done.returncode == 0, done.stderr
    summary = yaml.safe_load((study / "optimization_results.yaml").read_text())
    reached = {p.parent.name: json.loads(p.read_text()) for p in study.glob("*/objectives.json")}
    assert len(reached) == 12
    assert len({json.dumps(v, sort_keys=True) for v in reached.values()}) >= 2
    assert len(summary["front"]) >= 1
    weights = [yaml.safe_load((study / n / "config.yaml").read_text())["loss"]["weights"] for n in reached]
    assert len({json.dumps(w, sort_keys=True) for w in weights}) == 12
    best = study / str(summary["front"][0]["directory"])
    done = execute([sys.executable, str(ROOT / "experiments" / "rerun.py"), str(best)], tmp_path)
    assert done.returncode == 0, done.stdout
    frame = pl.read_parquet(best / "results.parquet")
    assert set(frame.filter(pl.col("stage") == "rank")["part"].unique()) == {"validation"}


def test_a_multirun_answers_a_mistake_without_a_traceback(journey: Path, tmp_path: Path) -> None:
    jobs = ["-m", "split=user_holdout", "split.fold=0", "seed=0,1", f"hydra.sweep.dir={tmp_path / 'runs'}"]
    done = execute(command(journey, tmp_path / "cache", *jobs), tmp_path)
    assert done.returncode == 1
    assert "\nerror: split.fold: got 0, which needs split.n_folds; give it, or set fold to null\n" in done.stderr
    assert "split.fold=0" in done.stderr.split("error:")[0]  # which job it was
    assert "Traceback" not in done.stderr


def test_a_multirun_shows_where_a_bug_is(journey: Path, tmp_path: Path) -> None:
    run, *arguments = command(journey, tmp_path / "cache", "-m", "seed=0", f"hydra.sweep.dir={tmp_path / 'runs'}")[1:]
    script = f"""
import runpy, sys
from xrec import pipeline
pipeline.run = lambda *_, **__: {{}}["bug"]
sys.argv[0] = {run!r}
runpy.run_path({run!r}, run_name="__main__")
"""
    (tmp_path / "bug.py").write_text(script)
    done = execute([sys.executable, str(tmp_path / "bug.py"), *arguments], tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "KeyError: 'bug'" in done.stderr and "bug.py" in done.stderr


def test_a_study_records_a_mistake_by_its_own_name(journey: Path, tmp_path: Path) -> None:
    study = ["-m", *SWEEP, "hydra.sweeper.n_trials=1", f"paths.runs={tmp_path / 'runs'}"]
    done = execute(command(journey, tmp_path / "cache", *study, "split=user_holdout", "split.fold=0"), tmp_path)
    assert "trial 0 failed: DataError: split.fold: got 0, which needs split.n_folds" in done.stdout + done.stderr
    assert (tmp_path / "runs/lambda_weights/0/error.txt").is_file()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "failure"])
def test_a_rerun_that_ends_early_leaves_nothing(how: str, undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    run, temporary = undisturbed[1], tmp_path / "temporary"
    temporary.mkdir()
    if how == "failure":
        run = tmp_path / "run"
        shutil.copytree(undisturbed[1], run)
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["data"]["clean"]["min_item_users"] = 10_000
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        put_on_record(run)
    script = [sys.executable, str(ROOT / "experiments" / "rerun.py"), str(run)]
    process = subprocess.Popen(
        script,
        cwd=tmp_path,
        env=environment() | {"TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if how != "failure":
        deadline = time.monotonic() + 200
        while not list(temporary.glob("*/rerun/config.yaml")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.Signals[how])
    errors = process.communicate(timeout=200)[1]
    assert process.returncode != 0
    assert not list(temporary.glob("tmp*")), errors
