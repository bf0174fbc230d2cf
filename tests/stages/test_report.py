"""The stage report: what it leaves in the run, and what it tells a tracker."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.report import synthetic
from xrec.report import figures, run_tables, tables
from xrec.report.run_figures import RunFigures
from xrec.report.run_tables import RunTables
from xrec.report.summary import summaries, wide
from xrec.rundir.saved import SavedRun
from xrec.stages.report import OBJECTIVES, report
from xrec.tracking.tracker import NoTracker

CONFIG = {
    "model": {"name": "composed"},
    "ranking": {"ndcg": [10], "parts": ["test"], "groups": ["all", "new"]},
    "cases": {"part": "test"},
    "explainer": {"permutation_shap": {"_target_": "xrec.explain.shapley.PermutationShap"}},
}


class Recorder(NoTracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, float]] = []
        self.values: dict[str, float] = {}
        self.tables: dict[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] = {}
        self.images: dict[str, bytes] = {}
        self.artifacts: dict[str, list[str]] = {}

    def log(self, row: Mapping[str, float]) -> None:
        self.rows.append(row)

    def summary(self, values: Mapping[str, float]) -> None:
        self.values |= values

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.tables[name] = (columns, rows)

    def image(self, name: str, png: Callable[[], bytes]) -> None:
        self.images[name] = png()

    def artifact(self, name: str, kind: str, files: Sequence[Path]) -> None:
        self.artifacts[kind] = [file.name for file in files]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_run(tmp_path_factory.mktemp("stages") / "run", n_users=8)


@pytest.fixture(scope="module")
def told(directory: Path) -> Recorder:
    tracker = Recorder()
    report(run_of(directory, tracker), RunTables(SavedRun(directory)))
    return tracker


def run_of(directory: Path, tracker: NoTracker) -> Any:
    store = SimpleNamespace(directory=directory, path=lambda name: directory / name)
    return SimpleNamespace(config=OmegaConf.create(CONFIG), store=store, tracker=tracker)


def test_summaries_are_the_numbers_of_the_tables(directory: Path, told: Recorder) -> None:
    shown = RunTables(SavedRun(directory))
    for kind, group, name, metric, table, column in (
        ("ranking", "all", "ease", "ndcg@10", shown.ranking, "NDCG@10"),
        ("ranking", "new", "popularity", "mrr", shown.ranking, "MRR"),
        ("fidelity", "new", "kernel_shap", "deletion", shown.fidelity(shown.case_groups[0]), "Deletion"),
        ("fidelity", "repeat", "attention", "removal_gain", shown.fidelity(shown.case_groups[1]), "Removal gain"),
    ):
        (cell,) = [
            c
            for c in table.iter_rows(named=True)
            if (c["group"], c["name"], c["column"]) == (group, name, column)
        ]  # fmt: skip
        key = f"summary/{kind}/{group}/{name}/{metric}"
        assert [told.values[key + end] for end in ("", "/low", "/high")] == [cell[c] for c in ("value", "low", "high")]
        assert told.values[f"{key}/low"] < told.values[key] < told.values[f"{key}/high"]
    assert told.values["summary/fidelity/new/additive/forwards"] == pytest.approx(103.5)
    assert "summary/fidelity/new/additive/forwards/low" not in told.values, "no interval"
    difference = told.values["summary/ranking/all/composed/ndcg@10"] - told.values["summary/ranking/all/ease/ndcg@10"]
    assert told.values["summary/ranking/all/ease/ndcg@10/difference"] == pytest.approx(difference)
    assert 0 <= told.values["summary/ranking/all/ease/ndcg@10/p"] <= 1


def test_no_two_numbers_have_one_name(directory: Path) -> None:
    shown = RunTables(SavedRun(directory))
    every = [shown.ranking, *map(shown.fidelity, shown.case_groups)]
    n_numbers = sum(len(t) - t["value"].null_count() + 2 * (len(t) - t["low"].null_count()) for t in every)
    assert len(summaries(shown)) == n_numbers


def test_objectives_are_saved_and_told(directory: Path, told: Recorder) -> None:
    saved = json.loads((directory / OBJECTIVES).read_text())
    assert set(saved) == {
        "test_ndcg_at_10_all", "test_ndcg_at_10_new", "test_removal_gain", "test_removal_gain_permutation_shap",
    }  # fmt: skip
    assert {name: told.values[name] for name in saved} == saved
    assert told.rows == [], "a number of the whole run is no step of it"


def test_tables_are_told_long_and_wide(directory: Path, told: Recorder) -> None:
    names = [name for name, _ in RunTables(SavedRun(directory)).all()]
    assert set(told.tables) == {*names, *(f"{name}_wide" for name in names)}
    columns, rows = told.tables["fidelity_new_wide"]
    assert list(columns[:5]) == ["block", "row", "Deletion", "Deletion, low", "Deletion, high"]
    assert list(columns[-2:]) == ["Forwards", "ms"]
    assert [row[1] for row in rows][-2:] == ["popularity", "random"]
    assert len(rows) == len(synthetic.EXPLAINERS)
    assert all(len(row) == len(columns) for row in rows)
    columns, rows = told.tables["fidelity_new"]
    assert {"name", "metric", "value", "low", "high", "difference", "p", "n_users"} <= set(columns)


def test_a_wide_column_holds_numbers_or_words() -> None:
    facts = RunTables(SimpleNamespace(json=lambda name: {"n": 2321, "share": 0.5, "what": "weeks"})).data  # pyright: ignore
    columns, rows = wide(facts["data_facts"])
    assert columns == ["block", "row", "Value"]
    assert rows == [["", "n", "2,321"], ["", "share", ".5000"], ["", "what", "weeks"]]


def test_figures_are_drawn_once_and_told_as_pictures(
    directory: Path, told: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(told.images) == {
        "learning_curves", "fidelity_forest_new", "removal_curves_new", "fidelity_forest_repeat",
        "removal_curves_repeat",
    }  # fmt: skip
    assert all(png.startswith(b"\x89PNG") for png in told.images.values())
    drawn = []
    plain = figures.removal_curves
    monkeypatch.setattr(figures, "removal_curves", lambda *a, **k: drawn.append(a) or plain(*a, **k))
    report(run_of(directory, Recorder()), RunTables(SavedRun(directory)))
    assert len(drawn) == 2, "one a group"


def test_no_table_is_computed_twice(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, calls = RunTables(SavedRun(directory)), []
    for module, name in ((tables, "ranking_table"), (run_tables, "fidelity_table")):
        plain = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, plain=plain, name=name, **k: calls.append((name, a[1:])) or plain(*a, **k)
        )
    report(run_of(directory, Recorder()), shown)
    assert len(calls) == len(set(map(str, calls))) == 3, calls


def test_the_report_is_the_same_without_a_tracker(directory: Path, told: Recorder) -> None:
    before = (directory / "report.html").read_bytes()
    done = report(run_of(directory, NoTracker()), RunTables(SavedRun(directory)))
    assert (directory / "report.html").read_bytes() == before
    assert done.files == ["report.html", OBJECTIVES]
    assert told.artifacts == {"report": ["report.html"]}, "no weights in this run"


def test_a_run_without_explanations(tmp_path: Path) -> None:
    run = synthetic.write_run(tmp_path / "run", n_users=4, stages=("rank",), costs=False, card=False)
    tracker = Recorder()
    report(run_of(run, tracker), RunTables(SavedRun(run)))
    assert set(tracker.tables) == {"ranking", "ranking_wide", "components", "components_wide"}
    assert tracker.images == {}
    assert not [name for name in tracker.values if name.startswith("summary/fidelity")]
    assert [name for name, figure in RunFigures(RunTables(SavedRun(run))).all() if figure] == []
