"""Cold items: balanced over popularity, in one part only, gone from the training."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.splits import in_part, table
from xrec.data.split.assigned import Assigned
from xrec.data.split.cold_item import ColdItemSplit
from xrec.data.split.leave_last_out import LeaveLastOutSplit
from xrec.data.split.temporal import TemporalSplit

BASE = TemporalSplit(9, 10, 11)
N_ITEMS = 200


def shop() -> pl.DataFrame:
    """Item i has i + 1 users in training, on periods 0 .. 9; everyone buys everything in validation and test."""
    trained = [(u, i, u % 10) for i in range(N_ITEMS) for u in range(i + 1)]
    return table(trained + [(u, i, t) for i in range(N_ITEMS) for u in (0, 1) for t in (10, 11)])


def drawn(assigned: Assigned) -> dict[str, set[int]]:
    return {part: set(codes.tolist()) for part, codes in assigned.cold.items()}


def test_shares_of_items_in_every_stratum():
    cold = drawn(ColdItemSplit(BASE).assign(shop()))
    assert {p: len(c) for p, c in cold.items()} == {"validation": 20, "test": 30}
    assert not cold["validation"] & cold["test"]
    for stratum in range(10):  # by popularity, 20 items each: 2 and 3 of them
        inside = set(range(20 * stratum, 20 * stratum + 20))
        assert (len(inside & cold["validation"]), len(inside & cold["test"])) == (2, 3)


def test_test_items_of_folds_do_not_overlap():
    tested = [drawn(ColdItemSplit(BASE, fold=fold).assign(shop()))["test"] for fold in range(3)]
    assert [len(t) for t in tested] == [30, 30, 30]
    assert len(set.union(*tested)) == 90


def test_all_items_are_tested_once_when_the_folds_share_them():
    split = {"test_share": 0.25, "n_folds": 4, "validation_share": 0.2}
    found = [drawn(ColdItemSplit(BASE, fold=fold, **split).assign(shop())) for fold in range(4)]  # type: ignore[arg-type]
    assert set.union(*(f["test"] for f in found)) == set(range(N_ITEMS))
    assert sum(len(f["test"]) for f in found) == N_ITEMS
    for f in found:  # the last fold's validation items begin again at the start
        assert len(f["validation"]) == 40 and not f["validation"] & f["test"]


def test_small_strata_do_not_err_to_the_same_side():
    # 20 strata of 10 items: each has 1 or 2 test items, together 15 % of all
    cold = drawn(ColdItemSplit(BASE, n_strata=20).assign(shop()))
    assert len(cold["test"]) == 30
    per_stratum = [len({i for i in cold["test"] if i // 10 == s}) for s in range(20)]
    assert set(per_stratum) == {1, 2}


def test_cold_items_are_in_their_own_part_only():
    events = shop()
    assigned = ColdItemSplit(BASE, seed=3).assign(events)
    cold = drawn(assigned)
    assert set(in_part(assigned, "train")["item"]) == set(range(N_ITEMS)) - cold["validation"] - cold["test"]
    assert set(in_part(assigned, "validation")["item"]) == set(range(N_ITEMS)) - cold["test"]
    assert set(in_part(assigned, "test")["item"]) == set(range(N_ITEMS)) - cold["validation"]
    gone = sum(i + 1 for i in cold["validation"] | cold["test"]) + 2 * 50
    assert [s.step for s in assigned.steps] == ["span", "cold"]
    assert (assigned.steps[0].rows, assigned.steps[1].rows) == (events.height, events.height - gone)
    assert assigned.steps[1].reason == "events of 20 validation and 30 test items outside their part"


def test_folds_are_told_by_item():
    assigned = ColdItemSplit(BASE).assign(shop())
    assert assigned.folds is not None
    assert assigned.folds.columns == ["entity", "id", "part"]
    assert assigned.folds["id"].to_list() == list(range(N_ITEMS))
    cold = drawn(assigned)
    for part in ("validation", "test"):
        assert set(assigned.folds.filter(part=part)["id"]) == cold[part]
    assert set(assigned.folds["entity"]) == {"item"}


def test_popularity_is_that_of_the_training():
    """Items that sell in the test only are not drawn; what they sell there changes no draw."""
    late = table([(u, i, 11) for i in range(N_ITEMS, N_ITEMS + 50) for u in range(30)])
    more = table([(u, 0, 11) for u in range(2, 150)])
    plain = drawn(ColdItemSplit(BASE).assign(shop()))
    assert drawn(ColdItemSplit(BASE).assign(pl.concat([shop(), late, more]).sort("user", "time", "item"))) == plain


def test_items_that_the_core_drops_are_not_drawn():
    cold = drawn(ColdItemSplit(BASE, min_item_users=101).assign(shop()))
    assert min(set.union(*cold.values())) >= 100  # item i has i + 1 users
    assert {p: len(c) for p, c in cold.items()} == {"validation": 10, "test": 15}


def test_users_are_counted_once():
    twice = table([(0, i, t) for i in range(40) for t in range(10)] + [(1, i, 3) for i in range(20, 40)])
    rest = table([(u, i, t) for i in range(40) for u in (0, 1) for t in (10, 11)])
    events = pl.concat([twice, rest]).sort("user", "time", "item")
    cold = drawn(ColdItemSplit(BASE, min_item_users=2).assign(events))
    assert min(set.union(*cold.values())) >= 20


def test_it_works_on_leave_last_out():
    rng = np.random.default_rng(0)
    rows = [(u, int(i), t) for u in range(300) for t, i in enumerate(rng.permutation(40)[:12])]
    split = ColdItemSplit(LeaveLastOutSplit(), fold=1)
    assigned = split.assign(table(rows))
    base = LeaveLastOutSplit().assign(table(rows))
    assert (split.name, assigned.train_end, assigned.parts) == ("cold_item_leave_last_out", base.train_end, base.parts)
    cold = drawn(assigned)
    assert {p: len(c) for p, c in cold.items()} == {"validation": 4, "test": 6}
    assert not set(in_part(assigned, "train")["item"]) & (cold["validation"] | cold["test"])
    kept = base.events.join(assigned.events, on=["user", "item", "time", "period"], how="anti")
    assert set(kept["item"]) == cold["validation"] | cold["test"]


def test_the_base_is_part_of_the_key():
    one, two = ColdItemSplit(BASE), ColdItemSplit(TemporalSplit(9, 10, 12))
    assert one.key() != two.key()
    assert one.key()["base"] == BASE.key()


@pytest.mark.parametrize("setting", ["seed", "fold"])
def test_seed_and_fold_change_the_draw(setting):
    one, two = (drawn(ColdItemSplit(BASE, **{setting: value}).assign(shop())) for value in (0, 1))  # type: ignore[arg-type]
    assert one != two
