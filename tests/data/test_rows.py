"""Every row of a log is kept, merged or dropped, and the card says which, whatever the split and the cleaning."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.toys import ToySource
from xrec.data.clean import Cleaning
from xrec.data.errors import DataError
from xrec.data.make import clean_events, make_arrays
from xrec.data.schema import RawData
from xrec.data.split.cold_item import ColdItemSplit
from xrec.data.split.leave_last_out import LeaveLastOutSplit
from xrec.data.split.random import RandomSplit
from xrec.data.split.temporal import TemporalSplit
from xrec.data.split.user_holdout import UserHoldoutSplit

KINDS = ("view", "cart", "buy")
TEMPORAL = TemporalSplit(6, 8, 10)
SPLITS: dict[str, Any] = {
    "temporal": TEMPORAL,
    "leave_last_out": LeaveLastOutSplit(),
    "leave_last_out, first events only": LeaveLastOutSplit(repeats="drop"),
    "user_holdout": UserHoldoutSplit(validation_share=0.3, test_share=0.3, fold_in="random", fold_in_share=0.5),
    "cold_item": ColdItemSplit(TEMPORAL, validation_share=0.3, test_share=0.3),
    "random": RandomSplit(validation_share=0.2, test_share=0.2),
}
#: steps that drop rows; "merged" makes several rows one
DROPS = {
    "missing", "time", "since", "until", "value", "kinds", "strength", "duplicates",
    "span", "repeats", "cold", "outliers", "core",
}  # fmt: skip

IDS = st.integers(0, 7).map(lambda n: None if n == 7 else str(n))
ROW = st.tuples(IDS, IDS, st.integers(-1, 11), st.integers(0, 2), st.sampled_from([0.0, 1.0, 2.0, 4.0]))
LOGS = st.lists(ROW, min_size=60, max_size=150)
CLEANING = st.fixed_dictionaries(
    {
        "since": st.sampled_from([None, 1]),
        "until": st.sampled_from([None, 10]),
        "min_value": st.sampled_from([None, 1.0]),
        "kind_weights": st.sampled_from([None, {"view": 0.0}, {"cart": 2.0, "buy": 4.0}]),
        "strength": st.sampled_from(["value", "one"]),
        "deduplicate": st.booleans(),
        "outlier_mads": st.sampled_from([None, 1.0]),
        "min_item_users": st.integers(0, 2),
        "min_user_items": st.integers(0, 2),
    }
)


def raw_of(rows: list) -> RawData:
    schema = {"user": pl.String, "item": pl.String, "time": pl.Int64, "kind": pl.UInt8, "value": pl.Float64}
    nobody = [pl.DataFrame(schema={entity: pl.String}) for entity in ("item", "user")]
    return RawData(pl.DataFrame(rows, schema=schema, orient="row").lazy(), *nobody, event_kinds=KINDS)


def made(rows: list, split: Any, cleaning: dict[str, Any]) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """The arrays of a build, and the steps of its card; a table that leaves too little is passed over."""
    try:
        settings = Cleaning(**cleaning)
        arrays, document = make_arrays(clean_events(ToySource(raw_of(rows)), settings, split), split, settings)
    except DataError:
        assume(False)
        raise
    return arrays, document["card"]["steps"]


def lost(steps: list[dict[str, Any]]) -> Counter[str]:
    """step -> rows that went in it."""
    gone: Counter[str] = Counter()
    for before, after in pairwise(steps):
        gone[after["step"]] += before["rows"] - after["rows"]
        assert before["rows"] >= after["rows"]
        assert after["merged"] == (after["step"] == "merged")
    return +gone


@pytest.mark.parametrize("name", SPLITS)
@given(rows=LOGS, cleaning=CLEANING)
def test_rows_in_are_rows_kept_and_rows_that_went_by_reason(name, rows, cleaning):
    arrays, steps = made(rows, SPLITS[name], cleaning)
    gone = lost(steps)
    assert set(gone) <= {*DROPS, "merged"}
    assert len(rows) == steps[0]["rows"] == len(arrays["user"]) + sum(gone.values())
    last = steps[-1]
    n_left = [len(np.unique(arrays[entity])) for entity in ("user", "item")]
    assert [last["users"], last["items"]] == n_left == [arrays[e].max() + 1 for e in ("user", "item")]
    kept = list(zip(arrays["user"], arrays["item"], arrays["time"], strict=True))
    assert len(kept) == len(set(kept))
    total, whole = float(arrays["strength"].sum()), sum(weight_of(row, cleaning) for row in rows)
    assert total == pytest.approx(whole) if set(gone) <= {"merged"} else total <= whole + 1e-3


def weight_of(row: tuple, cleaning: dict[str, Any]) -> float:
    *_, kind, value = row
    weight = (cleaning["kind_weights"] or {}).get(KINDS[kind], 1.0)
    return weight * (value if cleaning["strength"] == "value" else 1.0)


def by_hand(rows: list, cleaning: dict[str, Any]) -> tuple[dict[tuple, float], Counter[str]]:
    """(user, item, time) -> strength on the temporal split, and what went in which step; without outliers."""
    gone: Counter[str] = Counter()
    left: dict[tuple, float] = {}
    seen = set()
    for row in sorted(rows, key=lambda row: -row[4]):  # of duplicates the largest value stays
        user, item, time, kind, value = row
        weight = (cleaning["kind_weights"] or {}).get(KINDS[kind], 1.0)
        if user is None or item is None:
            gone["missing"] += 1
        elif time < 0:
            gone["time"] += 1
        elif cleaning["since"] is not None and time < cleaning["since"]:
            gone["since"] += 1
        elif cleaning["until"] is not None and time > cleaning["until"]:
            gone["until"] += 1
        elif cleaning["min_value"] is not None and value < cleaning["min_value"]:
            gone["value"] += 1
        elif weight == 0:
            gone["kinds"] += 1
        elif cleaning["strength"] == "value" and value == 0:
            gone["strength"] += 1
        elif cleaning["deduplicate"] and (user, item, time, kind) in seen:
            gone["duplicates"] += 1
        else:
            seen.add((user, item, time, kind))
            gone["merged"] += (user, item, time) in left
            left[user, item, time] = left.get((user, item, time), 0.0) + weight_of(row, cleaning)
    inside = {event: strength for event, strength in left.items() if event[2] <= TEMPORAL.test_end}
    gone["span"] = len(left) - len(inside)
    pairs = {(u, i) for u, i, t in inside if t <= TEMPORAL.train_end}
    while True:
        users, items = Counter(u for u, _ in pairs), Counter(i for _, i in pairs)
        least, fewest = cleaning["min_item_users"], cleaning["min_user_items"]
        smaller = {(u, i) for u, i in pairs if items[i] >= least and users[u] >= fewest}
        if smaller == pairs:
            break
        pairs = smaller
    users_left, items_left = {u for u, _ in pairs}, {i for _, i in pairs}
    core = {
        (u, i, t): strength
        for (u, i, t), strength in inside.items()
        if (u in users_left or not cleaning["min_user_items"]) and (i in items_left or not cleaning["min_item_users"])
    }
    gone["core"] = len(inside) - len(core)
    return core, +gone


@given(LOGS, CLEANING)
def test_a_build_keeps_and_drops_what_a_slow_loop_does(rows, cleaning):
    cleaning |= {"outlier_mads": None}
    arrays, steps = made(rows, TEMPORAL, cleaning)
    core, gone = by_hand(rows, cleaning)
    assert lost(steps) == gone
    users, items = (sorted({event[n] for event in core}, key=int) for n in (0, 1))
    found = zip(*(arrays[c].tolist() for c in ("user", "item", "time", "strength")), strict=True)
    assert {(users[u], items[i], t): s for u, i, t, s in found} == pytest.approx(core)
