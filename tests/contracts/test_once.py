"""Work that a run does once, however many stages ask for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from omegaconf import DictConfig

from xrec import pipeline
from xrec.data.interactions import SplitInteractions
from xrec.report import tables


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
    pipeline.run(configured("explainer=[random,leave_one_out]"), tmp_path / "run")
    assert {key: n for key, n in seen.items() if key[0] == "history"} == {("history", m): 1 for m in (28, 34, 44, 48)}
    assert seen["ranking"] == 1
    assert seen["read", "results.parquet"] == 1
    assert seen["write", "results"] == 5  # after every stage, so that a killed run has what is done
    assert all(seen["write", stage] == 1 for stage in ("fit", "rank", "explain", "fidelity", "report"))
    assert seen["write", "attributions"] == seen["write", "explanations"] == 1
