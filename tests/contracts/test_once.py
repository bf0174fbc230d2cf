"""Work that a run does once, however many stages ask for it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from omegaconf import DictConfig

from tests.small_journey import SHORT
from xrec import pipeline
from xrec.data.interactions import SplitInteractions
from xrec.explain.removal import LeaveOneOut
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.report import tables
from xrec.rundir.saved import SavedRun


def test_histories_tables_and_files(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Counter[object] = Counter()

    def spy(owner: Any, name: str, what: Callable[..., object]) -> None:
        plain = getattr(owner, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            seen[what(*arguments)] += 1
            return plain(*arguments, **options)

        monkeypatch.setattr(owner, name, counting)

    spy(SplitInteractions, "_histories_before", lambda _, moment: ("history", moment))
    spy(tables, "ranking_table", lambda *_: "ranking")
    spy(pl, "read_parquet", lambda path: ("read", Path(path).name) if "shards" not in str(path) else "shards")
    spy(pl.DataFrame, "write_parquet", lambda _, path: ("write", Path(path).name.split(".")[1]))
    spy(pl.LazyFrame, "sink_parquet", lambda _, path: ("sink", Path(path).name.split(".")[1]))  # of a write, too
    pipeline.run(configured(*SHORT), tmp_path / "run")
    assert {key: n for key, n in seen.items() if key[0] == "history"} == {("history", m): 1 for m in (28, 34, 44, 48)}
    assert seen["ranking"] == 1
    assert seen["read", "results.parquet"] == 1
    assert seen["sink", "results"] == 5  # after every stage, so that a killed run has what is done
    assert all(seen["sink", stage] == 1 for stage in ("fit", "rank", "explain", "fidelity", "report"))
    assert seen["write", "attributions"] == seen["write", "explanations"] == 1


def test_what_compiles_itself_at_its_first_call_is_no_cost_of_a_case(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = LeaveOneOut.values, []

    def compiling(self: LeaveOneOut, game: Game, random: Keyed) -> object:
        if not calls:
            time.sleep(2.0)
        calls.append(len(game))
        return plain(self, game, random)

    monkeypatch.setattr(LeaveOneOut, "values", compiling)
    pipeline.run(configured("explainer=[leave_one_out]", "stages=[fit,explain]"), tmp_path / "run")
    assert calls[0] == 1 and len(calls) > 1
    cost = SavedRun(tmp_path / "run").results.frame.filter(pl.col("metric") == "milliseconds")
    assert cost["cost_of"].unique().to_list() == ["explain"] and cost["masker"].unique().to_list() == ["zero"]
    assert cost["value"].sum() < 2000
