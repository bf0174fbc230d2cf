"""The core, the schema, the data card and the toy's way through `build`."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import SPLIT, ToySource, events_frame, toy_dataset, toy_raw
from xrec.data.accounting import Tally
from xrec.data.build import build
from xrec.data.cache import ArrayCache
from xrec.data.card import long_tail
from xrec.data.clean import Cleaning
from xrec.data.core import k_core
from xrec.data.errors import DataError
from xrec.data.fields import MISSING
from xrec.data.split.cold_item import ColdItemSplit
from xrec.data.split.user_holdout import UserHoldoutSplit

PAIRS = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=50)


def slow_core(events: set, train_end: int, min_item_users: int, min_user_items: int) -> set:
    users, items = {u for u, *_ in events}, {i for _, i, _ in events}
    while True:
        pairs = {(u, i) for u, i, t in events if t <= train_end and u in users and i in items}
        new_items = {i for _, i in pairs if len([1 for p in pairs if p[1] == i]) >= min_item_users}
        pairs = {p for p in pairs if p[1] in new_items}
        new_users = {u for u, _ in pairs if len([1 for p in pairs if p[0] == u]) >= min_user_items}
        if (new_users, new_items) == (users, items):
            return {(u, i, t) for u, i, t in events if u in users and i in items}
        users, items = new_users, new_items


def to_lower(pairs, min_item_users: int, min_user_items: int) -> str:
    """What the error about an empty core must say: the limit that nothing reaches, and what would be reached."""
    training = {(u, i) for u, i, period in pairs if period <= 4}
    of_item, of_user = (max(Counter(pair[k] for pair in training).values(), default=0) for k in (1, 0))
    if of_item < min_item_users:
        return f"no item has more than {of_item} users in training: lower data.clean.min_item_users"
    if of_user < min_user_items:
        return f"no user has more than {of_user} items in training: lower data.clean.min_user_items"
    return "lower data.clean.min_item_users or data.clean.min_user_items"


@given(PAIRS, st.integers(1, 3), st.integers(1, 3))
def test_the_core_equals_a_slow_reference(pairs, min_item_users, min_user_items):
    columns = {"user": pl.UInt32, "item": pl.UInt32, "period": pl.Int64}
    events = pl.DataFrame(sorted(pairs), schema=columns, orient="row").with_columns(kind=pl.lit(0, pl.UInt8))
    tally = Tally("toy", [], strict=False)
    wanted = slow_core(pairs, 4, min_item_users, min_user_items)
    if not wanted:
        with pytest.raises(DataError, match=f"is empty; {to_lower(pairs, min_item_users, min_user_items)}"):
            k_core(events, 4, min_item_users, min_user_items, tally)
        return
    kept = k_core(events, 4, min_item_users, min_user_items, tally)
    (step,) = tally.steps
    assert set(kept.select("user", "item", "period").rows()) == wanted
    assert (step.rows, step.users, step.items) == (
        len(wanted),
        len({u for u, *_ in wanted}),
        len({i for _, i, _ in wanted}),
    )


def test_the_toy_keeps_ids_events_and_attributes_in_step(toy):
    raw = toy_raw().events.collect().filter(pl.col("time") <= SPLIT.test_end)
    users, items = toy.catalogue.user_ids, toy.catalogue.item_ids
    found = {(users[u], items[i], t, s) for u, i, t, s in zip(toy.user, toy.item, toy.time, toy.strength, strict=True)}
    kept = raw.filter(pl.col("user").is_in(users) & pl.col("item").is_in(items))
    assert found == set(kept.select("user", "item", "time", "value").rows())
    attributes = {row["item"]: row for row in toy_raw().items.rows(named=True)}
    for field in toy.catalogue.item_fields:
        for item, code in zip(items, field.codes[:, 0], strict=True):
            assert field.levels[code] == (attributes.get(item, {}).get(field.name) or MISSING)


def test_ids_are_in_numeric_order(toy):
    assert list(toy.catalogue.item_ids) == sorted(toy.catalogue.item_ids, key=int)
    assert list(toy.catalogue.user_ids) == sorted(toy.catalogue.user_ids, key=int)


def test_events_are_sorted_by_user_item_and_time(toy):
    rows = list(zip(toy.user, toy.item, toy.time, strict=True))
    assert rows == sorted(set(rows))


def test_drop_accounting_adds_up(toy):
    raw = toy_raw().events.collect()
    steps = toy.card["steps"]
    assert steps[0]["rows"] == raw.height
    assert [s["rows"] for s in steps] == sorted((s["rows"] for s in steps), reverse=True)
    last = steps[-1]
    wanted = (len(toy.user), toy.catalogue.n_users, toy.catalogue.n_items)
    assert (last["rows"], last["users"], last["items"]) == wanted
    sizes = toy.card["sizes"]
    assert (sizes["n_events"], sizes["n_users"], sizes["n_items"]) == wanted


@pytest.mark.parametrize("part", ["validation", "test"])
def test_the_card_counts_targets_as_a_slow_loop_does(toy, part):
    start, end = toy.period(part)
    events = list(zip(toy.user.tolist(), toy.item.tolist(), toy.time.tolist(), strict=True))
    known = {(u, i) for u, i, t in events if t < start}
    wanted = {(u, i) for u, i, t in events if start <= t <= end}
    card = toy.card["splits"][part]
    assert (card["targets"], card["users"]) == (len(wanted), len({u for u, _ in wanted}))
    assert (card["new_targets"], card["new_users"]) == (len(wanted - known), len({u for u, _ in wanted - known}))
    assert card["repeat_share"] == pytest.approx(1 - len(wanted - known) / len(wanted), abs=1e-4)


def test_the_card_counts_what_is_past_the_last_period(tmp_path):
    rows = [(u, i, t, 1.0) for u in "12" for i in "12" for t in (1, 9, 11, 13)]
    dataset = toy_dataset(tmp_path, events=events_frame(rows), core=(1, 1))
    assert [(s["step"], s["rows"]) for s in dataset.card["steps"]] == [
        ("read", 16),
        ("missing", 16),
        ("duplicates", 16),
        ("merged", 16),
        ("span", 12),
        ("core", 12),
    ]
    assert dataset.time.max() == 11


def test_a_user_with_one_item_is_legal(tmp_path):
    dataset = toy_dataset(
        tmp_path,
        events=events_frame([("1", "1", 1, 1.0), *(("2", i, t, 1.0) for i in "12" for t in (2, 9, 11))]),
        core=(1, 1),
    )
    assert dataset.histories(9).lengths().tolist() == [1, 2]


def refused(tmp_path, raw, message, split=SPLIT, **cleaning):
    with pytest.raises(DataError, match=message):
        build(ToySource(raw), split, ArrayCache(tmp_path), Cleaning(**cleaning))


def test_no_training_events_are_refused(tmp_path):
    refused(tmp_path, toy_raw(events=events_frame([("1", "1", 9, 1.0)])), "no events in periods <= split.train_end=8")


def test_a_log_without_a_time_that_counts_is_refused_by_its_cause(tmp_path):
    events = pl.DataFrame({"user": ["a"], "item": ["x"], "time": [None], "kind": [0], "value": [1.0]})
    dated = events.with_columns(pl.lit(datetime(1969, 5, 1, tzinfo=UTC)).alias("time"))
    none = events.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
    refused(tmp_path, toy_raw(events=none), "^toy: no event has a time; name the field or column that holds it$")
    message = (
        "^toy: every time lies before 1970 \\(the latest is 1969-05-01\\), where no event is taken; check the unit and "
        "format that times are read in, or shift them$"
    )
    refused(tmp_path, toy_raw(events=dated), message)


def test_two_attribute_rows_for_one_item_are_refused(tmp_path):
    raw = toy_raw()
    raw.items = pl.concat([raw.items, raw.items])
    refused(tmp_path, raw, "some item ids have several rows")


def toy_build(tmp_path, split, raw=None, **cleaning):
    return build(ToySource(raw or toy_raw()), split, ArrayCache(tmp_path), Cleaning(**cleaning))


def test_cold_items_have_no_training_event_and_survive_the_core(tmp_path):
    split = ColdItemSplit(SPLIT, validation_share=0.1, test_share=0.2, min_item_users=3)
    data = toy_build(tmp_path, split, min_item_users=3, min_user_items=3)
    folds = pl.DataFrame(data.folds())
    items = np.array(data.catalogue.item_ids)
    for part in ("validation", "test"):
        cold, (first, last) = data.cold_items(part), data.period(part)
        assert len(cold) and set(items[cold]) == set(folds.filter(pl.col("part") == part)["id"])
        events = np.isin(data.item, cold)
        assert ((data.time[events] >= first) & (data.time[events] <= last)).all()
        assert data.card["cold_items"][part] == len(cold)
    assert set(folds["entity"]) == {"item"} and "train" in set(folds["part"])
    assert set(folds["id"]) <= set(items)
    assert data.card["split"]["name"] == "cold_item_temporal"


def test_held_out_users_have_no_training_event_and_survive_the_core(tmp_path):
    data = toy_build(tmp_path, UserHoldoutSplit(n_folds=5, fold=1), min_item_users=3, min_user_items=3)
    folds = pl.DataFrame(data.folds())
    users = np.array(data.catalogue.user_ids)
    for part in ("validation", "test"):
        out = np.flatnonzero(np.isin(users, folds.filter(pl.col("part") == part)["id"].to_list()))
        assert len(out) and (data.time[np.isin(data.user, out)] > data.train_end).all()
        targets, history = data.targets(*data.period(part)), data.histories(data.period(part)[0])
        assert set(np.flatnonzero(np.diff(targets.indptr))) <= set(out)
        assert (history.lengths()[out] > 0).any()
    assert data.card["split"]["fold"] == 1 and "held-out users" in data.card["split"]["note"]


def test_a_split_by_time_alone_has_no_folds_no_cold_items_and_no_known_causes(toy):
    assert (toy.folds(), toy.cold_items("test"), toy.causes()) == ({}, None, {})


def test_causes_follow_the_events_that_are_left(tmp_path):
    rows = [(u, i, t, 1.0) for u in "12" for i in ("10", "9") for t in (1, 9, 11)] + [("3", "8", 1, 1.0)]
    raw = toy_raw(events=events_frame(rows))
    causes = [
        ("1", "10", 11, "9", 0.5, "complement"), ("1", "10", 11, "9", 0.5, "taste"), ("2", "9", 9, "9", 1.0, "repeat"),
        ("2", "10", 9, None, 0.3, "season"),
        ("1", "10", 11, "8", 0.5, "taste"),  # the core drops item 8
        ("3", "8", 1, "9", 1.0, "taste"), ("1", "9", 7, "9", 1.0, "taste"),  # no such event is left
    ]  # fmt: skip
    columns = ["user", "item", "time", "cause_item", "strength", "mechanism"]
    raw.truth = pl.DataFrame(causes, schema=columns, orient="row")
    data = toy_build(tmp_path, SPLIT, raw, min_item_users=2)
    found = data.causes()
    columns = ("user", "item", "period", "cause", "strength", "mechanism")
    rows = sorted(zip(*(list(found[c]) for c in columns), strict=True), key=str)
    assert rows == [
        ("1", "10", 11, "9", 0.5, "complement"),
        ("1", "10", 11, "9", 0.5, "taste"),
        ("2", "10", 9, None, pytest.approx(0.3), "season"),
        ("2", "9", 9, "9", 1.0, "repeat"),
    ]
    assert data.card["truth"] == {"rows": 7, "of_events_that_went": 2, "of_causes_that_went": 1, "kept": 4}


def test_a_name_of_any_length_is_cut_where_it_is_kept(tmp_path):
    raw = toy_raw()
    long, exact, *_ = sorted(raw.events.select("item").unique().collect()["item"].cast(pl.String))
    raw.item_names = {long: "N" * 200_000, exact: "n" * 120}
    catalogue = toy_build(tmp_path, SPLIT, raw).catalogue
    names = dict(zip(catalogue.item_ids, catalogue.item_names, strict=True))
    assert names[long] == "N" * 119 + "…" and names[exact] == "n" * 120


def test_the_order_of_the_log_changes_nothing(tmp_path):
    events = toy_raw().events.collect()
    built = [
        toy_build(tmp_path / str(n), SPLIT, toy_raw(events=log), min_item_users=3)
        for n, log in enumerate((events, events.sample(fraction=1, shuffle=True, seed=1)))
    ]
    for column in ("user", "item", "time", "strength", "kind"):
        np.testing.assert_array_equal(getattr(built[0], column), getattr(built[1], column))
    assert built[0].card == built[1].card


def test_the_long_tail_is_the_share_of_the_most_popular_items():
    assert long_tail(np.array([1, 0, 90, 9] + [0] * 6)) == {
        "top 1% of items": 0.9,
        "top 5% of items": 0.9,
        "top 10% of items": 0.9,
        "top 20% of items": 0.99,
        "top 50% of items": 1.0,
    }


def test_the_card_says_what_the_data_is_like(toy):
    card, training = toy.card, toy.time <= toy.train_end
    pairs = set(zip(toy.user[training].tolist(), toy.item[training].tolist(), strict=True))
    assert card["sizes"]["n_training_events"] == training.sum()
    assert card["sizes"]["training_repeat_share"] == pytest.approx(1 - len(pairs) / training.sum(), abs=1e-4)
    before = {(u, i) for u, i, t in zip(toy.user, toy.item, toy.time, strict=True) if t < toy.period("test")[0]}
    density = len(before) / (toy.catalogue.n_users * toy.catalogue.n_items)
    assert card["sizes"]["density_before_test"] == pytest.approx(density, rel=1e-2)
    assert card["time_span"] == {"first": "1", "last": "12"}
    counts = np.sort(np.bincount(toy.item[training], minlength=toy.catalogue.n_items))[::-1]
    half = round(0.5 * toy.catalogue.n_items)
    assert card["long_tail"]["top 50% of items"] == pytest.approx(counts[:half].sum() / counts.sum(), abs=1e-4)
