"""JSON lines block by block: the same records whatever the blocks, the same answers from polars and from Python."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrec.data.errors import DataError
from xrec.data.sources.jsonlines import JsonLines

FETCH = "fetch it again (python scripts/fetch_data.py amazon)"
FIELDS = {"a": "id", "n": "whole", "x": "number", "t": "text", "c": "texts"}


def lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(r) + "\n" for r in records).encode()


def literals(records: list[dict[str, Any]]) -> bytes:
    return "".join(f"{r!r}\n" for r in records).encode()


@pytest.mark.parametrize("size", [1, 40, 200, 10_000])
@pytest.mark.parametrize("form", [lines, literals])
def test_blocks_of_any_size_give_the_same_records(size, form, tmp_path):
    records = [{"a": f"id {i}", "n": i, "c": [["é", "ü"]] if i % 2 else []} for i in range(20)]
    (tmp_path / "f").write_bytes(form(records).removesuffix(b"\n"))
    table = JsonLines("amazon", tmp_path / "f", {"a": "id", "n": "whole", "c": "texts"})
    # a line may be as long as eight blocks
    frames = list(table.frames(max(size, 8)))
    assert pl.concat(frames).rows() == [(r["a"], r["n"], [x for y in r["c"] for x in y]) for r in records]
    assert size > 1000 or len(frames) > 1


def test_a_bad_line_of_a_later_block_keeps_its_number(tmp_path):
    good = b'{"a":"x"}\n'
    (tmp_path / "f").write_bytes(good * 50 + b"\n" + b'{"a":\n' + good * 50)
    table = JsonLines("amazon", tmp_path / "f", {"a": "id"})
    with pytest.raises(DataError, match=r"amazon: f, line 52 is not JSON: b'\{\"a\":'; mend or remove the line, or"):
        list(table.frames(100))


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("xrec.data.sources.reading.LONGEST", 800)
    (tmp_path / "f").write_bytes(b'{"a":"x"}\n' + b"x" * 5000)
    with pytest.raises(DataError) as caught:
        list(JsonLines("amazon", tmp_path / "f", {"a": "id"}).frames(100))
    assert str(caught.value) == f"amazon: f, line 2 is longer than 800 bytes; {FETCH}"


TEXT = st.text(max_size=12)  # any character, halves of surrogate pairs and NUL among them
RECORD = st.fixed_dictionaries(
    {"asin": st.just("first")},
    optional={
        "a": st.none() | TEXT | st.integers(-(10**6), 10**6),
        "n": st.none() | st.integers(-(2**53), 2**53),
        "x": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6),
        "t": st.none() | TEXT,
        "c": st.none() | st.lists(TEXT | st.none() | st.lists(TEXT)),
        "other": TEXT | st.dictionaries(TEXT, st.integers(0, 9), max_size=2),
    },
)


@given(st.lists(RECORD, min_size=1, max_size=8))
def test_polars_and_python_answer_the_same(tmp_path_factory, records):
    """As JSON (polars where it can) and as Python literals (Python always)."""
    folder = tmp_path_factory.mktemp("lines")
    found = {}
    for form in (lines, literals):
        (folder / form.__name__).write_bytes(form(records))
        frames = list(JsonLines("amazon", folder / form.__name__, FIELDS).frames())
        assert all(dict(f.schema) == SCHEMA for f in frames)
        found[form] = pl.concat(frames).rows()
    assert len(found[lines]) == len(records)
    assert found[lines] == found[literals]


SCHEMA = {"a": pl.String, "n": pl.Int64, "x": pl.Float64, "t": pl.String, "c": pl.List(pl.String)}


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b'{"a":"x","n":"12","x":"1.5","c":"one"}', ("x", 12, 1.5, None, ["one"])),
        (b'{"n":12.0,"x":"","t":3,"c":[1,[2.5,[""]]]}', (None, 12, None, "3", ["1", "2.5"])),
        (b'{"a":"[x]","t":"{y}"}', ("[x]", None, None, "{y}", None)),
    ],
)
def test_untidy_values_are_taken(line, row, tmp_path):
    (tmp_path / "f").write_bytes(line)
    assert next(JsonLines("amazon", tmp_path / "f", FIELDS).frames()).rows() == [row]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"a":{"b":1}}', ": a is \"{'b': 1}\", not text; mend the line"),
        (b'{"a":[1]}', ": a is '[1]', not text; mend the line"),
        (b'{"c":[{"b":1}]}', ": c is \"[{'b': 1}]\", not text; mend the line"),
        (b'{"t":["x"]}', ": t is \"['x']\", not text; mend the line"),
        (b'{"x":true}', ": x is 'True', not a number; mend the line"),
        (b'{"x":1e999}', ": x is 'inf', not a finite number; mend the line"),
        (b'{"n":1e300}', ": n is '1e+300', not a whole number of 64 bits; mend the line"),
        (b'{"a":1}{"a":2}', ' is not JSON: b\'{"a":1}{"a":2}\'; mend or remove the line'),
        (b"null", " has no named fields: b'null'; mend or remove the line"),
        (b'{"a":' + b"[" * 100_000, ' is not JSON: b\'{"a":' + "[" * 55 + "'; mend or remove the line"),
    ],
)
def test_values_that_a_field_cannot_hold_are_refused(line, fault, tmp_path):
    (tmp_path / "f").write_bytes(b'{"a":"first"}\n' + line)
    with pytest.raises(DataError) as caught:
        list(JsonLines("amazon", tmp_path / "f", FIELDS).frames())
    assert str(caught.value) == f"amazon: f, line 2{fault}, or {FETCH}"


@pytest.mark.filterwarnings("error")
def test_a_stray_backslash_in_a_literal_is_kept_quietly(tmp_path):
    (tmp_path / "f").write_bytes(rb"{'a':'x\|y'}" + b"\n")
    assert next(JsonLines("amazon", tmp_path / "f", {"a": "id"}).frames()).rows() == [("x\\|y",)]


def test_a_deep_literal_is_refused(tmp_path):
    (tmp_path / "f").write_bytes(b"{'a':'first'}\n{'a':" + b"[" * 10_000 + b"\n")
    with pytest.raises(DataError, match="amazon: f, line 2 is not a Python literal: "):
        list(JsonLines("amazon", tmp_path / "f", FIELDS).frames())
