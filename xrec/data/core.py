"""Who is left for training to learn from: no robots, and users and items with enough. Counted on training only."""

from __future__ import annotations

import numpy as np
import polars as pl

from xrec.data.accounting import Tally
from xrec.data.errors import DataError
from xrec.data.runs import PIECE
from xrec.data.schema import ALL_KINDS
from xrec.types import Bools, Ints

#: makes the median absolute deviation of a normal variable its standard deviation
_NORMAL = 1.4826


def drop_outliers(events: pl.DataFrame, train_end: int, mads: float, tally: Tally) -> pl.DataFrame:
    """Users go, with all their events, whose log number of training events is above median + mads * 1.4826 * MAD.

    Where more than half of the users have the same number (MAD = 0) there is no scale to judge by, and nobody goes.
    """
    counts = _count(events.filter(pl.col("period") <= train_end)["user"], _size(events["user"]))
    logs = np.log(counts[counts > 0])
    median = float(np.median(logs)) if len(logs) else 0.0
    spread = _NORMAL * float(np.median(np.abs(logs - median))) if len(logs) else 0.0
    if spread == 0:
        return tally.count(events, "outliers", "nobody: more than half of the users have the same number of events")
    limit = np.exp(median + mads * spread)
    robots = np.flatnonzero(counts > limit)
    kept = events.filter(~pl.col("user").is_in(robots)) if len(robots) else events
    return tally.count(
        kept, "outliers", f"users of more than {limit:.1f} training events ({mads:g} MADs above the median, log scale)"
    )


def k_core(
    events: pl.DataFrame,
    train_end: int,
    min_item_users: int,
    min_user_items: int,
    tally: Tally,
    spared_users: Ints | None = None,
    spared_items: Ints | None = None,
    n_targets: int = ALL_KINDS,
) -> pl.DataFrame:
    """Keep items with >= `min_item_users` distinct users and users with >= `min_user_items` distinct items.

    Counted on periods <= `train_end`, repeated until nothing changes; later events of the same users and items stay.
    0 is no limit: also those stay that never occur in training. Spared ones (held-out users, cold items, which must not
    be in training) stay as long as they have an event.

    Args:
        events: user and item are codes; sorted by user, item and period.
        n_targets: only events of kinds 0 .. n_targets - 1 are counted.
    Raises:
        DataError: nothing is left of the training.
    """
    n_users, n_items = _size(events["user"]), _size(events["item"])
    pairs = _training_pairs(events, train_end, n_targets)
    user, item, rounds = core_of_pairs(*pairs, min_item_users, min_user_items)
    if len(user) == 0:
        raise DataError(
            f"{tally.source}: the core of items with >= {min_item_users} users and users with >= {min_user_items} "
            f"items is empty; {_what_to_lower(*pairs, min_item_users, min_user_items)}"
        )
    users = _chosen(user, n_users, min_user_items, spared_users)
    items = _chosen(item, n_items, min_item_users, spared_items)
    inside = users[events["user"].to_numpy()] & items[events["item"].to_numpy()]
    reason = (
        f"items >= {min_item_users} users, users >= {min_user_items} items on periods <= {train_end} ({rounds} rounds)"
    )
    return tally.count(events if inside.all() else events.filter(pl.Series(inside)), "core", reason)


def core_of_pairs(
    user: np.ndarray, item: np.ndarray, min_item_users: int, min_user_items: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """The distinct pairs (user, item) that are left at the fixed point, and the number of rounds."""
    n_users, n_items, rounds = _size(user), _size(item), 0
    while True:
        rounds += 1
        size = len(user)
        keep = _count(item, n_items)[item] >= min_item_users
        user, item = (user, item) if keep.all() else (user[keep], item[keep])
        keep = _count(user, n_users)[user] >= min_user_items
        user, item = (user, item) if keep.all() else (user[keep], item[keep])
        if len(user) == size:
            return user, item, rounds


def _what_to_lower(user: np.ndarray, item: np.ndarray, min_item_users: int, min_user_items: int) -> str:
    """Which limit nothing in training reaches; both where each is reached, but not together."""
    most_users, most_items = (int(np.bincount(codes).max(initial=0)) for codes in (item, user))
    if most_users < min_item_users:
        return f"no item has more than {most_users} users in training: lower data.clean.min_item_users to that or less"
    if most_items < min_user_items:
        return f"no user has more than {most_items} items in training: lower data.clean.min_user_items to that or less"
    return "lower data.clean.min_item_users or data.clean.min_user_items"


def _training_pairs(events: pl.DataFrame, train_end: int, n_targets: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct (user, item) of training."""
    training = (events["period"].to_numpy() <= train_end) & (events["kind"].to_numpy() < n_targets)
    user, item = events["user"].to_numpy()[training], events["item"].to_numpy()[training]
    first = np.ones(len(user), dtype=bool)
    first[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    return user[first], item[first]


def _chosen(kept: np.ndarray, n: int, least: int, spared: Ints | None) -> Bools:
    chosen = np.full(n, least <= 0)
    chosen[kept] = True
    if spared is not None:
        chosen[spared[spared < n]] = True
    return chosen


def _count(codes: pl.Series | np.ndarray, n: int) -> Ints:
    """[n] how often each code is there; in pieces, since numpy widens what it counts."""
    counts = np.zeros(n, dtype=np.int64)
    for start in range(0, len(codes), PIECE):
        counts += np.bincount(codes[start : start + PIECE], minlength=n)
    return counts


def _size(codes: pl.Series | np.ndarray) -> int:
    return int(codes.max()) + 1 if len(codes) else 0  # type: ignore[arg-type]
