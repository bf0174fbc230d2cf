"""The long table: its rows in the order they were added, and the hash over them."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest

from xrec.rundir import table
from xrec.rundir.table import SCHEMA, Rows, canonical_hash
from xrec.types import Metric

METRICS = (Metric("ndcg", "NDCG", "higher"), Metric("seconds", "Seconds", "lower"))


def rows() -> pl.DataFrame:
    return collected().frame()


def collected() -> Rows:
    random = np.random.default_rng(0)
    made = Rows(METRICS, data="toy", seed=3)
    for component in (None, "linear", "attention"):
        for k in (10, 20, None):
            users = [f"u{n}" for n in random.permutation(40)]
            values = random.integers(0, 4, 40) / 3  # many ties
            made.add("ndcg", values, stage="rank", component=component, k=k, user=users)
    made.add("ndcg", 0.5, stage="fidelity", few=True, step=0.25, item="ünïcode")
    made.add("ndcg", 0.5, stage="fidelity", few=False, step=3.0, item="")
    made.add("seconds", [1.0, 2.0], stage="cost", cost_of="rank")
    return made


def by_the_book(frame: pl.DataFrame) -> str:
    """The hash of a whole sorted copy, as its docstring has it."""
    kept = frame.filter(pl.col("stage") != "cost").sort(list(SCHEMA), nulls_last=False)
    digest = hashlib.sha256()
    for name in SCHEMA:
        column = kept[name]
        if column.dtype == pl.String:
            digest.update("\x1f".join("\x00" if v is None else v for v in column.to_list()).encode())
        else:
            digest.update(column.is_null().to_numpy().tobytes())
            digest.update(column.cast(pl.Float64).fill_null(0).to_numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("piece", [pytest.param(1, marks=pytest.mark.slow), 7, 2**16])
def test_hash_in_pieces_is_that_of_a_sorted_copy(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(table, "_PIECE", piece)
    frame = rows()
    assert canonical_hash(frame) == canonical_hash(frame.reverse()) == by_the_book(frame)
    assert canonical_hash(frame.clear()) == by_the_book(frame.clear())
    changed = frame.with_columns(pl.when(pl.col("user") == "u7").then(0.9).otherwise(pl.col("value")).alias("value"))
    assert canonical_hash(changed) == by_the_book(changed) != canonical_hash(frame)


@pytest.mark.parametrize("piece", [1, 100, 2**16])
def test_rows_are_written_in_pieces_as_they_were_added(tmp_path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(table, "_PIECE", piece)
    table.write_rows(tmp_path / "rows.parquet", [collected(), Rows(METRICS), collected()])
    found = pl.read_parquet(tmp_path / "rows.parquet")
    assert found.schema == SCHEMA and found.equals(pl.concat([rows(), rows()]))
    table.write_rows(tmp_path / "none.parquet", [Rows(METRICS)])
    assert pl.read_parquet(tmp_path / "none.parquet").equals(table.empty())


def test_rows_stand_as_they_were_added() -> None:
    frame = rows()
    assert frame.schema == SCHEMA
    assert frame.height == 9 * 40 + 4
    assert frame["component"].to_list()[::120] == [None, "linear", "attention", None]
    assert frame.tail(4).select("value", "step", "few", "item", "direction", "seed").rows() == [
        (0.5, 0.25, True, "ünïcode", "higher", 3),
        (0.5, 3.0, False, "", "higher", 3),
        (1.0, None, None, None, "lower", 3),
        (2.0, None, None, None, "lower", 3),
    ]
