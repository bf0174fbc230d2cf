"""Attributes that change: what was known of an item when training ended."""

from __future__ import annotations

from typing import Any

import polars as pl

from xrec.data.errors import DataError
from xrec.data.split.leakage import check_attributes

COLUMNS = ("item", "attribute", "value", "time")


def latest_values(
    history: pl.DataFrame, items: pl.DataFrame, end: Any, source: str
) -> tuple[pl.DataFrame, dict[str, int]]:
    """`items` with a column per attribute of `history`: the latest value of a time <= `end`; and how many rows were
    used, superseded by a later one, and left out because they are of a later time.

    Args:
        end: the last time of training, as the source counts time.
    Raises:
        DataError: columns or names that do not fit.
    """
    if lacking := [c for c in COLUMNS if c not in history.columns]:
        raise DataError(f"{source}: item_history lacks the columns {', '.join(lacking)}")
    if history.schema["time"].is_temporal() == isinstance(end, int):
        raise DataError(
            f"{source}: the times of item_history are {history.schema['time']}, but those of events are not"
        )
    rows = history.drop_nulls()
    past = rows.filter(pl.col("time") <= end)
    names = past["attribute"].unique().sort().to_list()
    if taken := [n for n in names if n in items.columns]:
        raise DataError(f"{source}: {', '.join(taken)} is an attribute both of items and of item_history")
    newest = past.sort("item", "attribute", "time", "value").unique(["item", "attribute"], keep="last")
    check_attributes(newest["time"].max(), end, source)  # type: ignore[arg-type]
    for name in names:
        column = newest.filter(pl.col("attribute") == name).select("item", pl.col("value").cast(pl.String).alias(name))
        items = items.join(column, on="item", how="full", coalesce=True)
    counts = {"rows": history.height, "used": newest.height, "superseded": past.height - newest.height}
    counts["after_training"] = rows.height - past.height
    return items, counts | {"incomplete": history.height - rows.height}
