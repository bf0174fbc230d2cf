"""Leave-last-out, by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.splits import SCHEMA, TABLES, dated, periods, table
from xrec.data.errors import DataError
from xrec.data.split.leakage import check
from xrec.data.split.leave_last_out import LeaveLastOutSplit

#: user 1 has five events, 2 three, 3 two, 4 one
ROWS = [(1, i, t) for t, i in enumerate([10, 11, 12, 13, 14])]
ROWS += [(2, 12, 100), (2, 10, 200), (2, 11, 300), (3, 13, 7), (3, 14, 8), (4, 10, 50)]


def test_the_last_is_the_test_and_the_one_before_it_validation():
    assigned = LeaveLastOutSplit().assign(table(ROWS))
    assert (assigned.train_end, assigned.parts) == (2, {"validation": (3, 3), "test": (4, 4)})
    assert periods(assigned) == {
        1: [(0, 10), (1, 11), (2, 12), (3, 13), (4, 14)],
        2: [(2, 12), (3, 10), (4, 11)],
        3: [(1, 13), (2, 14)],
        4: [(2, 10)],
    }
    assert assigned.steps == []
    assert assigned.note == "2 users of fewer than 3 events only train"


def test_nothing_is_noted_when_everybody_has_targets():
    assert LeaveLastOutSplit().assign(table(ROWS[:8])).note == ""


def test_a_higher_limit_moves_whole_histories_into_training():
    assigned = LeaveLastOutSplit(min_events=5).assign(table(ROWS))
    assert (assigned.train_end, assigned.parts["test"]) == (2, (4, 4))
    assert periods(assigned)[2] == [(0, 12), (1, 10), (2, 11)]
    assert assigned.note == "3 users of fewer than 5 events only train"


def test_periods_stay_at_or_above_zero_when_a_history_that_only_trains_is_long():
    rows = [(1, t, t) for t in range(5)] + [(2, t, t) for t in range(4)]
    assigned = LeaveLastOutSplit(min_events=5).assign(table(rows))
    assert (assigned.train_end, assigned.parts["test"]) == (3, (5, 5))
    assert periods(assigned) == {1: [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)], 2: [(0, 0), (1, 1), (2, 2), (3, 3)]}


def test_a_repeated_item_keeps_each_place_or_its_first():
    rows = [(1, 10, 1), (1, 11, 2), (1, 10, 3), (1, 12, 4), (1, 12, 5), (2, 10, 1), (2, 11, 9), (2, 10, 9)]
    kept = LeaveLastOutSplit(repeats="keep").assign(table(rows))
    assert [i for _, i in periods(kept)[1]] == [10, 11, 10, 12, 12]
    assert kept.steps == []
    dropped = LeaveLastOutSplit(repeats="drop").assign(table(rows))
    assert periods(dropped) == {1: [(0 + 1, 10), (2, 11), (3, 12)], 2: [(0, 10), (1, 11)]}
    (step,) = dropped.steps
    assert (step.step, step.rows, step.users, step.items, step.merged) == ("repeats", 5, 2, 3, False)


def test_ties_keep_the_order_of_the_given_rows():
    given = pl.DataFrame(
        [(1, i, t, 0, 1.0) for i, t in ((30, 5), (20, 5), (30, 5), (10, 5), (40, 4))], SCHEMA, orient="row"
    )
    # the 30 that became one stands where the first of them was
    assert [i for _, i in periods(LeaveLastOutSplit().assign(given))[1]] == [40, 30, 20, 10]


def test_ties_keep_the_order_of_the_given_rows_in_a_large_table():
    items = np.random.default_rng(0).permutation(5000).tolist()
    given = pl.DataFrame([(1, i, 5, 0, 1.0) for i in items] + [(0, 7, 5, 0, 1.0)], SCHEMA, orient="row")
    assert [i for _, i in periods(LeaveLastOutSplit().assign(given))[1]] == items


def test_the_same_item_at_the_same_time_is_one_event():
    rows = [(1, 10, 1, 1, 1.0), (1, 11, 2, 0, 1.0), (1, 12, 3, 1, 2.0), (1, 10, 3, 0, 1.0), (1, 12, 3, 2, 3.0)]
    assigned = LeaveLastOutSplit().assign(table(rows))
    assert [i for _, i in periods(assigned)[1]] == [10, 11, 10, 12]
    assert assigned.events.filter(item=12).select("kind", "strength", "period").rows() == [(1, 5.0, 3)]
    assert [(s.step, s.rows, s.merged) for s in assigned.steps] == [("merged", 4, True)]


def test_dates_order_as_they_are():
    days = ["2017-03-01", "2016-03-01", "2018-01-01 10:00"]
    assigned = LeaveLastOutSplit().assign(dated([(1, i, d) for i, d in enumerate(days)]))
    # three events: T is the longest history - 1 = 2, so that training is the single period 0
    assert periods(assigned) == {1: [(0, 1), (1, 0), (2, 2)]}
    assert (assigned.train_end, assigned.parts) == (0, {"validation": (1, 1), "test": (2, 2)})


def test_the_toys_strategy_makes_ties_and_repeats():
    """The invariants' tables would prove little without them."""
    from hypothesis import find

    assert find(TABLES, lambda t: t.select(pl.struct("user", "item", "time").is_duplicated().any()).item()).height == 2
    assert find(TABLES, lambda t: t.select(pl.struct("user", "time").is_duplicated().any()).item()).height == 2


