"""Broken logs of JSON lines: the exact words of every error."""

from __future__ import annotations

import pytest

from tests.tables import load
from xrec.data.errors import DataError

GOOD = '{"user": 1, "item": 2, "time": 1706702400}\n'
BAD_JSON = [
    ("[\n{}]", "log.jsonl is one JSON document; takes JSON lines: write one record a line"),
    ('[{"user": 1}]', "log.jsonl is one JSON document; takes JSON lines: write one record a line"),
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
    ('{\n  "user": 1\n}\n', "log.jsonl is one JSON document; takes JSON lines: write one record a line"),
    (f'{{"events": [{GOOD.strip()}]}}', "log.jsonl is one JSON document; takes JSON lines: write one record a line"),
    (GOOD + '{"user": {"$oid": "5"}}', 'log.jsonl, line 2: user is {"$oid": "5"}, takes text or a whole number'),
    (GOOD + '{"user": 1, "item": true}', "log.jsonl, line 2: item is true, takes text or a whole number"),
    (GOOD + '{"user": 1, "user": 2}', "log.jsonl, line 2: not a JSON object ('user' is there twice)"),
    (GOOD + '{"user": NaN}', "log.jsonl, line 2: not a JSON object (NaN is no JSON: write null)"),
    (
        GOOD + '{"user": 1, "item": 2, "time": 1e999}',
        "log.jsonl, line 2: cannot be read (InvalidNumber at character 31 ('1')); mend the line",
    ),
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
