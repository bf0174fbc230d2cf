"""Closed-form tables: on record by content, built once, and refused when they are others."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from xrec import pipeline
from xrec.data.cache import ArrayCache
from xrec.models import closed_form
from xrec.rundir.saved import SavedRun
from xrec.stages.closed_form import RecordedTables
from xrec.training.checkpoint import CheckpointError

KEY = {"data": "abc", "regularization": 5.0}


def table(tmp_path: Path, values: list[float], expected=None) -> RecordedTables:
    record = RecordedTables(ArrayCache(tmp_path), expected)
    record.array("ease", KEY, lambda: np.array(values))
    return record


def test_a_table_is_on_record_by_name_key_and_content(tmp_path):
    (first,) = table(tmp_path / "a", [1.0, 2.0]).tables
    assert (first["name"], first["key"]) == ("ease", KEY)
    (same,) = table(tmp_path / "b", [1.0, 2.0]).tables
    (other,) = table(tmp_path / "c", [1.0, 2.5]).tables
    assert first == same != other


def test_a_table_that_cannot_be_kept_is_on_record_too(tmp_path):
    (tmp_path / "no").write_text("a file where the cache should be")
    (kept,), (held,) = table(tmp_path / "a", [1.0]).tables, table(tmp_path / "no", [1.0]).tables
    assert kept == held


def test_a_table_that_is_missing_is_built_again_and_one_that_is_another_refused(tmp_path):
    recorded = table(tmp_path, [1.0, 2.0]).tables
    shutil.rmtree(tmp_path)
    table(tmp_path, [1.0, 2.0], recorded)
    shutil.rmtree(tmp_path)
    with pytest.raises(CheckpointError, match=r"closed-form table 'ease' in the cache \(.*array.npy\) is not the one"):
        table(tmp_path, [1.0, 2.5], recorded)
    with pytest.raises(CheckpointError, match="is not the one"):
        RecordedTables(ArrayCache(tmp_path), recorded).array("ease", {**KEY, "regularization": 6.0}, lambda: np.ones(2))


def test_what_is_on_record_is_the_sha256_of_type_shape_and_values_however_they_lie(tmp_path):
    values = np.arange(3 * 700, dtype=np.float32).reshape(700, 3) / 7
    plain = hashlib.sha256(b"<f4(700, 3)" + values.tobytes()).hexdigest()
    for i, table in enumerate((values, np.asfortranarray(values), np.repeat(values, 2, 1)[:, ::2])):
        record = RecordedTables(ArrayCache(tmp_path / str(i)))
        record.array("ease", KEY, lambda t=table: t)
        assert record.tables[0]["sha256"] == plain


@pytest.mark.parametrize("model", ["composed", "ease", "popularity", "personal_frequency"])
def test_loading_a_run_fits_nothing(model, configured, tmp_path, monkeypatch):
    chosen = ["stages=[fit,rank]", "baselines=[]", "ranking.parts=[test]"]
    pipeline.run(configured(f"model={model}", *chosen), tmp_path / "first")

    def refuse(*arguments, **settings):
        raise AssertionError("fitted again")

    monkeypatch.setattr(closed_form, "ease_weights", refuse)
    monkeypatch.setattr("xrec.models.composed.Composed.fit", refuse)
    monkeypatch.setattr("xrec.models.baselines.popularity.Popularity.fit", refuse)
    monkeypatch.setattr("xrec.models.recommender.Recommender.fit", refuse)
    again = configured("stages=[rank]", "baselines=[]", "ranking.parts=[test]", f"from_run={tmp_path / 'first'}")
    pipeline.run(again, tmp_path / "second")
    one, two = (SavedRun(tmp_path / name).results.frame for name in ("first", "second"))
    ranked = [frame.filter(frame["stage"] == "rank").drop("seed") for frame in (one, two)]
    assert ranked[0].height > 0 and ranked[0].equals(ranked[1])


def test_a_table_that_was_altered_is_named(configured, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    settings = ["baselines=[]", "ranking.parts=[test]", f"paths.cache={cache}"]
    pipeline.run(configured("model=ease", "stages=[fit,rank]", *settings), tmp_path / "first")
    (path,) = cache.glob("ease-*/array.npy")
    values = np.load(path)
    shutil.rmtree(path.parent)

    def altered(*arguments):
        return values + 1

    monkeypatch.setattr(closed_form, "ease_weights", altered)
    with pytest.raises(CheckpointError, match="closed-form table 'ease'"):
        pipeline.run(configured("stages=[rank]", *settings, f"from_run={tmp_path / 'first'}"), tmp_path / "second")
