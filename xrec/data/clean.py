"""The k-core: users and items with too little to learn from go, to a fixed point, counted on training periods only."""

from __future__ import annotations

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import Step


def k_core(
    events: pl.DataFrame, train_end: int, min_item_users: int, min_user_items: int
) -> tuple[pl.DataFrame, list[Step]]:
    """Keep items with >= `min_item_users` distinct users and users with >= `min_user_items` distinct items.

    Counted on periods <= `train_end`, repeated until nothing changes; later events of the same users and items stay.

    Raises:
        DataError: nothing is left.
    """
    pairs = events.filter(pl.col("period") <= train_end).select("user", "item").unique()
    rounds = 0
    while True:
        rounds += 1
        size = pairs.height
        items = pairs.group_by("item").len().filter(pl.col("len") >= min_item_users).select("item")
        pairs = pairs.join(items, on="item", how="semi")
        users = pairs.group_by("user").len().filter(pl.col("len") >= min_user_items).select("user")
        pairs = pairs.join(users, on="user", how="semi")
        if pairs.height == size:
            break
    if pairs.height == 0:
        raise DataError(
            f"data: the core of items with >= {min_item_users} users and users with >= {min_user_items} items "
            "is empty; "
            "lower data.min_item_users or data.min_user_items"
        )
    kept = events.join(pairs.select("user").unique(), on="user", how="semi")
    kept = kept.join(pairs.select("item").unique(), on="item", how="semi")
    reason = (
        f"items >= {min_item_users} users, users >= {min_user_items} items on periods <= {train_end} ({rounds} rounds)"
    )
    return kept, [Step("core", reason, kept.height, kept["user"].n_unique(), kept["item"].n_unique())]
