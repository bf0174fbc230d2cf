"""Small planted data, and an oracle of its causes that never looks at the truth."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl

from xrec.data.schema import RawData
from xrec.data.sources.planted import Planted

SMALL: dict[str, Any] = {
    "n_users": 150,
    "n_items": 120,
    "n_categories": 8,
    "n_periods": 20,
    "n_complements": 12,
    "n_substitutes": 10,
    "n_staples": 12,
}
#: Nothing but noise on top of which a single mechanism is planted.
QUIET: dict[str, Any] = {
    **SMALL,
    "taste": 0.0,
    "popularity": 0.0,
    "season": 0.0,
    "noise": 1.0,
    "n_complements": 0,
    "n_substitutes": 0,
    "n_staples": 0,
}


def truth_of(raw: RawData) -> pl.DataFrame:
    assert raw.truth is not None
    return raw.truth


def bought(raw: RawData) -> dict[str, dict[str, list[int]]]:
    """user -> item -> times."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for user, item, time in raw.events.select("user", "item", "time").collect().iter_rows():
        found[user][item].append(time)
    return found


def within(times: list[int], now: int, first: int, last: int) -> bool:
    return any(now - last <= t <= now - first for t in times)


class Oracle:
    """What each item of a history contributes to a purchase, from links and settings; it never looks at the truth."""

    def __init__(self, source: Planted, raw: RawData) -> None:
        self.settings = source.settings
        self.category = dict(raw.items.select("item", "category").iter_rows())
        self.links: dict[tuple[str, str], dict[str, tuple[int, int, float]]] = defaultdict(dict)
        for row in source.links().rows(named=True):
            key = (row["mechanism"], row["item"])
            self.links[key][row["cause_item"]] = (row["first"], row["last"], row["strength"])

    def values(self, mechanism: str, item: str, now: int, history: dict[str, list[int]]) -> dict[str, float]:
        before = {i: times for i, times in history.items() if min(times) < now}
        result = dict.fromkeys(before, 0.0)
        if mechanism == "taste":
            recent = [i for i, times in before.items() if within(times, now, 1, self.settings["memory"])]
            share = 1 / (self.settings["taste_concentration"] + len(recent))
            return result | {i: share for i in recent if self.category[i] == self.category[item]}
        for cause, (first, last, strength) in self.links[(mechanism, item)].items():
            if cause in before and within(before[cause], now, first, last):
                result[cause] = strength
        return result


def auc(values: np.ndarray, is_cause: np.ndarray) -> float:
    """Chance that a cause is valued above an item that is none; ties count half."""
    difference = values[is_cause][:, None] - values[~is_cause][None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def mean_auc(raw: RawData, explain: Any) -> float:
    """Mean AUC of `explain(mechanism, item, time, history) -> {item: value}` over all purchases that have causes."""
    histories, found = bought(raw), []
    caused = truth_of(raw).drop_nulls("cause_item")
    for (user, item, time, mechanism), rows in caused.group_by(
        "user", "item", "time", "mechanism", maintain_order=True
    ):
        values = explain(mechanism, item, time, histories[str(user)])
        is_cause = np.isin(list(values), rows["cause_item"].to_list())
        assert is_cause.sum() == rows.height, "a cause that is not in the history"
        if not is_cause.all():
            found.append(auc(np.array(list(values.values())), is_cause))
    assert len(found) > 1000
    return float(np.mean(found))