def by_hand(rows: list[tuple[int, int, int, int]], n_targets: int) -> dict[int, dict[str, set[int]]]:
    """What each user of `rows` (user, item, time, kind) has in training, validation and test: event numbers."""
    wanted: dict[int, dict[str, set[int]]] = {}
    for user in {r[0] for r in rows}:
        own = [n for n, r in enumerate(rows) if r[0] == user]
        targets = [n for n in own if rows[n][3] < n_targets]
        if len(targets) < 3:
            wanted[user] = {"train": set(own), "validation": set(), "test": set()}
            continue
        last, one_before = targets[-1], targets[-2]
        wanted[user] = {
            "train": {n for n in own if n < one_before},
            "validation": {n for n in own if one_before <= n < last},
            "test": {last},
        }
    return wanted


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=60), st.integers(1, 3))
def test_the_last_events_of_target_kinds_are_left_out(given_rows, n_targets):
    """Distinct items and times, so that an item is the number of its event."""
    rows = sorted((user, n, n, kind) for n, (user, kind) in enumerate(given_rows))
    rows = [(user, n, time, kind) for n, (user, _, time, kind) in enumerate(rows)]
    events = table([(user, item, time, kind, 1.0) for user, item, time, kind in rows])
    wanted = by_hand(rows, n_targets)
    if not any(parts["test"] for parts in wanted.values()):
        with pytest.raises(DataError, match="split: no user has split.min_events=3 events"):
            LeaveLastOutSplit().assign(events, n_targets)
        return
    assigned = LeaveLastOutSplit().assign(events, n_targets)
    check(assigned, events, n_targets=n_targets)
    end, (validation, _), (test, _) = assigned.train_end, assigned.parts["validation"], assigned.parts["test"]
    assert (validation, test) == (end + 1, end + 2) and assigned.events["period"].min() == 0
    for user, parts in wanted.items():
        own = assigned.events.filter(user=user)
        found = {
            "train": set(own.filter(pl.col("period") <= end)["item"]),
            "validation": set(own.filter(period=validation)["item"]),
            "test": set(own.filter(period=test)["item"]),
        }
        assert found == parts
        training = own.filter(pl.col("period") <= end).sort("time")["period"].to_list()
        assert training == list(range(end - len(training) + 1, end + 1))
    n_left = sum(len(items) for parts in wanted.values() for items in parts.values())
    assert assigned.events.height == n_left
    assert [s.step for s in assigned.steps] == (["after the last"] if n_left < len(rows) else [])


# baskets

#: user 1: {10, 11} at 1, {12} at 4, {10, 13} at 6, {14, 15} at 9; user 2: three baskets; user 3: two; 4: one of three
BASKETS = [(1, 10, 1), (1, 11, 1), (1, 12, 4), (1, 10, 6), (1, 13, 6), (1, 14, 9), (1, 15, 9)]
BASKETS += [(2, 10, 2), (2, 11, 3), (2, 12, 7), (2, 13, 7), (3, 10, 1), (3, 11, 5), (3, 12, 5)]
BASKETS += [(4, 10, 8), (4, 11, 8), (4, 12, 8)]


