"""The data card: what a reader of any number must know about the data behind it. JSON-able."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xrec.types import Field

#: shares of the items, most popular first, for the long-tail curve
TAIL = (0.01, 0.05, 0.1, 0.2, 0.5)


def data_card(
    name: str,
    arrays: Mapping[str, np.ndarray],
    n_users: int,
    n_items: int,
    train_end: int,
    parts: Mapping[str, tuple[int, int]],
    n_target_kinds: int,
    steps: Sequence[dict[str, Any]],
    item_fields: Sequence[Field],
    user_fields: Sequence[Field],
) -> dict[str, Any]:
    """Sizes, drop accounting, the split's parts, the long tail, attribute coverage.

    Args:
        arrays: user, item, time (periods), kind; sorted by user, item and time.
        n_target_kinds: events of kinds 0 .. n - 1 are targets. Repeats and the long tail count only these; sizes and
            histories count every kind.
    """
    user, item, time = arrays["user"], arrays["item"], arrays["time"]
    wanted = arrays["kind"] < n_target_kinds
    fresh = np.ones(len(user), dtype=bool)  # the first event of its user and item
    fresh[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    starts = np.flatnonzero(fresh)
    pair = np.cumsum(fresh, dtype=np.int32)
    pair -= 1
    before = time[starts] < parts["test"][0]
    never = np.iinfo(np.int32).max
    target_time = np.where(wanted, time, never)
    first_target = np.minimum.reduceat(target_time, starts)  # of each user and item
    training, training_targets = time <= train_end, target_time <= train_end
    lengths = np.bincount(user[starts][before], minlength=n_users)
    n_pairs = int(before.sum())
    n_training_pairs = int((first_target <= train_end).sum())
    sizes = {
        "n_users": n_users,
        "n_items": n_items,
        "n_events": len(user),
        "n_training_events": int(training.sum()),
        "n_pairs_before_test": n_pairs,
        "density_before_test": _significant(n_pairs / (n_users * n_items)),
        "training_repeat_share": round(1 - n_training_pairs / max(1, int(training_targets.sum())), 4),
        "history_mean": round(float(lengths.mean()), 1),
        "history_median": float(np.median(lengths)),
        "history_max": int(lengths.max()),
    }
    return {
        "name": name,
        "sizes": sizes,
        "steps": list(steps),
        "splits": {p: _part(span, user, target_time, pair, first_target) for p, span in parts.items()},
        "long_tail": long_tail(np.bincount(item[training_targets], minlength=n_items)),
        "attribute_coverage": {
            f"{entity} {f.name}": round(float(_covered(f).mean()), 4)
            for entity, fields in (("item", item_fields), ("user", user_fields))
            for f in fields
        },
    }


def long_tail(counts: np.ndarray) -> dict[str, float]:
    """Share of the events that fall on the most popular x % of the items (at least one item)."""
    ordered = np.sort(counts)[::-1]
    total = max(1, int(counts.sum()))
    return {
        f"top {share:.0%} of items": round(float(ordered[: max(1, round(share * len(counts)))].sum() / total), 4)
        for share in TAIL
    }


def _part(
    span: tuple[int, int], user: np.ndarray, time: np.ndarray, pair: np.ndarray, first: np.ndarray
) -> dict[str, Any]:
    """Targets are distinct (user, item) with an event of a target kind in the span; new ones have none before it."""
    start, end = span
    inside = np.flatnonzero((time >= start) & (time <= end))
    chosen = np.unique(pair[inside], return_index=True)
    owner = user[inside][chosen[1]]
    new = first[chosen[0]] >= start
    return {
        "periods": f"{start}-{end}",
        "targets": len(owner),
        "users": len(np.unique(owner)),
        "new_targets": int(new.sum()),
        "new_users": len(np.unique(owner[new])),
        "repeat_share": round(1 - int(new.sum()) / max(1, len(owner)), 4),
    }


def _covered(field: Field) -> np.ndarray:
    """[n] which entities have a value."""
    return field.codes[:, 0] != 0


def _significant(share: float) -> float:
    """Three significant digits: a sparse data set has a density of 0.0003 %."""
    return float(f"{share:.3g}")
