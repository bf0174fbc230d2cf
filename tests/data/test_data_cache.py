"""The cache may cost time, never a number."""

from __future__ import annotations

import contextlib
import logging

import numpy as np
import pytest

from tests.toys import SPLIT, ToySource, toy_raw
from xrec.data.build import build
from xrec.data.cache import ArrayCache, SourceDigests, file_digest
from xrec.data.clean import Cleaning


class Counter:
    def __init__(self, value=None):
        self.calls, self.value = 0, np.arange(100.0) if value is None else value

    def __call__(self):
        self.calls += 1
        return self.value


def entry(root):
    (folder,) = [p for p in root.iterdir() if p.is_dir()]
    return folder


def test_the_second_open_reads_and_does_not_build(tmp_path):
    build_once = Counter()
    for _ in range(2):
        found = ArrayCache(tmp_path).array("x", {"a": 1}, build_once)
        np.testing.assert_array_equal(found, build_once.value)
    assert build_once.calls == 1
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("key", [{"a": 2}, {"a": 1, "b": None}, {}])
def test_changed_settings_change_the_key(tmp_path, key):
    first, second = Counter(), Counter(np.ones(3))
    ArrayCache(tmp_path).array("x", {"a": 1}, first)
    np.testing.assert_array_equal(ArrayCache(tmp_path).array("x", key, second), np.ones(3))
    assert second.calls == 1


def truncate(path, size):
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    "tear",
    [
        lambda f: truncate(f / "array.npy", 400),
        lambda f: truncate(f / "array.npy", 20),
        lambda f: truncate(f / "array.npy", 0),
        lambda f: (f / "array.npy").unlink(),
        lambda f: (f / "entry.json").unlink(),
        lambda f: truncate(f / "entry.json", 5),
        lambda f: truncate(f / "entry.json", 0),
    ],
    ids=["half array", "half header", "empty array", "no array", "no entry", "half entry", "empty entry"],
)
def test_a_torn_entry_is_built_again(tmp_path, tear):
    cache, again = ArrayCache(tmp_path), Counter()
    cache.array("x", {}, Counter())
    tear(entry(tmp_path))
    np.testing.assert_array_equal(cache.array("x", {}, again), again.value)
    assert again.calls == 1
    cache.array("x", {}, again)
    assert again.calls == 1


def test_an_unwritable_root_warns_and_still_gives_the_value(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        found = ArrayCache(tmp_path / "file" / "cache").array("x", {}, Counter())
    np.testing.assert_array_equal(found, np.arange(100.0))
    assert "cannot be written" in caplog.text and "paths.cache" in caplog.text


def test_writing_into_a_cached_array_does_not_change_the_cache(tmp_path):
    cache = ArrayCache(tmp_path)
    with contextlib.suppress(ValueError):  # read-only is as good as a copy
        cache.array("x", {}, Counter())[0] = 7
    assert cache.array("x", {}, Counter())[0] == 0


def built(cache, source, **changes):
    settings = {"min_item_users": 3, "min_user_items": 3, "min_level_count": 2, **changes}
    return build(source, SPLIT, cache, Cleaning(**settings))


def test_a_cached_build_equals_a_fresh_one(tmp_path):
    source = ToySource(toy_raw())
    first, second = (built(ArrayCache(tmp_path / "c"), source) for _ in range(2))
    assert source.loads == 1
    (tmp_path / "file").write_text("")
    uncached = built(ArrayCache(tmp_path / "file" / "c"), source)
    for other in (second, uncached):
        for column in ("user", "item", "time", "strength", "kind"):
            np.testing.assert_array_equal(getattr(first, column), getattr(other, column))
        assert (first.card, first.fingerprint) == (other.card, other.fingerprint)
        assert first.catalogue.item_ids == other.catalogue.item_ids
        for mine, theirs in zip(first.catalogue.item_fields, other.catalogue.item_fields, strict=True):
            assert (mine.name, mine.kind, mine.levels) == (theirs.name, theirs.kind, theirs.levels)
            np.testing.assert_array_equal(mine.codes, theirs.codes)
            np.testing.assert_array_equal(mine.weights, theirs.weights)


@pytest.mark.parametrize("changes", [{"min_item_users": 2}, {"min_user_items": 2}, {"min_level_count": 1}])
def test_a_changed_build_setting_is_built_anew(tmp_path, changes):
    source, cache = ToySource(toy_raw()), ArrayCache(tmp_path)
    prints = {built(cache, source).fingerprint, built(cache, source, **changes).fingerprint}
    assert (source.loads, len(prints)) == (2, 2)


def test_source_digests_follow_the_content(tmp_path):
    file = tmp_path / "data"
    file.write_text("one")
    digests = SourceDigests(tmp_path)
    first = digests.of([file])
    assert first == [file_digest(file)] == SourceDigests(tmp_path).of([file])
    file.write_text("three")
    assert digests.of([file]) == [file_digest(file)] != first
