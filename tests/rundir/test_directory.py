"""The writing side of a run directory: who may write, what goes on record, what is done again, what is taken over."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xrec.errors import RunError
from xrec.processes import BusyError
from xrec.rundir.directory import RunDirectory
from xrec.rundir.saved import SavedRun
from xrec.rundir.table import Rows
from xrec.types import Metric

METRICS = (Metric("ndcg", "NDCG", "higher"),)
STAGES = ("fit", "rank", "explain", "fidelity", "report")


def begin(run: RunDirectory, data: str = "d1") -> None:
    run.begin("stages: [fit]\n", ["seed=1"], data, {"data_card.json": {"name": "toy"}, "folds.parquet": {"a": [1]}})


def do(run: RunDirectory, stage: str, value: float = 0.5) -> None:
    run.start(stage)
    rows = Rows(METRICS, stage=stage)
    rows.add("ndcg", value)
    name = f"{stage}.bin"
    run.path(name).write_text(f"{stage} {value}")
    run.finish(stage, [rows], [name, "not written.bin"])


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    with RunDirectory(tmp_path / "run") as run:
        begin(run)
        for stage in STAGES:
            do(run, stage)
    return tmp_path / "run"


def test_what_is_finished_is_read_back(finished: Path) -> None:
    saved = SavedRun(finished)
    saved.check()
    assert saved.stages == list(STAGES)
    assert saved.results.frame["stage"].to_list() == list(STAGES)
    assert saved.results.metrics == {"ndcg": METRICS[0]}
    assert saved.results.frame["direction"].to_list() == ["higher"] * 5
    with RunDirectory(finished, resume=True) as run:
        assert run.done() == list(STAGES)
        assert run.results().equals(saved.results.frame)


def test_a_directory_that_holds_a_run_is_refused_without_resume(finished: Path) -> None:
    before = {p: p.read_bytes() for p in finished.rglob("*") if p.is_file() and p.name != ".lock"}
    with pytest.raises(RunError, match=f"{finished} already holds a run: finish it with resume="):
        RunDirectory(finished).__enter__()
    assert {p: p.read_bytes() for p in before} == before


def test_two_processes_in_one_directory(tmp_path: Path) -> None:
    script = (
        "import sys; from xrec.rundir.directory import RunDirectory\n"
        f"with RunDirectory({str(tmp_path / 'run')!r}):\n    print('in', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdin is not None and other.stdout is not None
    assert other.stdout.readline() == "in\n"
    with pytest.raises(BusyError, match=rf"run directory .*run is in use by process {other.pid} on .+ \(since "):
        RunDirectory(tmp_path / "run").__enter__()
    assert (tmp_path / "run").is_dir()  # the other one's
    other.kill()
    other.wait()
    with RunDirectory(tmp_path / "run"):  # the system let go of the dead one's lock
        pass
    other.stdin.close()
    other.stdout.close()


@pytest.mark.parametrize("begun", [False, True])
def test_a_directory_in_which_nothing_was_begun_is_removed(tmp_path: Path, begun: bool) -> None:
    def fail() -> None:
        with RunDirectory(tmp_path / "run") as run:
            if begun:
                begin(run)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (tmp_path / "run").exists() == begun


def test_a_directory_with_something_of_the_user_in_it_stays(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(KeyError), RunDirectory(tmp_path / "run"):
        raise KeyError
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_half_of_the_beginning_is_removed_but_nothing_else(tmp_path: Path) -> None:
    def fail() -> None:
        with RunDirectory(tmp_path / "run") as run:
            run.path("user.txt").write_text("put there meanwhile")
            run.begin("a: 1", [], "d", {"data_card.json": {}, "folds.parquet": object()})

    with pytest.raises(TypeError):
        fail()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["user.txt"]


AGAIN = {"fit": STAGES, "rank": ("rank", "report"), "explain": ("explain", "fidelity", "report")}
AGAIN |= {"fidelity": ("fidelity", "report"), "report": ("report",)}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["{}.bin", "stages/{}.parquet", "stages/{}.json"])
@pytest.mark.parametrize("how", ["altered", "missing"])
def test_a_damaged_stage_and_what_builds_on_it_are_done_again(stage, name, how, finished, caplog) -> None:
    path = finished / name.format(stage)
    path.write_bytes(b"other") if how == "altered" else path.unlink()
    with caplog.at_level(logging.WARNING), RunDirectory(finished, resume=True) as run:
        assert run.done() == [s for s in STAGES if s not in AGAIN[stage]]
        assert run.results()["stage"].to_list() == run.done()
        assert SavedRun(finished).results.frame["stage"].to_list() == run.done()
        for again in AGAIN[stage]:
            do(run, again)
    said = [r.getMessage() for r in caplog.records if "is done again" in r.getMessage()]
    assert len(said) == len(AGAIN[stage])
    words = "was altered after it was written" if how == "altered" else "is missing"
    assert said[0] == f"{finished}: {name.format(stage)} {words}; stage {stage} is done again"
    SavedRun(finished).check()
    assert sorted(SavedRun(finished).results.frame["stage"]) == sorted(STAGES)


def test_a_stage_done_again_starts_from_nothing(finished: Path) -> None:
    (finished / "fit.bin").unlink()
    with RunDirectory(finished, resume=True) as run:
        run.log({"step": 1.0})
        (run.path("checkpoint") / "last").mkdir(parents=True)
        run.start("rank")
        assert run.path("metrics.jsonl").exists() and run.path("checkpoint").exists()
        run.start("fit")
        assert not run.path("metrics.jsonl").exists() and not run.path("checkpoint").exists()


def test_an_interrupted_stage_keeps_what_it_has(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run") as run:
        begin(run)
        run.log({"step": 1.0})
    with RunDirectory(tmp_path / "run", resume=True) as run:
        run.start("fit")
        assert run.path("metrics.jsonl").exists()


def test_results_that_are_not_whole_are_put_together_again(finished: Path, caplog) -> None:
    before = (finished / "results.parquet").read_bytes()
    for content in (b"torn", None):
        (finished / "results.parquet").write_bytes(content) if content else (finished / "results.parquet").unlink()
        with caplog.at_level(logging.WARNING), RunDirectory(finished, resume=True) as run:
            assert run.done() == list(STAGES)
        assert "results.parquet was not whole; it is put together again" in caplog.text
        assert (finished / "results.parquet").read_bytes() == before


@pytest.mark.parametrize("how", ["edited", "deleted"])
def test_settings_changed_after_the_beginning_are_refused(how: str, finished: Path) -> None:
    path = finished / "config.yaml"
    path.write_text("stages: [fit]\nseed: 2\n") if how == "edited" else path.unlink()
    with pytest.raises(RunError, match=f"{path} is missing, or is not the one that this run began with"):
        RunDirectory(finished, resume=True).__enter__()
    assert SavedRun(finished).stages == list(STAGES)


def test_other_data_is_refused(finished: Path) -> None:
    with RunDirectory(finished, resume=True) as run, pytest.raises(RunError, match="was begun with other data"):
        begin(run, "d2")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"stages": 3}', '{"begun": 1}', "null"])
def test_a_damaged_record_is_named(content: str, finished: Path) -> None:
    (finished / "stages.json").write_text(content)
    with pytest.raises(RunError, match=f"{finished}/stages.json is damaged"):
        RunDirectory(finished, resume=True).__enter__()


def test_a_run_of_an_older_version_is_named(finished: Path) -> None:
    (finished / "stages.json").write_text('{"done": ["fit"]}')
    with pytest.raises(RunError, match="was written by an older version of xrec"):
        RunDirectory(finished, resume=True).__enter__()


def test_leftovers_of_a_killed_process_go(finished: Path) -> None:
    (finished / ".model.json.123.tmp").write_text("half")
    with RunDirectory(finished, resume=True):
        assert not (finished / ".model.json.123.tmp").exists()


def test_stages_are_taken_over_with_their_files_and_rows(finished: Path, tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "second") as run:
        begin(run)
        run.adopt(finished, ["fit", "explain", "never done"])
        assert run.done() == ["fit", "explain"]
        assert run.results()["stage"].to_list() == ["fit", "explain"]
    SavedRun(tmp_path / "second").check()
    assert (tmp_path / "second" / "fit.bin").read_bytes() == (finished / "fit.bin").read_bytes()
    assert not (tmp_path / "second" / "rank.bin").exists()


def test_a_damaged_source_is_named_and_nothing_of_it_taken(finished: Path, tmp_path: Path) -> None:
    (finished / "explain.bin").write_text("altered")
    with RunDirectory(tmp_path / "second") as run:
        begin(run)
        with pytest.raises(RunError, match=f"{finished}: explain.bin was altered"):
            run.adopt(finished, ["explain"])
    assert SavedRun(tmp_path / "second").stages == []


def test_environment_is_extended_and_a_damaged_one_written_anew(finished: Path) -> None:
    with RunDirectory(finished, resume=True) as run:
        run.environment(b=2)
        run.environment(a=1)
        assert {"a": 1, "b": 2, "data_sha256": "d1"}.items() <= json.loads(
            run.path("environment.json").read_text()
        ).items()
        run.path("environment.json").write_text("{")
        run.environment(a=3)
        assert json.loads(run.path("environment.json").read_text()) == {"a": 3}


def test_a_resumed_run_keeps_its_overrides(finished: Path) -> None:
    with RunDirectory(finished, resume=True) as run:
        run.begin("other: 1", ["resume=x"], "d1", {"data_card.json": {"name": "toy"}})
    assert (finished / "overrides.yaml").read_text() == '- "seed=1"\n'
    assert (finished / "config.yaml").read_text() == "stages: [fit]\n"


def test_a_copied_run_is_the_same_run(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "elsewhere")
    SavedRun(tmp_path / "elsewhere").check()
