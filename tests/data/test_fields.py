"""Attributes as fields: several values, numbers, texts, values that change; measured on training only."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import SPLIT, ToySource, events_frame
from xrec.data.attribute_history import latest_values
from xrec.data.build import build
from xrec.data.cache import ArrayCache
from xrec.data.clean import Cleaning
from xrec.data.errors import DataError
from xrec.data.fields import MISSING, RARE, encode_fields
from xrec.data.schema import RawData
from xrec.data.texts import Texts
from xrec.types import Field

IDS = pl.Series(["e", "d", "c", "b", "a", "without row"])
ALL = np.ones(len(IDS), dtype=bool)


def encoded(values: list, trained=ALL, min_count: int = 1, text: tuple = (), dtype=None) -> Field:
    """The attribute `x` of a, b, c, d, e."""
    frame = pl.DataFrame({"item": list("abcde"), "x": pl.Series(values, dtype=dtype)})
    (field,) = encode_fields(frame, "item", IDS, trained, min_count, text)
    assert len(field.codes) == len(field.weights) == len(IDS)
    return field


def shares(field: Field) -> list[dict[str, float]]:
    """Each entity's levels and their weights, places that are not needed left out."""
    return [
        {field.levels[c]: round(float(w), 5) for c, w in zip(codes, weights, strict=True) if w}
        for codes, weights in zip(field.codes, field.weights, strict=True)
    ]


def test_categories_are_coded_with_missing_first_and_rare_pooled():
    field = encoded(["x", "x", "lone", None, "y"], min_count=2)
    assert (field.kind, field.levels) == ("categorical", (MISSING, RARE, "x"))
    assert shares(field) == [{RARE: 1}, {MISSING: 1}, {RARE: 1}, {"x": 1}, {"x": 1}, {MISSING: 1}]


def test_several_values_share_the_weight_and_rare_ones_add_up():
    field = encoded([["x", "y"], ["y", "x", "x"], ["x", "p", "q"], [], None], min_count=2)
    assert field.levels == (MISSING, RARE, "x", "y")
    third = round(1 / 3, 5)
    assert shares(field)[:2] == [{MISSING: 1}, {MISSING: 1}]
    assert shares(field)[3:] == [{"x": 0.5, "y": 0.5}, {"x": 0.5, "y": 0.5}, {MISSING: 1}]
    row = list(zip(field.codes[2].tolist(), [round(w, 5) for w in field.weights[2].tolist()], strict=True))
    assert row == [(1, third), (1, third), (2, third)]


def test_levels_are_counted_on_trained_entities_only():
    trained = np.isin(IDS.to_numpy(), ["a", "b"])
    field = encoded(["x", "x", "y", "y", "y"], trained, min_count=2)
    assert field.levels == (MISSING, RARE, "x")
    assert shares(field)[:3] == [{RARE: 1}] * 3


def test_numbers_are_scaled_by_the_quartiles_of_trained_entities():
    trained = np.isin(IDS.to_numpy(), ["a", "b", "c"])
    field = encoded([10.0, 20.0, 40.0, 1e9, None], trained)
    assert (field.kind, field.levels) == ("numeric", (MISSING, "value"))
    low, middle, high = 15.0, 20.0, 30.0
    wanted = [(0, 1.0), *((1, (x - middle) / (high - low)) for x in (1e9, 40, 20, 10)), (0, 1.0)]
    assert field.codes[:, 0].tolist() == [c for c, _ in wanted]
    np.testing.assert_allclose(field.weights[:, 0], [w for _, w in wanted], rtol=1e-6)


def test_numbers_without_a_spread_or_any_trained_one_are_finite():
    assert encoded([3, 3, 3, 3, 5]).weights[:, 0].tolist() == [2.5, 0, 0, 0, 0, 1]  # the standard deviation is 0.8
    trained = np.isin(IDS.to_numpy(), ["a", "b", "c"])
    assert encoded([3, 3, 3, 4, 5], trained).weights[:4, 0].tolist() == [2, 1, 0, 0]  # 0 too
    assert encoded([0.1, 0.1, 0.1, 2.1, 1.1], trained).weights[:2, 0].tolist() == [1, 2]  # 0 but for rounding
    assert encoded([3, 4, 5, 6, 7], trained=~ALL).weights[:, 0].tolist() == [7, 6, 5, 4, 3, 1]
    inf = encoded([float("inf"), float("nan"), 1.0, 1.0, 1.0])
    assert inf.codes[:, 0].tolist() == [1, 1, 1, 0, 0, 0]


def test_texts_are_hashed_words_that_sum_to_one():
    field = encoded(["red shoes", "shoes", "RED SHOES", " ! ", None], text=("x",))
    assert field.kind == "text" and len(field.levels) == 258
    e, d, c, b, a, without = shares(field)
    assert e == d == without == {MISSING: 1}
    assert a == c and len(a) == 3 and sum(a.values()) == pytest.approx(1, abs=1e-4)
    assert set(b) < set(a) and list(b.values()) == [1]


def test_booleans_and_ids_of_another_type_are_legal():
    assert shares(encoded([True, False, None, True, True]))[4] == {"true": 1}
    frame = pl.DataFrame({"item": [1, 2, None], "x": ["p", "q", "r"]})
    (field,) = encode_fields(frame, "item", pl.Series(["2", "1"]), np.ones(2, dtype=bool), 1)
    assert shares(field) == [{"q": 1}, {"p": 1}]