def test_the_last_basket_is_the_test_and_the_one_before_it_validation():
    events = table(BASKETS)
    assigned = LeaveLastOutSplit(unit="basket").assign(events)
    check(assigned, events)
    assert (assigned.train_end, assigned.parts) == (1, {"validation": (2, 2), "test": (3, 3)})
    assert periods(assigned) == {
        1: [(0, 10), (0, 11), (1, 12), (2, 10), (2, 13), (3, 14), (3, 15)],
        2: [(1, 10), (2, 11), (3, 12), (3, 13)],
        3: [(0, 10), (1, 11), (1, 12)],
        4: [(1, 10), (1, 11), (1, 12)],
    }
    assert assigned.steps == [] and assigned.promises == ("user_order", "last_basket_out")
    assert assigned.note == "2 users of fewer than 3 baskets only train"


def test_the_limit_counts_baskets():
    assigned = LeaveLastOutSplit(unit="basket", min_events=4).assign(table(BASKETS))
    assert {u for u, rows in periods(assigned).items() if rows[-1][0] == assigned.parts["test"][0]} == {1}
    assert assigned.note == "3 users of fewer than 4 baskets only train"
    with pytest.raises(DataError, match=r"no user has split.min_events=5 baskets \(the longest history has 4\)"):
        LeaveLastOutSplit(unit="basket", min_events=5).assign(table(BASKETS))


def test_events_of_other_kinds_make_no_basket_of_targets():
    """Kind 1 is history only: a basket of it alone is history, one with a purchase is that purchase's basket."""
    rows = [(1, 10, 1, 0), (1, 20, 2, 1), (1, 11, 3, 0), (1, 21, 3, 1), (1, 12, 3, 0), (1, 22, 4, 1), (1, 11, 5, 1)]
    rows += [(1, 13, 6, 0), (1, 23, 6, 1), (1, 14, 6, 0), (1, 24, 8, 1)]
    events = table([(*row, 1.0) for row in rows])
    assigned = LeaveLastOutSplit(unit="basket").assign(events, n_targets=1)
    check(assigned, events, n_targets=1)
    assert (assigned.train_end, assigned.parts["test"]) == (1, (3, 3))
    assert periods(assigned)[1] == [
        (0, 10), (1, 20), (2, 11), (2, 12), (2, 21), (2, 22), (3, 13), (3, 14), (3, 23),
    ]  # fmt: skip
    # item 11 was bought at 3 and seen at 5: one row of the test's history, bought in the basket of 3
    assert assigned.events.filter(item=11).select("time", "kind", "strength").rows() == [(3, 0, 2.0)]
    assert [(s.step, s.rows, s.merged) for s in assigned.steps] == [("after the last", 10, False), ("merged", 9, True)]


def test_without_repeats_baskets_hold_what_is_left():
    rows = [(1, 10, 1), (1, 11, 2), (1, 10, 3), (1, 11, 3), (1, 12, 4), (1, 10, 4), (1, 13, 5), (1, 14, 5)]
    assigned = LeaveLastOutSplit(unit="basket", repeats="drop").assign(table(rows))
    assert periods(assigned) == {1: [(0, 10), (1, 11), (2, 12), (3, 13), (3, 14)]}
    assert [(s.step, s.rows) for s in assigned.steps] == [("repeats", 5)]


@given(TABLES)
def test_baskets_of_one_event_are_events(events):
    """Where nobody does two things at once, both units are the same split."""
    events = events.unique(["user", "time"], keep="first", maintain_order=True)
    made = []
    for unit in ("event", "basket"):
        try:
            assigned = LeaveLastOutSplit(unit=unit).assign(events)
        except DataError:
            made.append(None)
        else:
            made.append((assigned.events.rows(), assigned.train_end, assigned.parts, assigned.steps))
    assert made[0] == made[1]


def test_the_cache_key_of_events_is_what_it_was():
    assert LeaveLastOutSplit().key() == {"kind": "leave_last_out", "min_events": 3, "repeats": "keep"}
    assert LeaveLastOutSplit(unit="basket").key()["unit"] == "basket"
