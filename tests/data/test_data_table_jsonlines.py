"""Broken logs of JSON lines: the exact words of every error."""

from __future__ import annotations

import pytest

from tests.tables import load
from xrec.data.errors import DataError

BAD_JSON = [
    ("[\n{}]", "log.jsonl, line 1: one JSON array; takes JSON lines, one object a line"),
    ('[{"user": 1}]', "log.jsonl, line 1: one JSON array; takes JSON lines, one object a line"),
    ("7\n", "log.jsonl, line 1: '7'; takes JSON lines, one object a line"),
    (
        '{"user": 1, "item": 2}\n',
        "log.jsonl has no column 'time' for columns.time; did you mean 'item'? (it has user, item)",
    ),
    (
        '{"user": 1, "item": 2, "time": 1706702400}\n{"user": 1,\n',
        (
            "log.jsonl, line 2: not a JSON object (Expecting property name enclosed in double "
            "quotes: line 1 column 12 (char 11))"
        ),
    ),
    ("\n\n", "log.jsonl is empty"),
]


@pytest.mark.parametrize(("content", "message"), BAD_JSON, ids=[m[:60] for *_, m in BAD_JSON])
def test_bad_json_lines(tmp_path, content, message):
    with pytest.raises(DataError) as error:
        load(tmp_path, content, "log.jsonl")
    assert str(error.value) == f"table: {message}"


def test_a_broken_line_far_down_is_named(tmp_path):
    good = '{"user": 1, "item": 2, "time": 1706702400}\n'
    with pytest.raises(DataError, match=r"log.jsonl, line 2001: not a JSON object"):
        load(tmp_path, good * 2000 + '{"user": 1 "item": 2}\n' + good, "log.jsonl")
