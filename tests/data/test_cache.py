"""The cache may cost time, never a number."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.toys import SPLIT, ToySource, toy_raw
from xrec.data.build import build
from xrec.data.cache import ArrayCache, SourceDigests
from xrec.data.clean import Cleaning
from xrec.data.texts import Texts
from xrec.files import file_digest


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


def reshape(path, change):
    """The header of a .npy file with other text in it, of the same length."""
    content = path.read_bytes()
    header, rest = content[10:128], content[128:]
    path.write_bytes(content[:10] + change(header).ljust(118)[:118] + rest)


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def in_its_place(folder):
    shutil.rmtree(folder)
    folder.write_text("no folder")


TEARS = {
    "half array": lambda f: truncate(f / "array.npy", 400),
    "half header": lambda f: truncate(f / "array.npy", 20),
    "empty array": lambda f: truncate(f / "array.npy", 0),
    "no array": lambda f: (f / "array.npy").unlink(),
    "torn header": lambda f: reshape(f / "array.npy", lambda h: h[: h.index(b"(") + 2]),
    "huge shape": lambda f: reshape(f / "array.npy", lambda h: h.replace(b"(100,)", b"(1" + b"0" * 30 + b",)")),
    "other shape": lambda f: reshape(f / "array.npy", lambda h: h.replace(b"(100,)", b"(50, 2)")),
    "other type": lambda f: reshape(f / "array.npy", lambda h: h.replace(b"<f8", b"<i8")),
    "other array": lambda f: np.save(f / "array.npy", np.arange(10.0)),
    "one bit": lambda f: flip(f / "array.npy", 500),
    "no entry": lambda f: (f / "entry.json").unlink(),
    "half entry": lambda f: truncate(f / "entry.json", 5),
    "empty entry": lambda f: truncate(f / "entry.json", 0),
    "a file": in_its_place,
    "an empty folder": lambda f: [p.unlink() for p in f.iterdir()],
} | {
    text: lambda f, text=text: (f / "entry.json").write_text(text)
    for text in (
        "null", "[]", "3", "[" * 100_000, "\x00",
        '{"arrays": null, "document": {}}', '{"arrays": ["array"]}', '{"arrays": [], "document": {}}',
        '{"arrays": ["array"], "document": {}}',
    )
}  # fmt: skip


@pytest.mark.parametrize("tear", TEARS.values(), ids=[name[:40] for name in TEARS])
def test_a_damaged_entry_is_built_again_and_one_line_says_so(tmp_path, tear, caplog):
    cache, again = ArrayCache(tmp_path), Counter()
    cache.array("x", {}, Counter())
    place = entry(tmp_path)
    tear(place)
    with caplog.at_level(logging.INFO):
        np.testing.assert_array_equal(cache.array("x", {}, again), again.value)
        ArrayCache(tmp_path).array("x", {}, again)
    assert again.calls == 1
    assert caplog.messages == [f"cache entry {place} is damaged, or of an older version: it is built again"]
    assert sorted(p.name for p in place.iterdir()) == ["array.npy", "entry.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [place.name, f"{place.name}.lock"]


def test_a_changed_number_in_the_document_is_no_entry(tmp_path):
    cache = ArrayCache(tmp_path)
    for _ in range(2):
        assert cache.folder("x", {}, lambda: ({}, {"train_end": 43}))[1] == {"train_end": 43}
        path = entry(tmp_path) / "entry.json"
        assert "43" in path.read_text()
        path.write_text(path.read_text().replace("43", "53"))


@pytest.mark.parametrize("at", [0, 127, 128, 600_000, -600_000, -1], ids=str)
def test_of_a_large_array_the_ends_are_checked(tmp_path, at):
    cache, again = ArrayCache(tmp_path), Counter(np.arange(300_000))
    cache.array("x", {}, again)
    flip(entry(tmp_path) / "array.npy", at)
    cache.array("x", {}, again)
    assert again.calls == (1 if abs(at) == 600_000 else 2)


def test_arrays_are_mapped_and_not_read(tmp_path):
    """A data set larger than the memory can be opened."""
    wide = np.zeros((3, 0, 2), dtype=np.int8)
    arrays, _ = ArrayCache(tmp_path).folder("x", {}, lambda: ({"a": np.arange(5), "b": wide, "c": np.array(3)}, {}))
    assert all(isinstance(a, np.memmap) and a.mode == "c" for a in arrays.values())
    assert [(a.shape, a.dtype) for a in arrays.values()] == [((5,), np.int64), (wide.shape, np.int8), ((), np.int64)]


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


@pytest.mark.parametrize("content", ["null", "[]", "3", "[" * 100_000, "\x00", '{"x": 5}', '{"a":', "", "damaged"])
def test_damaged_source_digests_are_made_anew_and_one_line_says_so(tmp_path, content, caplog):
    file, stored = tmp_path / "data", tmp_path / "source-digests.json"
    file.write_text("one")
    right = SourceDigests(tmp_path).of([file])
    stored.write_text(stored.read_text().replace(right[0], "0" * 64) if content == "damaged" else content)
    for _ in range(2):
        assert SourceDigests(tmp_path).of([file]) == right
    assert caplog.messages == [f"{stored} is damaged, or of an older version: source files are hashed again"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "source-digests.json"]


def test_source_digests_follow_the_content(tmp_path):
    file = tmp_path / "data"
    file.write_text("one")
    digests = SourceDigests(tmp_path)
    first = digests.of([file])
    assert first == [file_digest(file)] == SourceDigests(tmp_path).of([file])
    file.write_text("three")
    assert digests.of([file]) == [file_digest(file)] != first


BUILDER = """
import os, sys, time
from pathlib import Path
import numpy as np
from xrec.data.cache import ArrayCache

