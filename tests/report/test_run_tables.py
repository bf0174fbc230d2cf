"""The tables of a run: all of them, in order, each computed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report import synthetic
from xrec.report import run_tables
from xrec.report.fidelity import CaseGroup
from xrec.report.run_tables import RunTables
from xrec.rundir.saved import SavedRun


def test_all_tables_in_order(run_directory: Path) -> None:
    names = [name for name, _ in RunTables(SavedRun(run_directory)).all()]
    assert names == [
        "data_cleaning", "data_facts", "ranking", "components", "item_encoder", "fidelity_new", "fidelity_repeat",
        "cost",
    ]  # fmt: skip


def test_the_short_table_holds_the_headline_metrics_and_the_cost(run_directory: Path) -> None:
    table = RunTables(SavedRun(run_directory)).fidelity(CaseGroup("new"))
    assert table["column"].unique(maintain_order=True).to_list() == [
        "Deletion", "Insertion", "Comprehensiveness", "Sufficiency", "Removal gain", "Forwards", "ms",
    ]  # fmt: skip


def test_tables_of_what_was_not_done_are_left_out(tmp_path: Path) -> None:
    run = synthetic.write_run(tmp_path / "run", n_users=4, stages=("rank",), costs=False, card=False)
    assert [name for name, _ in RunTables(SavedRun(run)).all()] == ["ranking", "components"]


def test_each_table_is_computed_once(run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = RunTables(SavedRun(run_directory))
    first = dict(tables.all())
    for name in ("ranking_table", "components_table", "cost_table"):
        monkeypatch.delattr(run_tables.tables, name)
    monkeypatch.delattr(run_tables, "fidelity_table")
    again = dict(tables.all())
    assert all(again[name] is table for name, table in first.items())
