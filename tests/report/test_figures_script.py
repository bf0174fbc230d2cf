"""scripts/figures.py as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.report import synthetic

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "figures.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_run(run_directory: Path, tmp_path: Path) -> None:
    done = run(run_directory, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    written = {Path(line).name for line in done.stdout.splitlines()}
    assert written == {path.name for path in (tmp_path / "out").iterdir()}
    for name in (
        "learning_curves.pdf", "learning_curves.png", "ranking.tex", "ranking.md", "fidelity_new.tex",
        "fidelity_new.md", "fidelity_repeat.md", "removal_curves_new.pdf", "removal_curves_repeat.png",
        "fidelity_forest_new.pdf", "fidelity_ranks_new.tex", "fidelity_properties_new.md",
    ):  # fmt: skip
        assert name in written
    assert r"\label{tab:fidelity-new}" in (tmp_path / "out" / "fidelity_new.tex").read_text()


def test_a_study_writes_beside_itself(study_directory: Path) -> None:
    done = run(study_directory)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (study_directory / "figures").iterdir())
    assert names == ["front.pdf", "front.png", "front_table.md", "front_table.tex"]
    assert str(study_directory / "figures" / "front.pdf") in done.stdout.splitlines()


def test_what_a_run_lacks_is_said(tmp_path: Path) -> None:
    ranked = synthetic.write_run(tmp_path / "run", n_users=4, stages=("rank",))
    done = run(ranked)
    assert done.returncode == 0
    assert "learning_curves not part of" in done.stderr
    assert "removal_curves_new not part of" in done.stderr
    assert (ranked / "figures" / "ranking.md").is_file()


@pytest.mark.parametrize(
    "case", ["missing", "file", "half", "unfinished study", pytest.param("unwritable", marks=pytest.mark.slow)]
)
def test_errors_name_the_place_and_the_fix(
    case: str, tmp_path: Path, study_directory: Path, run_directory: Path
) -> None:
    place, options, words = tmp_path / "x", [], "give a run directory"
    if case == "file":
        place.write_text("")
    elif case == "half":
        place.mkdir()
        (place / "config.yaml").write_text("seed: 0")
        words = f"finish it with `python experiments/run.py resume={place}`"
    elif case == "unfinished study":
        place, words = study_directory, "run the command of the sweep again"
        (place / "optimization_results.yaml").unlink()
    elif case == "unwritable":
        (tmp_path / "taken").write_text("")
        place, options, words = run_directory, ["--out", tmp_path / "taken" / "out"], "taken"
    done = run(place, *options)
    assert done.returncode == 1
    assert done.stdout == ""
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_is_instant() -> None:
    start = time.perf_counter()
    done = run("--help")
    assert done.returncode == 0
    assert "RUN_OR_STUDY" in done.stdout
    assert time.perf_counter() - start < 2
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", str(SCRIPT), "--help"], capture_output=True, text=True, check=True
    ).stderr
    assert not [
        name
        for name in ("polars", "matplotlib", "numpy", "scipy", "xrec")
        if f"| {name}" in loaded or f" {name}\n" in loaded
    ]


@pytest.mark.slow
def test_tables_are_short_unless_all_columns_are_asked_for(run_directory: Path, tmp_path: Path) -> None:
    for name, options in {"short": [], "all": ["--all-columns"]}.items():
        assert run(run_directory, "--out", tmp_path / name, *options).returncode == 0
    short, whole = ((tmp_path / name / "ranking.md").read_text() for name in ("short", "all"))
    assert "NDCG@10" in short and "Coverage@10" in whole
    heads = next(line for line in short.splitlines() if line.startswith("|"))
    assert "Coverage" not in heads and "Columns left out here:" in short and "Coverage@10" in short
    assert (tmp_path / "short" / "fidelity_ranks_new.md").read_text().count("Pos@") == 3  # a family without main ones
