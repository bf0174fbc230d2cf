"""Attributes that change: what was known of an item when training ended, and before it was first a target."""

from __future__ import annotations

from typing import Any

import polars as pl

from xrec.data.errors import DataError
from xrec.data.split.leakage import check_attributes

COLUMNS = ("item", "attribute", "value", "time")


def latest_values(
    history: pl.DataFrame, items: pl.DataFrame, end: Any, held_out: pl.DataFrame | None, source: str
) -> tuple[pl.DataFrame, dict[str, int]]:
    """`items` with a column per attribute of `history`: the latest value of a time <= `end` and before the item's first
    held-out event; and how many rows were used, superseded by a later one, and left out because they are of a later
    time.

    Args:
        end: the last time of training, as the source counts time.
        held_out: columns item and time: the first of an item's events that are targets of a part. Where each user is
            cut at another date (leave_last_out), it can be before `end`.
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
    if held_out is not None:
        first = past.join(held_out.rename({"time": "first"}), on="item", how="left")
        past = first.filter((pl.col("time") < pl.col("first")).fill_null(value=True)).drop("first")
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
