"""scripts/bench.py: the file it generates, and a small run of the whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from scripts import bench
from tests.small_journey import SMALL, write_small_journey
from xrec.data.sources.movielens import MovieLens

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    folder = tmp_path_factory.mktemp("bench")
    return folder, bench.generate(folder, 200_000, 0)


def test_the_generated_file_has_the_size_that_was_asked_for_and_the_shape_of_movielens(made):
    folder, sizes = made
    ratings = pl.read_csv(folder / "ratings.csv")
    assert ratings.columns == ["userId", "movieId", "rating", "timestamp"]
    assert ratings.height == sizes["events"] == 200_000
    assert ratings["userId"].is_sorted() and ratings["userId"].n_unique() == sizes["users"] == ratings["userId"].max()
    assert not ratings.select("userId", "movieId").is_duplicated().any()
    assert set(ratings["rating"]) == {s / 2 for s in range(1, 11)}
    times = ratings["timestamp"]
    assert bench.SPAN[0] <= times.min() and times.max() <= bench.SPAN[1]
    per_item = ratings.group_by("movieId").len()["len"].sort(descending=True)
    assert per_item.head(len(per_item) // 10).sum() > 0.75 * 200_000
    per_user = ratings.group_by("userId").len()["len"]
    assert per_user.max() > 5 * per_user.median()


def test_the_movielens_source_reads_it(made):
    folder, sizes = made
    raw = MovieLens(str(folder)).load()
    assert raw.steps[0].rows == sizes["events"] and raw.items.height == sizes["items"]


def test_the_same_seed_generates_the_same_file(made, tmp_path):
    bench.generate(tmp_path, 200_000, 0)
    for name in ("ratings.csv", "movies.csv"):
        assert (tmp_path / name).read_bytes() == (made[0] / name).read_bytes()
    bench.generate(tmp_path, 200_000, 1)
    assert (tmp_path / "ratings.csv").read_bytes() != (made[0] / "ratings.csv").read_bytes()


def test_peak_memory_is_that_of_this_process():
    code = "import numpy as n; from scripts.bench import peak_mb; a = n.ones(25_000_000); print(peak_mb())"
    with_array, without = (
        float(subprocess.check_output([sys.executable, "-c", c], cwd=ROOT, text=True))
        for c in (code, code.replace("25_000_000", "25"))
    )
    assert with_array - without == pytest.approx(200, abs=20)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "bench.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_small_run_prints_every_figure(tmp_path):
    done = run("data", "--events", "30000", "--folder", str(tmp_path), "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["file", "bare", "build", "cached", "threads"]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["made"]["events"] == figures["bare"]["rows"] == 30_000
    assert 0 < figures["build"]["kept"] <= 30_000
    assert figures["cached"]["kept"] == figures["build"]["kept"]
    assert figures["cached"]["fingerprint"] == figures["build"]["fingerprint"]
    assert figures["build"]["from_cache"] is False and figures["cached"]["from_cache"] is True
    assert figures["cached"]["seconds"] < figures["build"]["seconds"]
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"]


def test_a_step_that_fails_says_why():
    done = run("data", "--events", "3000", "data.clean.min_value=6")
    assert done.returncode == 1
    assert done.stderr.startswith("bench: the step 'build' failed:\n") and "DataError" in done.stderr
    assert run("data", "--events", "0").returncode == 2


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_journey(tmp_path_factory.mktemp("journey"))


@pytest.mark.slow
def test_a_start_is_measured_by_phases_that_add_up(journey, tmp_path):
    small = [f"data.source.path={journey}", f"paths.cache={tmp_path / 'cache'}", *SMALL]
    done = run("start", "--times", "1", "--json", str(tmp_path / "figures.json"), "experiment=quickstart", *small)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    phases, totals = figures["medians"]["first_batch"], figures["totals"]
    assert sum(phases.values()) == pytest.approx(totals["first_batch"]) and min(phases.values()) >= 0
    assert totals["import xrec"] < totals["torch"] < totals["first_batch"]
    lines = done.stdout.splitlines()
    assert [line.split("  ")[-1] for line in lines[5:-1]] == list(phases) and "import torch" in phases
    assert lines[-1].startswith("CPU seconds, medians of 1")


def test_a_start_without_a_training_batch_has_no_figure(tmp_path):
    done = run("start", "--times", "1", "experiment=quickstart", "stages=[rank]", f"paths.cache={tmp_path}")
    assert done.returncode == 1 and "the step 'first_batch' failed" in done.stderr
    assert run("start", "--times", "0").returncode == 2
