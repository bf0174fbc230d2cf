"""What must not change unseen: each test here fails when one line of `xrec.data` is wrong in a way once unnoticed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.splits import in_part, table
from tests.toys import SPLIT, ToySource, events_frame, toy_raw
from xrec.data.accounting import Tally
from xrec.data.attribute_history import latest_values
from xrec.data.build import build
from xrec.data.cache import ArrayCache
from xrec.data.clean import Cleaning
from xrec.data.core import k_core
from xrec.data.errors import DataError
from xrec.data.interactions import SplitInteractions
from xrec.data.schema import RawData
from xrec.data.split.assigned import Assigned
from xrec.data.split.cold_item import ColdItemSplit
from xrec.data.split.leakage import check
from xrec.data.split.merge import merge_periods
from xrec.data.split.temporal import TemporalSplit
from xrec.data.split.user_holdout import UserHoldoutSplit

Pairs = set[tuple[int, int]]


def built(folder: Path, raw: RawData, split: Any = SPLIT, **cleaning: Any) -> SplitInteractions:
    return build(ToySource(raw), split, ArrayCache(folder), Cleaning(**cleaning))


# the core


def core_of(pairs: Pairs, least: int) -> tuple[Pairs, int]:
    """The pairs that are left, and how many rounds that took."""
    events = pl.DataFrame(sorted(pairs), schema={"user": pl.UInt32, "item": pl.UInt32}, orient="row")
    tally = Tally("toy", [], strict=False)
    kept = k_core(events.with_columns(period=pl.lit(0), kind=pl.lit(0, pl.UInt8)), 0, least, least, tally)
    return set(kept.select("user", "item").rows()), int(tally.steps[0].reason.split("(")[1].split()[0])


def chain(start: int, length: int) -> Pairs:
    """User k has the items k and k + 1: only the ends fall short of two, and with them, one a round, all the others."""
    return {(k, item) for k in range(start, start + length) for item in (k, k + 1)}


def test_a_chain_falls_apart_round_by_round():
    square = {(u, i) for u in (50, 51) for i in (50, 51)}
    # items 0 (first round) and 5: item 5 is also the square's, so the chain goes from one end only
    linked = {(u, 50 if i == 5 else i) for u, i in chain(0, 5)}
    kept, rounds = core_of(linked | square, 2)
    assert kept == square
    assert rounds == 6  # five links and a round without a change


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.sets(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=12),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_the_core_of_chains_is_what_no_round_changes(lengths, more, complete, rng: random.Random):
    pairs, start = {(u, i) for u in range(40, 40 + complete) for i in range(40, 40 + complete)} | more, 0
    for length in lengths:
        pairs |= chain(start, length)
        start += length + 1
    codes = rng.sample(range(60), 60)
    pairs = {(codes[u], codes[i]) for u, i in pairs}
    left = pairs
    while True:
        users, items = Counter(u for u, _ in left), Counter(i for _, i in left)
        smaller = {(u, i) for u, i in left if users[u] >= 2 and items[i] >= 2}
        if smaller == left:
            break
        left = smaller
    if left:
        assert core_of(pairs, 2)[0] == left
    else:
        with pytest.raises(DataError, match="the core .* is empty"):
            core_of(pairs, 2)


# the leakage check inside the build


class Leaking:
    """A split that moves a target into the training, or invents one."""

    name = "leaking"

    def __init__(self, how: str) -> None:
        self.how = how

    def key(self) -> dict[str, Any]:
        return {"kind": self.how}

    def assign(self, events: pl.DataFrame, n_targets: int = 255) -> Assigned:
        assigned = SPLIT.assign(events, n_targets)
        target = in_part(assigned, "test").head(1)
        if self.how == "training":
            target = target.with_columns(period=pl.lit(3, assigned.events.schema["period"]))
        else:
            target = target.with_columns(time=pl.lit(777, assigned.events.schema["time"]))
        return replace(assigned, events=pl.concat([assigned.events, target]), promises=())


@pytest.mark.parametrize(
    ("how", "message"),
    [("training", "1 test targets are also in training"), ("invented", "1 test targets are no event of the data")],
)
def test_the_build_refuses_a_split_that_leaks(tmp_path, how, message):
    with pytest.raises(DataError, match=f"^leaking: leakage: {message}"):
        built(tmp_path, toy_raw(), Leaking(how))


def test_training_is_before_the_test_also_without_a_validation_event():
    events = table([(0, 0, 3), (0, 1, 5), (0, 2, 9)]).with_columns(period=pl.Series([0, 2, 0]))
    assigned = Assigned(events, 0, {"validation": (1, 1), "test": (2, 2)}, promises=("global_order",))
    with pytest.raises(DataError, match="^x: leakage: training goes to 9, but test begins at 5$"):
        check(assigned, split_name="x")


# what is measured on training


def test_levels_and_scales_are_of_training_and_not_of_the_period_after_it(tmp_path):
    rows = [("1", item, t, 1.0) for item in "123" for t in (1, 8)] + [("1", "4", t, 1.0) for t in (9, 11)]
    raw = toy_raw(events=events_frame(rows))
    raw.items = pl.DataFrame({"item": list("1234"), "brand": list("aabb"), "price": [1.0, 2.0, 3.0, 100.0]})
    brand, price = built(tmp_path, raw, min_level_count=2).catalogue.item_fields
    assert brand.levels == ("(missing)", "(rare)", "a")  # of "b" there is one item in training
    assert price.weights[:, 0].tolist() == [-1.0, 0.0, 1.0, 98.0]  # median 2, percentiles 1.5 and 2.5


def test_an_attribute_of_the_last_moment_of_training_is_known():
    columns = {"item": pl.String, "attribute": pl.String, "value": pl.String, "time": pl.Int64}
    rows = [("1", "price", "old", 7), ("1", "price", "last", 8), ("1", "price", "next", 9)]
    history = pl.DataFrame(rows, schema=columns, orient="row")
    items, counts = latest_values(history, pl.DataFrame({"item": ["1"]}), 8, None, "toy")
    assert items.rows() == [("1", "last")]
    assert counts == {"rows": 3, "used": 1, "superseded": 1, "after_training": 1, "incomplete": 0}


# folds and cold items of what is left


def test_folds_hold_the_entities_that_are_left_once_each(tmp_path):
    """The core drops users of one item, who train."""
    rows = [(str(u), str(i), i, 1.0) for u in range(20) for i in range(5)]
    rows += [(str(u), "0", 1, 1.0) for u in range(20, 40)]
    data = built(tmp_path, toy_raw(events=events_frame(rows)), UserHoldoutSplit(), min_user_items=2)
    assert data.catalogue.n_users == 20
    assert data.fold_codes["entity_code_part"][:, 1].tolist() == list(range(20))
    assert sorted(data.folds()["id"]) == sorted(data.catalogue.user_ids)


def test_cold_items_without_an_event_in_their_part_are_not_counted(tmp_path):
    """Every other item is never bought after the training: drawn as cold, it is gone."""
    rows = [(str(u), str(i), 1, 1.0) for i in range(100) for u in range(3)]
    rows += [("0", str(i), t, 1.0) for i in range(0, 100, 2) for t in (9, 11)]
    raw, split = toy_raw(events=events_frame(rows)), ColdItemSplit(SPLIT, validation_share=0.3, test_share=0.3)
    data = built(tmp_path, raw, split)
    for part in ("validation", "test"):
        cold = data.cold_items(part)
        assert cold is not None
        inside = (data.time >= data.period(part)[0]) & (data.time <= data.period(part)[1])
        assert 0 < len(cold) < 30 and set(cold) <= set(data.item[inside])
        assert data.card["cold_items"][part] == len(cold)
    assert set(data.fold_codes["entity_code_part"][:, 1]) <= set(range(data.catalogue.n_items))


# cold items are as popular as the others


def drawn(n_items: int, seed: int, **settings: Any) -> dict[str, np.ndarray]:
    """The ranks (share of items that are less popular) of cold items; their codes say nothing of popularity."""
    rank = np.random.default_rng(seed + 100).permutation(n_items)
    rows = [(u, i, u % 10) for i in range(n_items) for u in range(rank[i] + 1)]
    rows += [(u, i, t) for i in range(n_items) for u in (0, 1) for t in (10, 11)]
    cold = ColdItemSplit(TemporalSplit(9, 10, 11), seed=seed, **settings).assign(table(rows)).cold
    return {part: np.sort((rank[codes] + 0.5) / n_items) for part, codes in cold.items()}


@pytest.mark.parametrize("fold", range(3))
def test_the_popularity_of_cold_items_is_distributed_as_that_of_all(fold):
    for seed in range(5):
        for ranks in drawn(200, seed, fold=fold).values():
            steps = np.arange(len(ranks) + 1) / len(ranks)
            distance = max(np.abs(ranks - steps[1:]).max(), np.abs(ranks - steps[:-1]).max())
            assert distance < 0.12  # drawn at random, some come to 0.2


@pytest.mark.parametrize("fold", range(3))
def test_few_items_are_not_cut_so_fine_that_only_popular_ones_are_drawn(fold):
    for n_items in (20, 25):
        for seed in range(5):
            ranks = drawn(n_items, seed, fold=fold)["test"]
            assert ranks[0] < 0.5 < ranks[-1]


# random draws and wide codes


def test_users_and_their_events_are_drawn_from_streams_of_their_own(monkeypatch):
    seeds, make = [], np.random.default_rng

    def recorded(seed: Any) -> np.random.Generator:
        seeds.append(str(seed))
        return make(seed)

    monkeypatch.setattr(np.random, "default_rng", recorded)
    UserHoldoutSplit(fold_in="random", seed=5).assign(table([(u, i, i) for u in range(20) for i in range(5)]))
    assert len(set(seeds)) == len(seeds) == 2


def test_events_whose_numbers_are_too_wide_for_one_key_are_told_apart():
    """With 2 ** 24 items and 2 ** 40 periods, users written beside them are lost modulo 2 ** 64."""
    last_item, last = 2**24 - 1, 2**40 - 1
    places = [(0, 0, 0), (0, last_item, last), (1, 0, 0), (1, 5, 9), (1, 5, 9), (1, last_item, last)]
    events = table([(u, i, n) for n, (u, i, _) in enumerate(places)])
    events = events.with_columns(period=pl.Series([p for *_, p in places], dtype=pl.Int64))
    merged, steps = merge_periods(events)
    assert merged.select("user", "item", "period").rows() == [p for n, p in enumerate(places) if n != 4]
    assert merged["strength"].to_list() == [1, 1, 1, 2, 1]
    assert [s.rows for s in steps] == [5]