root, mode = Path(sys.argv[1]), sys.argv[2]

class Slow(dict):
    def items(self):  # what the cache writes, one array after the other
        yield "first", np.arange(1000.0)
        if mode == "die":
            os.kill(os.getpid(), 9)
        yield "second", np.ones(3)

def build():
    with (root / "builds").open("a") as log:
        log.write("x")
    time.sleep(0.5)
    return Slow(first=0, second=0), {"answer": 42}

cache = ArrayCache(root / "cache")
arrays, document = cache.folder("x", {}, build)
print(sorted(arrays), document["answer"], float(arrays["first"].sum()))
"""


def builder(root, mode="live"):
    return subprocess.Popen([sys.executable, "-c", BUILDER, root, mode], stdout=subprocess.PIPE, text=True)


def test_processes_that_ask_at_once_build_once_and_all_get_it(tmp_path):
    answers = [p.communicate(timeout=60)[0] for p in [builder(tmp_path) for _ in range(3)]]
    assert answers == ["['first', 'second'] 42 499500.0\n"] * 3
    assert (tmp_path / "builds").read_text() == "x"


def test_a_kill_while_writing_leaves_no_entry_and_no_rest(tmp_path):
    killed = builder(tmp_path, "die")
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    assert not [p for p in (tmp_path / "cache").iterdir() if p.is_dir() and not p.name.startswith(".")]
    assert [p for p in (tmp_path / "cache").iterdir() if p.name.startswith(".")]
    assert builder(tmp_path).communicate(timeout=60)[0] == "['first', 'second'] 42 499500.0\n"
    assert not [p for p in (tmp_path / "cache").iterdir() if p.name.startswith(".")]
    assert (tmp_path / "builds").read_text() == "xx"


def test_folders_of_killed_writers_go_and_no_others(tmp_path):
    """A writer elsewhere may be at work; after a day it is not. Nothing that is not the cache's own is touched."""
    old, day = (".xrec-writes.elsewhere.1.old", ".git", ".xrec-writes", ".xrec-writes.x"), 86400
    for name in (*old, ".xrec-writes.elsewhere.1.new", f".xrec-writes.{socket.gethostname()}.{os.getpid()}.x"):
        (tmp_path / name / "inside").mkdir(parents=True)
    for name in old:
        os.utime(tmp_path / name, (time.time() - 2 * day,) * 2)
    ArrayCache(tmp_path).array("x", {}, Counter())
    left = {p.name for p in tmp_path.iterdir() if p.name.startswith(".")}
    assert left == {
        ".git", ".xrec-writes", ".xrec-writes.x", ".xrec-writes.elsewhere.1.new",
        f".xrec-writes.{socket.gethostname()}.{os.getpid()}.x",
    }  # fmt: skip


def test_everything_is_on_the_disk_before_the_entry_gets_its_name(tmp_path, monkeypatch):
    done, flush, rename = [], os.fsync, os.replace

    def flushed(handle):
        done.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        flush(handle)

    def renamed(source, target):
        done.append("renamed")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    ArrayCache(tmp_path).array("x", {}, Counter())
    name = entry(tmp_path).name
    assert done == ["array.npy", "entry.json", name, "renamed", tmp_path.name]


def test_an_entry_that_cannot_be_put_in_its_place_warns(tmp_path, monkeypatch, caplog):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    np.testing.assert_array_equal(ArrayCache(tmp_path).array("x", {}, Counter()), np.arange(100.0))
    assert "No space left on device" in caplog.text
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_a_whole_entry_is_not_replaced(tmp_path):
    """A reader may be opening it, array by array."""
    cache = ArrayCache(tmp_path)
    cache.array("x", {}, Counter())
    before = (entry(tmp_path) / "array.npy").stat().st_ino
    cache._write(entry(tmp_path), {"array": np.arange(100.0)}, {})
    assert (entry(tmp_path) / "array.npy").stat().st_ino == before


def test_a_cached_open_decodes_no_names_and_needs_no_polars(tmp_path, toy):
    code = """
import sys, time
from pathlib import Path
from xrec.data.build import build
from xrec.data.cache import ArrayCache
class Source:
    name, settings = "toy", {}
    def files(self): return []
    def load(self): raise SystemExit("not cached")
class Split:
    name = "s"
    def key(self): return {}
class Cleaning:
    def key(self): return {}
start = time.perf_counter()
data = build(Source(), Split(), ArrayCache(sys.argv[1]), Cleaning())
assert data.catalogue.n_items == 1_000_000 and data.catalogue.item_ids._decoded is None
print(time.perf_counter() - start)
assert "polars" not in sys.modules and data.catalogue.item_names[999_999] == "name 999999"
"""
    names = Texts.of(f"name {i}" for i in range(1_000_000))
    few = Texts.of(["u"])
    arrays = {c: np.zeros(5_000_000, dtype=np.int32) for c in ("user", "item", "time", "strength", "kind")}
    arrays |= names.arrays("item_ids") | names.arrays("item_names") | few.arrays("user_ids")
    document = {
        "train_end": 1, "parts": {}, "cold": [], "event_kinds": ["x"], "n_target_kinds": 1,
        "users_apart": False, "mechanisms": [],
        "item_fields": [], "user_fields": [], "card": {},
    }  # fmt: skip
    key = {"source": "toy", "files": [], "settings": {}, "clean": {}, "split": {}}
    ArrayCache(tmp_path).folder("data-toy", key, lambda: (arrays, document))
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.3
