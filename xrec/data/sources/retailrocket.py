"""Retailrocket: 4.5 months of views, add-to-carts and transactions of an online shop, item properties over time.

Files and fields as at https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset: events.csv, item_properties_part1
and 2, category_tree.csv; times in milliseconds; property values are hashed, but for `categoryid` and `available`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import RawData, Step
from xrec.data.sources.delimited import Column, Delimited, event_log, time_column, utc
from xrec.data.sources.reading import fetch_again, require
from xrec.words import did_you_mean

HOME = "https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset"
KINDS = ("view", "addtocart", "transaction")
PROPERTIES = ("item_properties_part1.csv", "item_properties_part2.csv")
ALWAYS = ("categoryid", "available")
TIME = time_column("timestamp", "ms", 2015)


class Retailrocket:
    """Views, add-to-carts and transactions as event kinds; properties and the category path as item history.

    Item history has the attributes `categoryid`, `category_parent`, `category_root`, `available` and `properties`. A
    category without a parent, or outside the tree, is its own parent and root.

    Args:
        path: folder of the four files.
        properties: further properties by their (hashed) names, such as "790".
    """

    name = "retailrocket"

    def __init__(self, path: str, properties: Sequence[str | int] = ()) -> None:
        self.folder = Path(path)
        self.properties = tuple(dict.fromkeys([*ALWAYS, *(str(p) for p in properties)]))
        self.settings: dict[str, Any] = {"properties": list(self.properties)}

    def files(self) -> list[Path]:
        """Events, both parts of the properties, and the tree.

        Raises:
            DataError: one is missing or empty.
        """
        paths = [self.folder / f for f in ("events.csv", *PROPERTIES, "category_tree.csv")]
        return require(self.name, paths, HOME, "data.source.path to the folder of its files")

    def load(self) -> RawData:
        """Events of the three kinds (value 1), items without fixed attributes, and their history.

        Raises:
            DataError: names the file and line of anything that is not as described; a property that no item has; a
                category that is its own ancestor.
        """
        log, *parts, tree = self.files()
        columns = (
            TIME,
            Column("user", pl.Int32, "visitorid"),
            Column("kind", pl.String, "event", choices=KINDS),
            Column("item", pl.Int32, "itemid"),
        )
        events, steps = event_log(Delimited(self.name, log, columns), "ms", KINDS)
        items = events.select("item").unique().collect(engine="streaming")
        history, reason = self._history(parts, _paths(tree), items)
        last = steps[-1]
        steps.append(Step("properties", reason, last.rows, last.users, last.items))
        users = pl.DataFrame(schema={"user": pl.Int32})
        return RawData(events, items, users, event_kinds=KINDS, item_history=history, steps=steps)

    def _history(self, parts: list[Path], paths: pl.DataFrame, items: pl.DataFrame) -> tuple[pl.DataFrame, str]:
        """columns item, attribute, value, time; and an account of what was read."""
        kept: list[pl.DataFrame] = []
        n_read = 0
        found: set[str] = set()
        columns = (
            TIME,
            Column("item", pl.Int32, "itemid"),
            Column("attribute", pl.String, "property"),
            Column("value", pl.String, "value", optional=True),
        )
        wanted = pl.col("attribute").is_in(list(self.properties))
        tables = [Delimited(self.name, part, columns, quote='"') for part in parts]
        for table in tables:
            sizes = table.checked(
                pl.col("item").count().alias("rows"),
                pl.col("attribute").filter(wanted).unique().implode().alias("found"),
            )
            n_read += sizes["rows"]
            found |= set(sizes["found"])
            rows = table.scan().filter(wanted & pl.col("value").is_not_null())
            kept.append(rows.join(items.lazy(), on="item", how="semi").collect(engine="streaming"))
        if unknown := [p for p in self.properties if p not in found and p not in ALWAYS]:
            names = {p for t in tables for (p,) in t.scan().select(pl.col("attribute").unique()).collect().iter_rows()}
            raise DataError(
                f"retailrocket: no item has the properties {', '.join(unknown)}; mend data.source.properties (names "
                f"as in the column `property`){did_you_mean(unknown[0], names)}"
            )
        rows = pl.concat(kept)
        # every change of category gives a parent and a root, or those of an earlier category would outlive it
        with_path = rows.filter(pl.col("attribute") == "categoryid").join(
            paths, left_on="value", right_on="category", how="left"
        )
        derived = [
            with_path.select("time", "item", pl.lit(c).alias("attribute"), pl.coalesce(c, "value").alias("value"))
            for c in ("category_parent", "category_root")
        ]
        every = pl.concat([rows, *derived]).select("item", "attribute", "value", utc(pl.col("time"), "ms"))
        reason = (
            f"nothing dropped; of {n_read} property lines {rows.height} are {', '.join(self.properties)} of the "
            f"{rows['item'].n_unique()} of {items.height} items that have any"
        )
        return every.sort("item", "attribute", "time", "value"), reason


def _paths(path: Path) -> pl.DataFrame:
    """(category, category_parent, category_root) as text; a root is its own root, and has no parent here."""
    table = Delimited(
        "retailrocket",
        path,
        (Column("category", pl.Int32, "categoryid"), Column("parent", pl.Int32, "parentid", optional=True)),
    )
    table.checked(pl.len())
    tree = table.scan().drop_nulls("category").collect()
    repeated = tree.filter(pl.col("category").is_duplicated())
    if repeated.height:
        again = repeated["category"][0]
        raise DataError(f"retailrocket: {path.name} has category {again} several times; {fetch_again('retailrocket')}")
    parents: dict[int, int | None] = dict(tree.iter_rows())
    roots = [_root(parents, category, path.name) for category in parents]
    schema = {"category": pl.String, "category_parent": pl.String, "category_root": pl.String}
    rows = [(str(c), None if p is None else str(p), str(r)) for (c, p), r in zip(parents.items(), roots, strict=True)]
    return pl.DataFrame(rows, schema=schema, orient="row")


def _root(parents: dict[int, int | None], category: int, file: str) -> int:
    passed = {category}
    while (parent := parents.get(category)) is not None:
        if parent in passed:
            raise DataError(
                f"retailrocket: {file}: category {parent} is its own ancestor; {fetch_again('retailrocket')}"
            )
        passed.add(parent)
        category = parent
    return category
