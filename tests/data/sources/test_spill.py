"""Rows kept on disk: as long as a lazy frame needs them, and no longer."""

from __future__ import annotations

import gc
from typing import Any

import polars as pl
import pytest

from xrec.data.errors import DataError
from xrec.data.sources.spill import Spill


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_the_rows_outlive_the_spill_and_the_folder_does_not(folder):
    spill = Spill("amazon", "reviews")
    for part in ([1, 2], [], [3, 4]):
        spill.add(pl.DataFrame({"a": pl.Series(part, dtype=pl.Int64), "b": pl.Series(part, dtype=pl.Float64)}))
    rows = spill.scan()
    later = rows.filter(pl.col("b") > 1).select("a")
    assert rows.collect().rows() == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert rows.head(3).collect(engine="streaming")["b"].to_list() == [1.0, 2.0, 3.0]
    del spill, rows
    gc.collect()
    assert len(list(folder.iterdir())) == 1
    assert later.collect()["a"].to_list() == [2, 3, 4]
    assert later.head(1).collect(engine="in-memory")["a"].to_list() == [2]
    del later
    gc.collect()
    assert list(folder.iterdir()) == []


def test_no_room_for_the_rows(folder, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(DataError) as caught:
        Spill("amazon", "reviews").add(pl.DataFrame({"a": [1]}))
    message = str(caught.value)
    assert message.startswith(f"amazon: no room for the rows of reviews in the temporary folder {folder}")
    assert message.endswith("([Errno 28] No space left on device); set TMPDIR to a larger one")
