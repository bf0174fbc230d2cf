"""Every file of a small finished run, damaged in five ways, then read, resumed, run again and built on.

Each answer is the right numbers, or a refusal that names the directory; never another error, never other numbers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from scripts import figures
from tests.contracts.damaged import FILES, WAYS, damage
from tests.small_journey import SHORT
from xrec import pipeline
from xrec.config.validate import validate_job
from xrec.errors import UserError
from xrec.rundir.compare import IDENTICAL, compare
from xrec.rundir.saved import SavedRun
from xrec.rundir.table import canonical_hash

#: nothing reads these once their stage is done
UNREAD = ("checkpoint/last/state.json", "checkpoint/last/state.safetensors", "checkpoint/best/state.safetensors")
PAIRS = [(name, way) for name in FILES for way in WAYS]
#: of every third file one way, another each; the rest is slow
QUICK = [(name, list(WAYS)[i % len(WAYS)]) for i, name in enumerate(FILES[::3])]


def refused_in(run: Path, error: UserError) -> None:
    """A refusal names the directory of the file that is damaged."""
    assert str(run) in str(error)


def every(pairs: list[tuple[str, str]]) -> list[object]:
    return [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow, id="-".join(pair)) for pair in pairs]


@pytest.fixture(scope="module")
def finished(configured: Callable[..., DictConfig], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run, another one of another seed, and what `figures.py` makes of the first."""
    folder = tmp_path_factory.mktemp("finished")
    for name, seed in (("run", 0), ("other", 1)):
        pipeline.run(configured(*SHORT, f"seed={seed}"), folder / name)
    assert figures.main([str(folder / "run"), "--out", str(folder / "figures")]) == 0
    return {name: folder / name for name in ("run", "other", "figures")}


@pytest.fixture
def damaged(finished: dict[str, Path], tmp_path: Path) -> Callable[[str, str], Path]:
    def make(name: str, way: str) -> Path:
        run = tmp_path / "damaged"
        shutil.copytree(finished["run"], run)
        damage(run / name, way, finished["other"] / name)
        return run

    return make


def test_the_list_of_files_is_what_a_run_leaves(finished: dict[str, Path]) -> None:
    left = {str(p.relative_to(finished["run"])) for p in finished["run"].rglob("*") if p.is_file()}
    assert left - {".lock", "checkpoint/best/state.json"} == set(FILES)


def tables(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.md")}


@pytest.mark.parametrize(("name", "way"), every(PAIRS))
def test_figures(name, way, damaged, finished, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("xrec.report.plot.save_figure", lambda figure, stem: [stem])
    run = damaged(name, way)
    status = figures.main([str(run), "--out", str(tmp_path / "figures")])
    if status == 0:
        assert tables(tmp_path / "figures") == tables(finished["figures"])
    else:
        assert str(run) in capsys.readouterr().err


@pytest.mark.parametrize(("name", "way"), every(PAIRS))
def test_resume(name, way, damaged, finished) -> None:
    run = damaged(name, way)
    try:
        config = pipeline.restore(run)
        validate_job(config)
        pipeline.run(config, run, resume=True)
    except UserError as error:
        refused_in(run, error)
        return
    one, two = SavedRun(finished["run"]), SavedRun(run)
    two.check()
    assert set(two.stages) == set(one.stages)
    assert canonical_hash(two.results.frame) == canonical_hash(one.results.frame)
    assert two.json("objectives.json") == one.json("objectives.json")
    assert compare(finished["run"], run, 0.0).status == IDENTICAL


@pytest.mark.parametrize(("name", "way"), every(PAIRS))
def test_comparing_reads_the_files(name, way, damaged, finished) -> None:
    """What rerun.py does to the saved run before, and with it after, it has been run again."""
    run = damaged(name, way)
    try:
        pipeline.restore(run)
        verdict = compare(run, finished["run"], 0.0)
    except UserError as error:
        refused_in(run, error)
        return
    assert verdict.status == IDENTICAL
    same = (run / name).is_file() and (run / name).read_bytes() == (finished["run"] / name).read_bytes()
    assert same or name in (*UNREAD, "environment.json") or (name, way) == ("stages.json", "deleted")


@pytest.mark.parametrize(("name", "way"), every(PAIRS))
def test_from_run(name, way, damaged, finished, configured, tmp_path) -> None:
    run, second = damaged(name, way), tmp_path / "second"
    try:
        config = configured(*SHORT, "stages=[fidelity]", f"from_run={run}")
        validate_job(config)
        pipeline.run(config, second)
    except UserError as error:
        refused_in(run, error)
        refused = str(error)
    else:
        refused = None
    if refused is not None:
        assert str(second) not in refused and not second.exists()
        return
    one, two = (SavedRun(path).results.frame for path in (finished["run"], second))
    assert two.filter(stage="fidelity").equals(one.filter(stage="fidelity"))
