"""Any event table through any split: nothing travels in time, and every row is accounted for."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.splits import TABLES, in_part, table
from xrec.data.errors import DataError
from xrec.data.split.assigned import Assigned
from xrec.data.split.cold_item import ColdItemSplit
from xrec.data.split.leakage import check
from xrec.data.split.leave_last_out import LeaveLastOutSplit
from xrec.data.split.random import RandomSplit
from xrec.data.split.temporal import TemporalSplit
from xrec.data.split.user_holdout import UserHoldoutSplit

TEMPORAL = TemporalSplit(6, 8, 10)
BIG = {"validation_share": 0.3, "test_share": 0.3}
SPLITS: dict[str, Any] = {
    "temporal": TEMPORAL,
    "leave_last_out": LeaveLastOutSplit(),
    "leave_last_out, 5 events": LeaveLastOutSplit(min_events=5),
    "leave_last_out, no repeats": LeaveLastOutSplit(repeats="drop"),
    "leave_last_out, baskets": LeaveLastOutSplit(unit="basket"),
    "user_holdout": UserHoldoutSplit(**BIG, seed=1),
    "user_holdout, folds": UserHoldoutSplit(n_folds=3, fold=2, fold_in_share=0.5),
    "user_holdout, random": UserHoldoutSplit(**BIG, fold_in="random", fold_in_share=0.4),
    "random": RandomSplit(**BIG),
    "cold_item": ColdItemSplit(TEMPORAL, **BIG, n_folds=3, fold=1),
    "cold_item, leave_last_out": ColdItemSplit(LeaveLastOutSplit(), **BIG, n_folds=1, min_item_users=2),
}
NAMES = pytest.mark.parametrize("name", SPLITS)
#: of tables that can be split, most can be split by all
LARGE = st.lists(
    st.tuples(
        st.integers(0, 7), st.integers(0, 9), st.integers(0, 12), st.integers(0, 2), st.sampled_from([0.5, 1.0, 2.0])
    ),
    min_size=40, max_size=90,
).map(table)  # fmt: skip
EVENTS = TABLES | LARGE
relaxed = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)


def split_or_refusal(name: str, events: pl.DataFrame) -> Assigned | None:
    """What the split makes of the events; None when it says that they are too few for it."""
    try:
        return SPLITS[name].assign(events)
    except DataError:
        return None


def same(assigned: Assigned) -> tuple:
    """Everything of it that must not depend on the order of rows."""
    folds = None if assigned.folds is None else assigned.folds.sort("entity", "id").rows()
    events = assigned.events.sort("user", "item", "period").rows()
    cold = {p: sorted(c.tolist()) for p, c in assigned.cold.items()}
    return events, assigned.train_end, assigned.parts, assigned.steps, folds, cold, assigned.note


@NAMES
@given(EVENTS)
@relaxed
def test_nothing_leaks_by_the_check_and_by_slow_loops(name, events):
    assigned = split_or_refusal(name, events)
    if assigned is None:
        return
    check(assigned, events, name)
    rows = {p: in_part(assigned, p).rows(named=True) for p in ("train", "validation", "test")}
    seen = [{(r["user"], r["item"], r["time"]) for r in part} for part in rows.values()]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert all(rows.values())
    if "temporal" in name or name == "cold_item":
        times = [{r["time"] for r in part} for part in rows.values()]
        assert max(times[0]) < min(times[1]) and max(times[1]) < min(times[2])
    if "random" not in name:  # a user's targets are not before what the user did until then
        for part in ("validation", "test"):
            first = assigned.parts[part][0]
            latest: dict[int, int] = defaultdict(lambda: -1)
            for row in assigned.events.filter(pl.col("period") < first).rows(named=True):
                latest[row["user"]] = max(latest[row["user"]], row["time"])
            assert all(latest[row["user"]] <= row["time"] for row in rows[part])
    if name.startswith("user_holdout"):
        users = [{r["user"] for r in part} for part in rows.values()]
        assert not users[0] & users[1] and not users[0] & users[2] and not users[1] & users[2]
        (_, validation), (test, _) = assigned.parts["validation"], assigned.parts["test"]
        between = assigned.events.filter(pl.col("period").is_between(validation + 1, test - 1))
        assert set(between["user"]) == users[2]
    if name.startswith("cold_item"):
        for part, codes in assigned.cold.items():
            assert {p for p in rows if {r["item"] for r in rows[p]} & set(codes.tolist())} == {part}


@NAMES
@given(EVENTS)
@relaxed
def test_every_row_is_kept_merged_or_dropped_for_a_reason(name, events):
    assigned = split_or_refusal(name, events)
    if assigned is None:
        return
    left = events.height
    for step in assigned.steps:
        assert step.rows <= left
        assert step.reason
        left = step.rows
    assert left == assigned.events.height
    assert not assigned.events.select(pl.struct("user", "item", "period").is_duplicated().any()).item()
    if assigned.steps:
        last = assigned.steps[-1]
        assert (last.users, last.items) == (assigned.events["user"].n_unique(), assigned.events["item"].n_unique())
    merged, before = 0, events.height
    for step in assigned.steps:
        merged += before - step.rows if step.merged else 0
        before = step.rows
    if "span" in {s.step for s in assigned.steps}:
        events = events.filter(pl.col("time") <= 10)
    if "cold" in {s.step for s in assigned.steps}:
        events = without_cold(events, assigned, SPLITS[name].base)
    if name == "leave_last_out, no repeats":
        events = events.join(assigned.events, on=["user", "item", "time"], how="semi")
    # what was merged is in the sums
    sums = [
        f.group_by("user", "item").agg(pl.col("strength").sum()).sort("user", "item") for f in (events, assigned.events)
    ]
    assert sums[0].rows() == sums[1].rows()
    if name in ("temporal", "leave_last_out", "leave_last_out, baskets", "user_holdout", "random"):
        assert merged == events.height - assigned.events.height


def without_cold(events: pl.DataFrame, assigned: Assigned, base: Any) -> pl.DataFrame:
    """The events whose period in the base split is one that the item may be in."""
    rows = base.assign(events).events
    for part, codes in assigned.cold.items():
        outside = pl.col("item").is_in(codes.tolist()) & ~pl.col("period").is_between(*assigned.parts[part])
        rows = rows.filter(~outside)
    return events.join(rows, on=["user", "item", "time"], how="semi")


@NAMES
@given(EVENTS, st.randoms(use_true_random=False))
@relaxed
def test_the_order_of_rows_decides_nothing(name, events, random):
    assigned = split_or_refusal(name, events)
    order = list(range(events.height))
    random.shuffle(order)
    shuffled = events[order]
    # the contract is to sort; of events at the same time the order of the rows decides which is later
    again = split_or_refusal(name, shuffled.sort("user", "time", "item"))
    assert (again is None) == (assigned is None)
    if assigned is None or again is None:
        return
    assert same(again) == same(assigned)
    if name in ("temporal", "cold_item"):
        assert same(SPLITS[name].assign(shuffled)) == same(assigned)
    elif "random" in name:  # draws go by ids
        unsorted = SPLITS[name].assign(shuffled)
        for part in ("train", "validation", "test"):
            found = [
                set(in_part(a, part).select("user", "item", "kind", "strength").rows()) for a in (unsorted, assigned)
            ]
            assert found[0] == found[1]


@NAMES
@given(LARGE)
@relaxed
def test_ids_kinds_and_times_are_those_of_the_events(name, events):
    assigned = split_or_refusal(name, events)
    if assigned is None:
        return
    assert {c: assigned.events.schema[c] for c in events.columns} == dict(events.schema)
    known = set(events.select("user", "item", "time", "kind").rows())
    pairs = {(u, i, t) for u, i, t, _ in known}
    assert set(assigned.events.select("user", "item", "time").rows()) <= pairs
    kinds = {(u, i, k) for u, i, _, k in known}
    assert set(assigned.events.select("user", "item", "kind").rows()) <= kinds
    assert assigned.events["period"].min() >= 0  # type: ignore[operator]


@NAMES
def test_the_splits_here_are_not_refused(name):
    events = table([(u, (u + t) % 10, t, 0, 1.0) for u in range(8) for t in range(13)])
    assert split_or_refusal(name, events) is not None


@given(st.permutations(range(6)))
def test_codes_with_gaps_draw_by_their_order(codes):
    """A draw depends on ids, not on where they stand."""
    events = table([(u, i, i) for u in range(6) for i in range(5)])
    place = dict(enumerate(codes))
    renamed = events.with_columns(pl.col("user").replace_strict(place, return_dtype=pl.Int32)).sort(
        "user", "time", "item"
    )
    one, two = (UserHoldoutSplit(**BIG).assign(e) for e in (events, renamed))
    assert one.folds is not None and two.folds is not None
    assert one.folds.rows() == two.folds.rows()
