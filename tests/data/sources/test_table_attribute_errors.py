"""Broken attribute tables: the exact words of every error."""

from __future__ import annotations

import pytest

from tests.tables import EVENTS, load
from xrec.data.errors import DataError

BAD_TABLES = [
    (
        "item,a\n9,x\n9,y\n",
        {},
        "items.csv, line 2 and line 3: both describe item '9' and differ; keep one row per item",
    ),
    (
        "item,price\n9,1\n007,cheap\n",
        {"types": {"price": "numeric"}},
        "items.csv, line 3: price is 'cheap', takes a finite number; mend it, or set its type to categorical",
    ),
    (
        "item,price\n9,1e999\n",
        {},
        "items.csv, line 2: price is '1e999', takes a finite number; mend it, or set its type to categorical",
    ),
    (
        'item,price\n007,2\n"8 b","1,000"\n9,3\n',
        {},
        (
            "items.csv, row 2: price is '1,000', but 2 of 3 values are numbers; mend it, or set items.types.price "
            "to categorical"
        ),
    ),
    (
        "item,price\n9,cheap\n" + "".join(f"{i},{i}\n" for i in range(10, 30)),
        {},
        (
            "items.csv, line 2: price is 'cheap', but 20 of 21 values are numbers; mend it, or set items.types.price "
            "to categorical"
        ),
    ),
    ("item,a\n9,x\n", {"types": {"b": "list"}}, "items.types.b: there is no such attribute"),
    (
        "item,a\n9,x\n",
        {"types": {"a": "number"}},
        "items.types.a is 'number', takes one of categorical, numeric, list, text; did you mean 'numeric'?",
    ),
    (
        "item,brand\n9,x\n",
        {"columns": {"item": "item", "brand": "brnd"}},
        "items.csv has no column 'brnd' for items.columns.brand; did you mean 'brand'? (it has item, brand)",
    ),
    (
        "item,a\n9.0,x\n7.0,y\n",
        {},
        (
            "no item of the events has a row in items.csv: events have items such as '007', '8 b', '9', "
            "items.csv such as '7.0', "
            "'9.0'"
        ),
    ),
    ("item,a\n", {}, "items.csv has a header and no rows"),
    (
        "sku,item\n9,x\n",
        {"columns": {"item": "sku"}},
        "items.csv: no attribute can be called 'item', as the id is; give it another name",
    ),
]


@pytest.mark.parametrize(("content", "settings", "message"), BAD_TABLES, ids=[m[:60] for *_, m in BAD_TABLES])
def test_bad_attribute_tables(tmp_path, content, settings, message):
    (tmp_path / "items.csv").write_text(content)
    with pytest.raises(DataError) as error:
        load(tmp_path, EVENTS, items={"path": "items.csv", "columns": {"item": "item"}} | settings)
    assert str(error.value) == f"table: {message}"
