"""The leakage check finds a planted leak of every kind, and lets every split through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.splits import table
from xrec.data.errors import DataError
from xrec.data.split.assigned import Assigned
from xrec.data.split.cold_item import ColdItemSplit
from xrec.data.split.leakage import check, check_attributes, last_training_time
from xrec.data.split.leave_last_out import LeaveLastOutSplit
from xrec.data.split.random import RandomSplit
from xrec.data.split.temporal import TemporalSplit
from xrec.data.split.user_holdout import UserHoldoutSplit

#: users 0 .. 9 with items u, u + 1, ... (of 20) at times 0 .. 9
EVENTS = table([(u, (u + t) % 20, t) for u in range(10) for t in range(10)])
SPLITS: dict[str, Any] = {
    "temporal": TemporalSplit(6, 7, 9),
    "leave_last_out": LeaveLastOutSplit(),
    "baskets": LeaveLastOutSplit(unit="basket"),
    "user_holdout": UserHoldoutSplit(),
    "random": RandomSplit(),
    "cold": ColdItemSplit(TemporalSplit(6, 7, 9), n_strata=1),
}


def made(name: str) -> Assigned:
    return SPLITS[name].assign(EVENTS)


def first(assigned: Assigned, part: str) -> dict[str, Any]:
    """One target of a part."""
    inside = pl.col("period").is_between(*assigned.parts[part])
    return assigned.events.filter(inside).sort("user", "item").row(0, named=True)


def event(user: int, item: int, time: int) -> dict[str, Any]:
    """One on the period of its time."""
    return {"user": user, "item": item, "time": time, "period": time, "kind": 0, "strength": 1.0}


def with_rows(assigned: Assigned, *rows: dict[str, Any]) -> Assigned:
    more = pl.DataFrame(list(rows), schema=assigned.events.schema)
    return replace(assigned, events=pl.concat([assigned.events, more]))


def change(assigned: Assigned, of: dict[str, Any], **values: Any) -> Assigned:
    """The event `of` with other values."""
    rest = assigned.events.filter(
        (pl.col("user") != of["user"]) | (pl.col("item") != of["item"]) | (pl.col("period") != of["period"])
    )
    return with_rows(replace(assigned, events=rest), of | values)


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_passes(name):
    check(made(name), EVENTS, name)
    check(made(name))


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_target_that_is_also_in_training(name, part):
    assigned = made(name)
    target = first(assigned, part)
    leaking = with_rows(assigned, target | {"period": assigned.train_end})
    shown = f"user {target['user']}, item {target['item']}, time {target['time']}, period {assigned.train_end}"
    with pytest.raises(
        DataError, match=f"^{name}: leakage: 1 {part} targets are also in training; the first: {shown}$"
    ):
        check(leaking, EVENTS, name)


def test_a_target_that_is_also_folded_in():
    assigned = made("user_holdout")
    leaking = with_rows(assigned, first(assigned, "test") | {"period": assigned.parts["test"][0] - 9})
    with pytest.raises(DataError, match="1 test targets are also in the history before period "):
        check(leaking, EVENTS)


def global_cut(assigned: Assigned) -> Assigned:
    return change(assigned, first(assigned, "test"), period=assigned.train_end, user=0, item=19)


def equal_times(assigned: Assigned) -> Assigned:
    target = first(assigned, "validation")
    return with_rows(assigned, target | {"period": assigned.train_end, "item": (target["item"] + 1) % 20})


def early_target(assigned: Assigned) -> Assigned:
    return change(assigned, first(assigned, "validation"), time=3)


def two_targets(assigned: Assigned) -> Assigned:
    return with_rows(assigned, first(assigned, "test") | {"item": 19, "time": 10})


def user_mixed(assigned: Assigned) -> Assigned:
    user = first(assigned, "validation")["user"]
    return with_rows(replace(assigned, folds=None), first(assigned, "test") | {"user": user, "time": 99})


def held_out_user_trains(assigned: Assigned) -> Assigned:
    user = first(assigned, "test")["user"]
    return with_rows(replace(assigned, promises=()), event(user, 19, 0))


def cold_item_trains(assigned: Assigned) -> Assigned:
    item = int(assigned.cold["test"][0])
    return with_rows(replace(assigned, folds=None), event(0, item, 0))


def cold_item_in_folds_trains(assigned: Assigned) -> Assigned:
    return replace(cold_item_trains(assigned), folds=assigned.folds, cold={})


def cold_test_item_validates(assigned: Assigned) -> Assigned:
    item = int(assigned.cold["test"][0])
    return with_rows(assigned, event(0, item, 7))


def cold_in_both(assigned: Assigned) -> Assigned:
    both = np.append(assigned.cold["validation"], assigned.cold["test"][:1])
    return replace(assigned, cold=assigned.cold | {"validation": both})


def in_two_folds(assigned: Assigned) -> Assigned:
    assert assigned.folds is not None
    return replace(assigned, folds=pl.concat([assigned.folds, assigned.folds.head(1)]))


def after_the_end(assigned: Assigned) -> Assigned:
    return with_rows(assigned, first(assigned, "test") | {"period": 99})


def overlapping_parts(assigned: Assigned) -> Assigned:
    return replace(assigned, train_end=assigned.parts["validation"][0])


def swapped_parts(assigned: Assigned) -> Assigned:
    parts = {"validation": assigned.parts["test"], "test": assigned.parts["validation"]}
    return replace(assigned, parts=parts)


def no_test(assigned: Assigned) -> Assigned:
    return replace(assigned, parts={"validation": assigned.parts["validation"]})


def invented(assigned: Assigned) -> Assigned:
    return with_rows(assigned, first(assigned, "test") | {"item": 77})


def bad_promise(assigned: Assigned) -> Assigned:
    return replace(assigned, promises=("global_ordr",))


LEAKS: list[tuple[str, Callable[[Assigned], Assigned], str]] = [
    ("temporal", global_cut, r"^x: leakage: training goes to 8, but validation begins at 7$"),
    ("temporal", equal_times, r"^x: leakage: training goes to 7, but validation begins at 7$"),
    (
        "leave_last_out", early_target,
        r"^x: leakage: 1 validation targets are before an event of the same user's history; the first: user 0, item 8",
    ),
    ("leave_last_out", two_targets, r"^x: leakage: 2 targets of users with several in test; the first: user 0, item 9"),
    (
        "baskets", two_targets,
        r"^x: leakage: 2 targets of users with several baskets in test; the first: user 0, item 9, time 9",
    ),
    ("user_holdout", early_target, r"1 validation targets are before an event of the same user's history"),
    ("user_holdout", user_mixed, r"events are of users in two of training, validation and test; the first: user \d, "),
    ("user_holdout", held_out_user_trains, r"^x: leakage: 1 training events are of held-out users; the first: user \d"),
    ("user_holdout", in_two_folds, r"^x: leakage: user 0 is in several folds$"),
    ("cold", cold_item_trains, r"^x: leakage: 1 training events are of cold test items; the first: user 0, item \d+, "),
    ("cold", cold_item_in_folds_trains, r"^x: leakage: 1 training events are of held-out items; "),
    ("cold", cold_test_item_validates, r"^x: leakage: 1 events of cold test items are outside the test periods; "),
    ("cold", cold_in_both, r"^x: leakage: 1 items are cold in both parts, such as item \d+$"),
    ("random", after_the_end, r"^x: leakage: 1 events after the last test period \d+; the first: user 0, "),
    (
        "temporal", overlapping_parts,
        r"^x: leakage: training \(<= 7\), validation \(7-7\) and test \(8-9\) overlap or are out of order$",
    ),
    (
        "temporal", swapped_parts,
        r"^x: leakage: training \(<= 6\), validation \(8-9\) and test \(7-7\) overlap or are out of order$",
    ),
    ("temporal", no_test, r"^x: parts are validation; must be validation and test$"),
    ("random", bad_promise, r"^x: promises 'global_ordr'; a split can promise global_order, user_order, last_out, "),
]  # fmt: skip


@pytest.mark.parametrize(("name", "plant", "message"), LEAKS, ids=[f"{n}-{p.__name__}" for n, p, _ in LEAKS])
def test_a_planted_leak_is_found(name, plant, message):
    with pytest.raises(DataError, match=message):
        check(plant(made(name)), split_name="x")


@pytest.mark.parametrize("name", ["temporal", "random"])
def test_a_target_that_is_no_event_of_the_data(name):
    with pytest.raises(
        DataError, match="^x: leakage: 1 test targets are no event of the data; the first: user 0, item 77"
    ):
        check(invented(made(name)), EVENTS, "x")
    check(invented(made(name)))  # without the data nobody can tell


def test_what_only_some_promise_is_not_asked_of_others():
    check(replace(made("random"), promises=()), EVENTS)
    with pytest.raises(DataError, match="leakage: training goes to 9"):
        check(replace(made("random"), promises=("global_order",)), EVENTS)


def test_the_latest_attribute_is_not_after_the_training():
    assigned = made("temporal")
    assert last_training_time(assigned) == 6
    check_attributes(6, 6)
    check_attributes(None, 6)
    with pytest.raises(DataError, match="^x: leakage: an attribute value of 7 is kept, but training ends at 6$"):
        check_attributes(7, 6, "x")
    early, late = datetime(2017, 1, 1, tzinfo=UTC), datetime(2017, 1, 2, tzinfo=UTC)
    with pytest.raises(DataError, match="an attribute value of 2017-01-02 00:00:00"):
        check_attributes(late, early)