@pytest.mark.parametrize(
    ("values", "text", "message"),
    [
        ([datetime(2015, 1, 1, tzinfo=UTC)] * 5, (), "item attributes: x is of type Datetime"),
        ([[1.5]] * 5, (), r"item attributes: x is of type List\(Float64\).*takes String, Boolean, List"),
        ([1.0] * 5, ("x",), "item attributes: the text x is of type Float64; takes String"),
        (["p"] * 5, ("y",), "item attributes: text names y, which is no attribute column"),
    ],
)
def test_attributes_of_another_type_are_refused_by_name(values, text, message):
    with pytest.raises(DataError, match=message):
        encoded(values, text=text)


@given(
    st.lists(st.none() | st.lists(st.sampled_from(["x", "y", "z", MISSING, RARE]), max_size=4), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.integers(1, 3),
)
def test_categories_equal_a_slow_loop(values, trained, least):
    field = encoded(values, np.array(trained), least, dtype=pl.List(pl.String))
    of = dict(zip("abcde", ({v for v in row or [] if v != MISSING} for row in values), strict=True))
    counts = {v: sum(v in of.get(i, ()) and t for i, t in zip(IDS, trained, strict=True)) for v in ("x", "y", "z")}
    kept = sorted(v for v, n in counts.items() if n >= least)
    assert field.levels == (MISSING, RARE, *kept)
    for codes, weights, item in zip(field.codes, field.weights, IDS, strict=True):
        mine = of.get(item) or {MISSING}
        wanted = [0.0] * len(field.levels)
        for value in mine:
            wanted[field.levels.index(value) if value in field.levels else 1] += 1 / len(mine)
        found = np.bincount(codes, weights=weights, minlength=len(field.levels))
        np.testing.assert_allclose(found, wanted, atol=1e-6)


HISTORY = pl.DataFrame(
    [
        ("a", "price", "1", 1),
        ("a", "price", "2", 5),
        ("a", "price", "3", 9),
        ("b", "stock", "no", 5),
        ("c", "price", None, 1),
    ],
    schema=["item", "attribute", "value", "time"],
    orient="row",
)


def test_the_latest_value_of_training_stays_and_later_ones_are_counted():
    items = pl.DataFrame({"item": ["a", "z"], "brand": ["p", "q"]})
    found, counts = latest_values(HISTORY, items, 5, None, "toy")
    rows = {r["item"]: (r["brand"], r["price"], r["stock"]) for r in found.rows(named=True)}
    assert rows == {"a": ("p", "2", None), "b": (None, None, "no"), "z": ("q", None, None)}
    assert counts == {"rows": 5, "used": 2, "superseded": 1, "after_training": 1, "incomplete": 1}


def test_a_value_from_after_the_items_first_target_is_left_out():
    """leave_last_out cuts users at different dates: training ends at 9 for one of them, but item a is a target at 3."""
    items = pl.DataFrame({"item": ["a", "b"]})
    shelves = [
        ("a", "shelf", "one", 1),
        ("a", "shelf", "three", 3),
        ("b", "shelf", "eight", 8),
        ("b", "shelf", "x", 10),
    ]
    history = pl.DataFrame(shelves, schema=["item", "attribute", "value", "time"], orient="row")
    found, counts = latest_values(history, items, 9, pl.DataFrame({"item": ["a"], "time": [3]}), "toy")
    assert found.sort("item").rows() == [("a", "one"), ("b", "eight")]
    assert counts["after_training"] == 2 and counts["used"] == 2


def test_histories_that_do_not_fit_are_refused():
    items = pl.DataFrame({"item": ["a"], "price": ["p"]})
    with pytest.raises(DataError, match="toy: price is an attribute both of items and of item_history"):
        latest_values(HISTORY, items, 5, None, "toy")
    with pytest.raises(DataError, match="toy: item_history lacks the columns time"):
        latest_values(HISTORY.drop("time"), items, 5, None, "toy")
    with pytest.raises(DataError, match="the times of item_history are Int64, but those of events are not"):
        latest_values(HISTORY, items, datetime(2015, 1, 1, tzinfo=UTC), None, "toy")


def test_no_attribute_of_the_future_and_no_statistic_of_it_reaches_the_catalogue(tmp_path):
    """Item 3 occurs after training only: its price and its brand decide nothing."""
    rows = [("1", i, t, 1.0) for i in "12" for t in (8, 9, 11)] + [("1", "3", 11, 1.0)]
    items = pl.DataFrame({"item": ["1", "2", "3"], "price": [1.0, 3.0, 1000.0], "brand": ["x", "y", "future"]})
    shelves = [("1", "shelf", "early", 8), ("1", "shelf", "late", 9)]
    history = pl.DataFrame(shelves, schema=["item", "attribute", "value", "time"], orient="row")
    users = pl.DataFrame({"user": ["1"]})
    raw = RawData(events_frame(rows).lazy(), items, users, {"3": "three"}, item_history=history)
    built = build(ToySource(raw), SPLIT, ArrayCache(tmp_path), Cleaning(min_level_count=1))
    price, brand, shelf = built.catalogue.item_fields
    assert price.weights[:2, 0].tolist() == [-1, 1]
    assert brand.levels == (MISSING, RARE, "x", "y") and brand.codes[:, 0].tolist() == [2, 3, 1]
    assert shelf.levels == (MISSING, RARE, "early")
    assert built.card["item_history"]["after_training"] == 1
    assert built.catalogue.item_names == ("1", "2", "three")
    assert built.card["attribute_coverage"] == {"item price": 1.0, "item brand": 1.0, "item shelf": 0.3333}


@given(st.lists(st.text(max_size=5)))
def test_texts_are_a_tuple_that_survives_its_arrays(texts):
    found = Texts.stored(Texts.of(texts).arrays("x"), "x")
    assert len(found) == len(texts)
    assert found == tuple(texts) and list(found) == texts and found[1:] == tuple(texts[1:])
