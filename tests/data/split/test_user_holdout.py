"""Held-out users, by hand: who is held out, what is folded in, and on which periods."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from tests.splits import in_part, periods, table
from xrec.data.split.assigned import Assigned
from xrec.data.split.user_holdout import UserHoldoutSplit


def many(n_users: int = 20, n_events: int = 5) -> pl.DataFrame:
    """Users u = 0, 1, ... with items 0, 1, ... at times 10, 11, ..."""
    return table([(u, i, 10 + i) for u in range(n_users) for i in range(n_events)])


def parts(assigned: Assigned) -> dict[int, str]:
    assert assigned.folds is not None
    assert set(assigned.folds["entity"]) == {"user"}
    return dict(assigned.folds.select("id", "part").iter_rows())


def test_shares_of_users_and_of_their_events():
    assigned = UserHoldoutSplit(fold_in_share=0.8).assign(many())
    part_of = parts(assigned)
    assert Counter(part_of.values()) == {"train": 16, "validation": 2, "test": 2}
    # training 0 .. 4; four folded-in events 5 .. 8 and the target at 9; 10 .. 13 and 14
    assert (assigned.train_end, assigned.parts) == (4, {"validation": (9, 9), "test": (14, 14)})
    first = {"train": 0, "validation": 5, "test": 10}
    for user, found in periods(assigned).items():
        assert found == [(first[part_of[user]] + i, i) for i in range(5)]
    assert assigned.steps == []


def test_histories_of_different_lengths_end_together():
    rows = [(u, i, i) for u in range(12) for i in range(2 + u % 4)]
    assigned = UserHoldoutSplit(validation_share=0.25, test_share=0.25, fold_in_share=0.5, seed=3).assign(table(rows))
    part_of = parts(assigned)
    longest = {p: max(2 + u % 4 for u in part_of if part_of[u] == p) for p in ("train", "validation", "test")}
    n_in = {n: int(0.5 * n + 0.5) for n in range(2, 6)}  # 1, 2, 2, 3
    start = {"train": longest["train"]}
    start["validation"] = start["train"] + n_in[longest["validation"]]
    start["test"] = start["validation"] + 1 + n_in[longest["test"]]
    assert assigned.train_end == start["train"] - 1
    assert assigned.parts == {p: (start[p], start[p]) for p in ("validation", "test")}
    for user, found in periods(assigned).items():
        n, part = 2 + user % 4, part_of[user]
        history = n if part == "train" else n_in[n]
        wanted = [(start[part] - history + i, i) for i in range(history)]
        assert found == wanted + [(start[part], i) for i in range(history, n)]


def test_folds_are_of_one_size_and_everyone_is_tested_once():
    events, tested, validated = many(23), Counter(), Counter()
    for fold in range(5):
        part_of = parts(UserHoldoutSplit(n_folds=5, fold=fold, seed=7).assign(events))
        sizes = Counter(part_of.values())
        assert sizes["test"] in (4, 5) and sizes["validation"] in (4, 5)
        tested.update(u for u, p in part_of.items() if p == "test")
        validated.update(u for u, p in part_of.items() if p == "validation")
    assert tested == validated == Counter(range(23))


def test_the_next_fold_validates():
    events = many(20)
    one, two = (parts(UserHoldoutSplit(n_folds=4, fold=f).assign(events)) for f in (3, 0))
    assert {u for u, p in one.items() if p == "validation"} == {u for u, p in two.items() if p == "test"}


def test_the_seed_decides_and_zero_is_a_seed():
    events = many(40)
    found = [parts(UserHoldoutSplit(seed=s).assign(events)) for s in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_users_of_one_event_train():
    rows = [(u, i, i) for u in range(10) for i in range(3)] + [(u, 0, 0) for u in range(10, 40)]
    assigned = UserHoldoutSplit(validation_share=0.4, test_share=0.5).assign(table(rows))
    part_of = parts(assigned)
    assert {part_of[u] for u in range(10, 40)} == {"train"}
    assert Counter(part_of.values()) == {"train": 31, "validation": 4, "test": 5}


def test_extreme_shares_leave_one_event_on_either_side():
    for share, n_targets in ((0.01, 4), (0.99, 1)):
        assigned = UserHoldoutSplit(fold_in_share=share).assign(many())
        for part in ("validation", "test"):
            assert in_part(assigned, part)["user"].value_counts()["count"].to_list() == [n_targets] * 2


def test_random_events_are_folded_in_and_keep_their_order():
    events = many(40, 10)
    assigned = UserHoldoutSplit(fold_in="random", fold_in_share=0.5).assign(events)
    items = {}
    for user, part in parts(assigned).items():
        found = periods(assigned)[user]
        assert sorted(i for _, i in found) == list(range(10))
        history = found if part == "train" else found[:5]
        assert [i for _, i in history] == sorted(i for _, i in history)
        if part != "train":
            items[user] = tuple(i for _, i in history)
    assert len(set(items.values())) > 1  # each user has a draw of its own
    assert any(history != (0, 1, 2, 3, 4) for history in items.values())
    assert "random ones" in assigned.note


def test_repeated_targets_become_one():
    rows = [(u, i, t) for u in range(10) for t, i in enumerate([0, 1, 2, 2, 3])]
    assigned = UserHoldoutSplit(fold_in_share=0.4).assign(table(rows))
    for part in ("validation", "test"):
        found = in_part(assigned, part)
        assert found.select("item", "strength", "time").sort("item").rows() == [(2, 2.0, 3), (3, 1.0, 4)]
    (step,) = assigned.steps
    assert (step.step, step.rows, step.merged) == ("merged", 48, True)


@pytest.mark.parametrize("fold_in", ["first", "random"])
def test_it_says_what_a_reader_must_know(fold_in):
    note = UserHoldoutSplit(fold_in=fold_in).assign(many()).note
    assert note.startswith("held-out users are scored by what others did at any time, also later than their targets")
