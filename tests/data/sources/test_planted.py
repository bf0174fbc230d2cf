"""The planted source: what happens as often as its parameters say, and the truth against a slow look at the events."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from tests.planted import QUIET, SMALL, Oracle, bought, mean_auc, truth_of, within
from xrec.data.build import build
from xrec.data.cache import ArrayCache
from xrec.data.clean import Cleaning
from xrec.data.errors import DataError
from xrec.data.interactions import SplitInteractions
from xrec.data.schema import EVENT_COLUMNS, RawData
from xrec.data.sources.planted import Planted
from xrec.data.sources.planting import MECHANISMS
from xrec.data.split.temporal import TemporalSplit


@pytest.fixture(scope="module")
def source() -> Planted:
    return Planted(**SMALL)


@pytest.fixture(scope="module")
def raw(source: Planted) -> RawData:
    return source.load()


def test_an_oracle_recovers_the_planted_causes_and_chance_does_not(source, raw):
    rng = np.random.default_rng(0)
    oracle = Oracle(source, raw)

    def guess(mechanism: str, item: str, now: int, history: dict[str, list[int]]) -> dict[str, float]:
        return {i: rng.random() for i in oracle.values(mechanism, item, now, history)}

    assert mean_auc(raw, oracle.values) == 1.0
    assert mean_auc(raw, guess) == pytest.approx(0.5, abs=0.02)


def test_the_truth_is_what_a_slow_look_at_the_events_finds(source, raw):
    oracle, histories = Oracle(source, raw), bought(raw)
    groups = truth_of(raw).group_by("user", "item", "time", "mechanism", maintain_order=True)
    seen = set()
    for (user, item, time, mechanism), rows in groups:
        seen.add(mechanism)
        if mechanism in ("innate", "popularity", "season", "noise"):
            assert rows.select("cause_item", "strength").rows() == [(None, 0.0)]
            continue
        wanted = {i: v for i, v in oracle.values(mechanism, item, time, histories[user]).items() if v > 0}
        assert dict(rows.select("cause_item", "strength").iter_rows()) == pytest.approx(wanted)
    assert seen == set(MECHANISMS)


def test_every_purchase_has_its_causes_and_every_cause_its_purchase(raw):
    events = raw.events.select("user", "item", "time").collect()
    assert not events.is_duplicated().any()
    told = truth_of(raw).select("user", "item", "time").unique()
    assert_frame_equal(events, told, check_row_order=False)
    rows = truth_of(raw).select("user", "item", "time", "mechanism", "cause_item")
    assert not rows.is_duplicated().any()


def test_events_and_attributes_keep_the_seam(raw):
    events = raw.events.collect()
    assert tuple(events.columns) == EVENT_COLUMNS
    assert events.dtypes == [pl.String, pl.String, pl.Int64, pl.UInt8, pl.Float64]
    assert events["time"].min() == 1 and events["time"].max() == SMALL["n_periods"]
    assert events["value"].min() == 1.0 and set(events["kind"]) == {0} and raw.event_kinds == ("purchase",)
    assert raw.items.columns == ["item", "category", "brand", "price"]
    assert (
        raw.items["item"].n_unique() == SMALL["n_items"] and raw.items["category"].n_unique() == SMALL["n_categories"]
    )
    assert raw.items["price"].dtype == pl.Float64 and raw.items["price"].min() > 0
    assert raw.users["user"].n_unique() == SMALL["n_users"]
    assert set(events["item"]) <= set(raw.items["item"]) and set(events["user"]) <= set(raw.users["user"])
    (step,) = raw.steps
    assert (step.rows, step.users, step.items) == (
        events.height,
        events["user"].n_unique(),
        events["item"].n_unique(),
    )


def test_names_tell_the_roles(source, raw):
    names, links = raw.item_names, source.links()
    for row in links.rows(named=True):
        cause, item = names[row["cause_item"]], names[row["item"]]
        if row["mechanism"] == "complement":
            assert cause.startswith("Complement pair ") and cause[:-1] == item[:-1] + "A" and cause[-1] in "12"
        elif row["mechanism"] == "substitute":
            assert cause[:-1] == item[:-1] and {cause[-1], item[-1]} == {"A", "B"}
        else:
            assert cause == item and cause.startswith("Staple ")
    assert sorted(names.values()) == sorted(set(names.values())) and set(names) == set(raw.items["item"])
    single = Planted(**{**SMALL, "complement_causes": 1})
    assert {"Complement pair 12 A", "Complement pair 12 B"} <= set(single.load().item_names.values())


def test_substitutes_share_a_category_and_no_item_has_two_roles(source, raw):
    category = dict(raw.items.select("item", "category").iter_rows())
    links = source.links()
    pairs = links.filter(pl.col("mechanism") == "substitute")
    assert pairs.height == 2 * SMALL["n_substitutes"]
    assert all(category[a] == category[b] and a != b for a, b in pairs.select("cause_item", "item").iter_rows())
    roles = [*links["cause_item"], *links.filter(pl.col("mechanism") == "complement")["item"].unique()]
    assert len(roles) == len(set(roles)) == 2 * 10 + 12 * 2 + 12 + 12
    assert dict(links["mechanism"].value_counts().iter_rows()) == {"complement": 24, "substitute": 20, "repeat": 12}
    windows = Planted(**SMALL, lag=4).links().select("mechanism", "first", "last").unique().rows()
    assert sorted(windows) == [("complement", 1, 4), ("repeat", 1, 4), ("substitute", 5, 8)]


def test_the_same_seed_gives_the_same_data_and_another_seed_other_data(source, raw):
    for again in (source.load(), Planted(**SMALL).load()):
        assert_frame_equal(raw.events.collect(), again.events.collect())
        assert_frame_equal(truth_of(raw), truth_of(again))
        assert_frame_equal(raw.items, again.items)
        assert raw.item_names == again.item_names
    other = Planted(**SMALL, seed=1)
    assert not other.load().events.collect().equals(raw.events.collect())
    assert other.settings != source.settings and source.files() == []
    assert set(source.settings) == set(inspect.signature(Planted).parameters)


def follow_share(source: Planted, raw: RawData, mechanism: str) -> tuple[float, int]:
    """How often a lone cause (none other of the same target near it) is followed by its target, by that mechanism."""
    histories, last_period = bought(raw), source.settings["n_periods"]
    caused = {
        (user, item, time)
        for user, item, time in truth_of(raw)
        .filter(pl.col("mechanism") == mechanism)
        .select("user", "item", "time")
        .iter_rows()
    }
    hits = []
    for row in source.links().filter(pl.col("mechanism") == mechanism).rows(named=True):
        first, last = row["first"], row["last"]
        for user, items in histories.items():
            times = items.get(row["cause_item"], [])
            alone = [t for t in times if t + last <= last_period and not any(0 < abs(t - x) <= last for x in times)]
            hits += [any((user, row["item"], t + d) in caused for d in range(first, last + 1)) for t in alone]
    return float(np.mean(hits)), len(hits)


@pytest.mark.parametrize(
    ("mechanism", "settings"),
    [
        ("complement", {"n_complements": 20, "complement_causes": 1, "complement_strength": 0.3}),
        ("complement", {"n_complements": 20, "complement_causes": 1, "complement_strength": 0.8, "lag": 1}),
        ("substitute", {"n_substitutes": 20, "substitute_strength": 0.6, "suppression": 0.5}),
    ],
)
def test_a_cause_is_followed_by_its_target_as_often_as_its_strength_says(mechanism, settings):
    source = Planted(**{**QUIET, "n_users": 600, **settings})
    share, n = follow_share(source, source.load(), mechanism)
    strength = settings[f"{mechanism}_strength"]
    assert n > 1000
    assert share == pytest.approx(strength, abs=4 * (strength * (1 - strength) / n) ** 0.5)


def test_staples_come_back():
    source = Planted(**{**QUIET, "n_users": 600, "n_staples": 30, "repeat_strength": 0.9})
    truth = truth_of(source.load())
    repeats = truth.filter(pl.col("mechanism") == "repeat")
    assert repeats.height > 1000 and (repeats["item"] == repeats["cause_item"]).all()
    assert (
        not Planted(**{**QUIET, "n_staples": 30, "repeat_strength": 0.0})
        .load()
        .truth.filter(pl.col("mechanism") != "noise")
        .height
    )


def test_suppressed_substitutes_are_never_bought_until_the_switch():
    settings = {**QUIET, "n_substitutes": 20, "substitute_strength": 0.5, "suppression": 1.0}
    source = Planted(**settings)
    raw = source.load()
    histories = bought(raw)
    organic = truth_of(raw).filter(pl.col("mechanism") == "noise")
    partner = dict(source.links().select("item", "cause_item").iter_rows())
    close = [
        (user, item, time)
        for user, item, time in organic.select("user", "item", "time").iter_rows()
        if item in partner and within(histories[user].get(partner[item], []), time, 1, source.settings["lag"])
    ]
    assert close == []
    free = Planted(**{**settings, "suppression": 0.0}).load()
    assert free.events.collect().height > raw.events.collect().height


def test_shares_of_organic_purchases_are_kept():
    shares = {"taste": 0.4, "popularity": 0.3, "season": 0.2, "noise": 0.1}
    raw = Planted(**{**QUIET, **shares, "n_items": 2000, "popularity_exponent": 0.3, "n_users": 400}).load()
    count = dict(truth_of(raw).unique(["user", "item", "time", "mechanism"])["mechanism"].value_counts().iter_rows())
    count["taste"] += count.pop("innate")
    total = float(sum(count.values()))
    assert {m: float(n) / total for m, n in count.items()} == pytest.approx(shares, abs=0.015)


def test_mean_numbers_of_baskets_and_purchases():
    raw = Planted(**{**QUIET, "n_users": 4000, "n_items": 5000, "baskets_per_user": 12.0, "basket_size": 2.5}).load()
    events = raw.events.collect()
    assert events["value"].sum() / 4000 == pytest.approx(30.0, rel=0.06)
    per_user = events.group_by("user").agg(pl.col("value").sum())["value"].log()
    assert per_user.std() == pytest.approx((0.8**2 + (1 + 1.5 + 1.5**2 / 2.5) / 30) ** 0.5, abs=0.12)


def test_tails_are_long():
    events = Planted().load().events.collect()
    for column, least in (("item", 0.3), ("user", 0.22)):
        counts = events.group_by(column).len()["len"].sort(descending=True)
        assert counts.head(len(counts) // 10).sum() / counts.sum() > least
        assert counts.max() > 8 * counts.median()


def test_flat_popularity_is_flat():
    settings = {**QUIET, "popularity": 1.0, "noise": 0.0, "popularity_exponent": 0.0, "n_users": 1000}
    counts = Planted(**settings).load().events.collect().group_by("item").agg(pl.col("value").sum())["value"]
    assert counts.max() < 1.35 * counts.mean()


def test_seasonal_purchases_come_in_their_season():
    settings = {**QUIET, "season": 1.0, "noise": 0.0, "n_users": 1000, "n_periods": 20, "season_length": 10}
    raw = Planted(**settings, season_strength=3.0).load()
    table = raw.events.collect().join(raw.items, on="item").group_by("category", "time").len().sort("category", "time")
    for _, rows in table.group_by("category"):
        counts = dict(rows.select("time", "len").iter_rows())
        year = [np.array([counts.get(t, 0) for t in range(1 + shift, 11 + shift)]) for shift in (0, 10)]
        assert year[0].max() > 3 * max(1, year[0].min())
        peak, again = (int(y.argmax()) for y in year)
        assert min((peak - again) % 10, (again - peak) % 10) <= 2
    flat = Planted(**settings, season_strength=0.0).load().events.collect().group_by("time").len()["len"]
    assert flat.max() < 1.2 * flat.min()


def test_small_concentration_lets_the_history_decide():
    def categories_per_user(concentration: float) -> float:
        settings = {**QUIET, "taste": 1.0, "noise": 0.0, "taste_spread": 10.0}
        raw = Planted(**settings, taste_concentration=concentration).load()
        joined = raw.events.collect().join(raw.items, on="item")
        shares = joined.group_by("user", "category").len()
        shares = shares.with_columns(pl.col("len") / pl.col("len").sum().over("user"))
        return float(1 / shares.group_by("user").agg((pl.col("len") ** 2).sum())["len"].mean())

    assert categories_per_user(0.05) < 0.7 * categories_per_user(1000.0)


def test_without_organic_weight_a_complement_is_always_caused():
    settings = {**SMALL, "complement_organic": 0.0, "noise": 0.0, "popularity": 0.35, "complement_strength": 1.0}
    source = Planted(**settings)
    targets = source.links().filter(pl.col("mechanism") == "complement")["item"].unique()
    rows = truth_of(source.load()).filter(pl.col("item").is_in(targets.implode()))
    assert set(rows["mechanism"]) == {"complement"} and rows.height > 100


@pytest.mark.parametrize("seed", range(5))
def test_no_category_is_left_with_targets_only(seed):
    settings = {**QUIET, "n_items": 16, "n_complements": 8, "complement_causes": 1, "complement_organic": 0.0}
    source = Planted(**{**settings, "taste": 1.0, "noise": 0.0, "seed": seed})
    targets = source.links().filter(pl.col("mechanism") == "complement")["item"]
    raw = source.load()
    rows = truth_of(raw).filter(pl.col("item").is_in(targets.implode()))
    assert set(rows["mechanism"]) == {"complement"} and raw.events.collect().height > rows.height


def causes_of(dataset: SplitInteractions) -> list[tuple[Any, ...]]:
    causes = dataset.causes()
    columns = [np.asarray(causes[c]).tolist() for c in ("user", "item", "period", "cause", "mechanism", "strength")]
    return sorted(zip(*columns, strict=True), key=_order)


def _order(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*row[:3], row[3] or "", *row[4:])


def test_the_truth_lies_beside_the_cached_data(source, raw, tmp_path, monkeypatch):
    split, cleaning = TemporalSplit(train_end=12, validation_end=15, test_end=SMALL["n_periods"]), Cleaning()
    built = build(source, split, ArrayCache(tmp_path), cleaning)
    rows = truth_of(raw).select("user", "item", "time", "cause_item", "mechanism", "strength")
    found, wanted = causes_of(built), sorted(rows.rows(), key=_order)
    assert [r[:5] for r in found] == [r[:5] for r in wanted]
    assert [r[5] for r in found] == pytest.approx([r[5] for r in wanted])
    assert built.card["truth"]["kept"] == built.card["truth"]["rows"] == len(wanted)
    monkeypatch.setattr(Planted, "load", lambda self: pytest.fail("generated again"))
    again = build(Planted(**SMALL), split, ArrayCache(tmp_path), cleaning)
    assert causes_of(again) == found and again.fingerprint == built.fingerprint
    with pytest.raises(pytest.fail.Exception):
        build(Planted(**SMALL, seed=1), split, ArrayCache(tmp_path), cleaning)


def test_causes_outside_the_core_go_with_their_items(source, raw, tmp_path):
    split = TemporalSplit(train_end=12, validation_end=15, test_end=18)
    built = build(source, split, ArrayCache(tmp_path), Cleaning(min_item_users=25, min_user_items=5))
    items, users = set(built.catalogue.item_ids), set(built.catalogue.user_ids)
    assert 0 < len(items) < SMALL["n_items"]
    rows = truth_of(raw).select("user", "item", "time", "cause_item", "mechanism").rows()
    wanted = [r for r in rows if r[0] in users and {r[1], r[3] or r[1]} <= items and r[2] <= 18]
    assert [r[:5] for r in causes_of(built)] == sorted(wanted, key=_order)
    lost = built.card["truth"]
    assert lost["rows"] - lost["of_events_that_went"] - lost["of_causes_that_went"] == lost["kept"] == len(wanted)


def test_the_yaml_says_what_the_code_does():
    path = Path(__file__).parents[3] / "conf" / "data" / "planted.yaml"
    source = yaml.safe_load(path.read_text())["source"]
    assert source.pop("_target_") == "xrec.data.sources.planted.Planted"
    assert source == Planted().settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_users": 0}, "planted: n_users must be a whole number >= 1, not 0"),
        ({"n_items": 2.5}, "planted: n_items must be a whole number >= 1, not 2.5"),
        ({"lag": True}, "planted: lag must be a whole number >= 1, not True"),
        ({"taste": 1.5}, "planted: taste must be a number from 0 to 1, not 1.5"),
        ({"suppression": -0.1}, "planted: suppression must be a number from 0 to 1, not -0.1"),
        ({"basket_size": 0.5}, "planted: basket_size must be a number >= 1, not 0.5"),
        ({"baskets_per_user": float("nan")}, "planted: baskets_per_user must be a number >= 0, not nan"),
        ({"activity_sigma": "wide"}, "planted: activity_sigma must be a number >= 0, not 'wide'"),
        ({"noise": 0.2}, "planted: the shares taste, popularity, season, noise must sum to 1, not 1.1"),
        ({"n_categories": 200}, "planted: n_categories=200 is more than n_items=120"),
        (
            {"n_substitutes": 61, "n_categories": 1},
            "planted: n_substitutes=61, but the categories hold 60 pairs of items only; lower it, or raise n_items",
        ),
        (
            {"n_staples": 100, "n_substitutes": 0, "n_categories": 1},
            (
                "planted: complements and staples want 136 items, but substitutes leave 120 (119 of them can be a "
                "complement's target); lower n_complements, complement_causes, n_substitutes or n_staples, or raise "
                "n_items"
            ),
        ),
    ],
)
def test_what_cannot_be_planted_is_refused(settings, message):
    with pytest.raises(DataError) as error:
        Planted(**{**SMALL, **settings}).load()
    assert str(error.value) == message


def test_the_smallest_world_works():
    raw = Planted(
        n_users=1, n_items=1, n_categories=1, n_periods=1, n_complements=0, n_substitutes=0, n_staples=0
    ).load()
    assert raw.events.collect().height <= 1 and truth_of(raw)["cause_item"].is_null().all()
    nothing = Planted(**{**SMALL, "baskets_per_user": 0.0}).load()
    assert nothing.events.collect().is_empty() and truth_of(nothing).is_empty()
