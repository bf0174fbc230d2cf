"""Damaged logs in every format load with each row accounted for, or are refused by `DataError`."""

from __future__ import annotations

import csv
import gzip
import io
import random

import polars as pl
import pytest

from tests.damage import damaged
from tests.tables import load
from xrec.data.errors import DataError

WHOLE = (
    "user,item,time,kind,qty\r\n"
    'a,"x, y",2024-01-31T12:00:00+02:00,view,1\n'
    "b,007,2024-02-01T12:00:00Z,buy,2.5\n"
    '\n"b ""2""",z,2024-02-01T12:00:00.25Z,buy,0\n'
    "ü,7,2024-02-02T00:00:00-05:00,view,3\n"
)


def expected_rows(name: str, content: bytes) -> int:
    """Rows of a file by Python's own readers: blank lines count in CSV, as rows with nothing in them."""
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    text = content.decode("utf-8-sig")
    if ".jsonl" in name:
        return sum(1 for line in text.split("\n") if line.strip())
    return len(list(csv.reader(io.StringIO(text, newline="\n"), strict=True))) - 1


@pytest.mark.parametrize(
    "name",
    ["log.csv", *(pytest.param(name, marks=pytest.mark.slow) for name in ("log.csv.gz", "log.jsonl", "log.parquet"))],
)
def test_damaged_files_load_whole_or_are_refused(tmp_path, name):
    frame = pl.read_csv(io.StringIO(WHOLE.replace("\r\n", "\n"))).drop_nulls("user")
    if ".jsonl" in name:
        content = frame.write_ndjson().encode()
    elif name.endswith(".parquet"):
        frame.write_parquet(tmp_path / name)
        content = (tmp_path / name).read_bytes()
    else:
        content = gzip.compress(WHOLE.encode()) if name.endswith(".gz") else WHOLE.encode()
    columns = {"user": "user", "item": "item", "time": "time", "kind": "kind", "value": "qty"}
    messages: list[str] = []
    loads = 0
    for seed in range(250):
        rng = random.Random(seed)
        broken = damaged(content, rng)
        try:
            raw = load(tmp_path, broken, name, columns=columns, unreadable=rng.choice(["error", "drop"]))
            events = raw.events.collect()
        except DataError as refusal:
            messages.append(str(refusal))
            continue
        if not name.endswith(".parquet"):
            assert raw.steps[0].rows == expected_rows(name, broken), (seed, broken)
        assert events.height == raw.steps[-1].rows
        assert [s.rows for s in raw.steps] == sorted((s.rows for s in raw.steps), reverse=True)
        assert events["kind"].null_count() == events["value"].null_count() == 0
        loads += 1
    assert len(messages) > 50
    assert [line for m in messages for line in m.split("\n") if not line.startswith("table: log.")] == []
    assert loads > 5 or name.endswith((".gz", ".parquet"))
