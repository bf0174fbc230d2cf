"""What a study left, and the directories that hold several runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xrec.errors import RunError
from xrec.rundir.study import is_study, read_study, runs_in

NAMES = ["accuracy", "gain"]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for number in (10, 2, 0):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "objectives.json").write_text(json.dumps({"accuracy": number / 10, "gain": 1}))
    (tmp_path / "3").mkdir()
    (tmp_path / "figures").mkdir()
    front = [{"number": 10, "values": {"accuracy": 1.0, "gain": 1.0}, "params": {}, "directory": "10"}]
    saved = {"study_name": "toy", "objectives": NAMES, "directions": ["maximize"] * 2, "front": front}
    (tmp_path / "optimization_results.yaml").write_text(json.dumps(saved))  # JSON is YAML
    return tmp_path


def test_trials_by_number_and_what_is_unfinished(study: Path) -> None:
    read = read_study(study)
    assert (read.name, read.objectives, read.unfinished) == ("toy", NAMES, [3])
    assert read.trials == {n: {"accuracy": n / 10, "gain": 1.0} for n in (0, 2, 10)}
    (study / "2" / "objectives.json").write_text('{"accuracy": 1.0}')
    assert read_study(study).unfinished == [2, 3], "an objective is missing"
    assert [path.name for path in runs_in(study)] == ["0", "2", "3", "10"]
    assert runs_in(study / "nowhere") == []


def test_what_is_a_study(study: Path) -> None:
    assert is_study(study)
    (study / "optimization_results.yaml").unlink()
    assert not is_study(study), "numbered runs alone are a multirun"
    (study / "journal.log").write_text("")
    assert is_study(study), "one that has not finished"


def test_study_errors(study: Path) -> None:
    for number in (0, 2, 10):
        (study / str(number) / "objectives.json").unlink()
    with pytest.raises(RunError, match=f"{study}: no trial has an objectives.json; run the command of the sweep"):
        read_study(study)
    (study / "optimization_results.yaml").write_text("study_name: x\n")
    with pytest.raises(RunError, match="lacks directions, objectives, front"):
        read_study(study)
    (study / "optimization_results.yaml").write_text("a: [")
    with pytest.raises(RunError, match="is not YAML"):
        read_study(study)
    (study / "optimization_results.yaml").unlink()
    with pytest.raises(RunError, match="has not finished"):
        read_study(study)
