"""Amazon reviews of the releases of 2014, 2018 and 2023: raw reviews, 5-core or ratings-only files, with metadata.

2014 https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html: JSON lines `reviewerID asin overall unixReviewTime`;
metadata are lines of Python literals with nested `categories`; ratings as CSV user,item,rating,timestamp.
2018 https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/: the same fields; metadata are JSON lines with `category` and
a `price` of text; ratings as CSV item,user,rating,timestamp.
2023 https://amazon-reviews-2023.github.io/: JSON lines `user_id parent_asin rating timestamp` (milliseconds); metadata
with `parent_asin`, `store`, `categories`; ratings as CSV with these names as header.
All may be gzip.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import EVENT_COLUMNS, RawData, Step
from xrec.data.sources.delimited import Delimited, event_columns, event_log, time_column, utc
from xrec.data.sources.jsonlines import JsonLines
from xrec.data.sources.reading import decoded, fetch_again, numbered, one_document, require, wraps_records
from xrec.data.sources.spill import Spill
from xrec.words import did_you_mean

HOME = "https://amazon-reviews-2023.github.io/ (or the page of the older release, see its links)"
RELEASES = (2014, 2018, 2023)
STARS = (0, 5)
SINCE = 1995
#: user, item, value, time by their names in the reviews; the unit of time
OLDER = (("reviewerID", "asin", "overall", "unixReviewTime"), "s")
NEWER = (("user_id", "parent_asin", "rating", "timestamp"), "ms")
ENTITIES = {"&amp;": "&", "&quot;": '"', "&#39;": "'", "&lt;": "<", "&gt;": ">"}
PRICE = r"^\$?\s*(\d[\d,]*(?:\.\d+)?)$"
#: Left over from the pages' scripts in titles of 2018; the release's own advice is to drop such rows.
SCRIPT = "getTime"
#: Codes of ten signs are products, longer ones people (CSV without a header).
_PRODUCT = re.compile(r"[0-9A-Z]{10}")


class Amazon:
    """Reviews as events, the stars as value; categories, brand (or store) and price of products; titles as names.

    Args:
        path: reviews as JSON lines, or ratings as CSV; plain or gzip.
        metadata: the metadata of the same category; None: products without attributes and names.
        release: 2014, 2018 or 2023; None: told by the first lines.
        title_as_text: titles are a text attribute too.
    Raises:
        DataError: an unknown release.
    """

    name = "amazon"

    def __init__(
        self, path: str, metadata: str | None = None, release: int | None = None, title_as_text: bool = False
    ) -> None:
        if release is not None and release not in RELEASES:
            near = str(min(RELEASES, key=lambda r: abs(r - release))) if isinstance(release, int) else release
            hint = did_you_mean(near, map(str, RELEASES))
            raise DataError(f"amazon: release is {release!r}, but must be one of 2014, 2018, 2023, or null{hint}")
        self.path = Path(path)
        self.metadata = Path(metadata) if metadata is not None else None
        self.release = release
        self.title_as_text = title_as_text
        self.settings: dict[str, Any] = {"release": release, "title_as_text": title_as_text}

    def files(self) -> list[Path]:
        """The reviews and, where given, the metadata.

        Raises:
            DataError: one is missing or empty.
        """
        paths = [self.path] if self.metadata is None else [self.path, self.metadata]
        return require(self.name, paths, HOME, "data.source.path and data.source.metadata")

    def load(self) -> RawData:
        """Events, and attributes of the products that have any.

        JSON lines are read once, block by block, into a temporary folder that goes with the events.

        Raises:
            DataError: names the file and line that cannot be read, or the setting that does not fit the file.
        """
        self.files()
        _, line = next(numbered(self.name, self.path, 1 << 16), (0, b""))
        events, steps = self._reviews() if line.lstrip().startswith((b"{", b"[")) else self._ratings()
        items = events.select("item").drop_nulls().unique().collect(engine="streaming")
        users = pl.DataFrame(schema={"user": pl.String})
        if self.metadata is None:
            return RawData(events, items, users, event_kinds=("review",), steps=steps)
        products, names, reason = _products(self.metadata, items, self.title_as_text)
        last = steps[-1]
        steps.append(Step("metadata", reason, last.rows, last.users, last.items))
        text = ("title",) if self.title_as_text else ()
        return RawData(events, products, users, names, ("review",), text, steps=steps)

    def _ratings(self) -> tuple[pl.LazyFrame, list[Step]]:
        _, first = next(decoded(self.name, self.path, size=1 << 16), (0, ""))
        if {"user_id", "parent_asin"} & set(first.split(",")):
            self._expect(2023)
            user, item, value, time = NEWER[0]
            columns = event_columns(user, item, value, time, ids=pl.String, unit="ms", since=SINCE, bounds=STARS)
            return event_log(Delimited(self.name, self.path, tuple(columns.values()), quote='"'), "ms")
        columns = event_columns(
            "user", "item", "rating", "timestamp", ids=pl.String, unit="s", since=SINCE, bounds=STARS
        )
        order = ("item", "user") if self._item_first() else ("user", "item")
        table = Delimited(
            self.name, self.path, tuple(columns[c] for c in (*order, "value", "time")), header=False, quote='"'
        )
        return event_log(table, "s")

    def _item_first(self) -> bool:
        """Whether a CSV without a header has the product first (2018) or the user (2014)."""
        if self.release == 2023:
            raise DataError(
                f"amazon: release is 2023, but {self.path.name} does not begin with its header user_id,parent_asin,"
                "rating,timestamp; set data.source.release to 2014, 2018 or null"
            )
        products = [0, 0]
        rows = 0
        for _, line in decoded(self.name, self.path, size=1 << 16):
            fields = [f.strip('"') for f in line.split(",")[:2]]
            for i, field in enumerate(fields):
                products[i] += _PRODUCT.fullmatch(field) is not None
            rows += 1
            if rows == 1000:
                break
        shares = [n / max(rows, 1) for n in products]
        if max(shares) < 0.9 or min(shares) > 0.5:
            if self.release is not None:
                return self.release == 2018
            raise DataError(
                f"amazon: {self.path.name} has no header, and its first lines do not tell which column holds products "
                "(codes of ten letters and digits); set data.source.release to 2014 (user first) or 2018 (item first)"
            )
        found = 2018 if shares[0] > shares[1] else 2014
        if self.release not in (found, None):
            raise DataError(
                f"amazon: release is {self.release}, but {self.path.name} has products (codes of ten letters and "
                f"digits) in its {'first' if found == 2018 else 'second'} column, as {found} has; set "
                "data.source.release to null"
            )
        return found == 2018

    def _expect(self, release: int) -> None:
        if self.release is not None and (self.release == 2023) != (release == 2023):
            raise DataError(
                f"amazon: release is {self.release}, but {self.path.name} has the fields of "
                f"{'2023' if release == 2023 else '2014 and 2018'}; set data.source.release to null"
            )

    def _reviews(self) -> tuple[pl.LazyFrame, list[Step]]:
        first = _first(self.path)
        layout = next((t for t in (NEWER, OLDER) if all(f in first for f in t[0][:2])), None)
        if layout is None:
            likely, _ = max(OLDER, NEWER, key=lambda t: sum(f in first for f in t[0]))
            hint = did_you_mean(next(f for f in likely if f not in first), first)
            raise DataError(
                f"amazon: {self.path.name}, line 1 has neither the fields {', '.join(OLDER[0])} (2014, 2018) nor "
                f"{', '.join(NEWER[0])} (2023), but {', '.join(list(first)[:8]) or 'none'}; set data.source.path to a "
                f"file of reviews{hint}"
            )
        self._expect(2023 if layout is NEWER else 2014)
        fields, unit = layout
        table = JsonLines(self.name, self.path, dict(zip(fields, ("id", "id", "number", "whole"), strict=True)))
        rows = self._spilled(table, fields, unit)
        sizes = rows.select(
            pl.len(),
            *(pl.col(c).drop_nulls().n_unique().alias(c) for c in ("user", "item")),
            pl.col("time").is_not_null().any(),
        ).collect(engine="streaming")
        n_rows, n_users, n_items, timed = sizes.row(0)
        lacking = [f for f, n in zip((*fields[:2], fields[3]), (n_users, n_items, timed), strict=True) if not n]
        if lacking:
            raise DataError(
                f"amazon: {self.path.name}: no review has {lacking[0]} (line 1 has {', '.join(list(first)[:8])}); set "
                f"data.source.path to a file of whole reviews{did_you_mean(lacking[0], first)}"
            )
        return rows, [Step("read", f"reviews of {self.path.name}", n_rows, n_users, n_items)]

    def _spilled(self, table: JsonLines, fields: tuple[str, ...], unit: str) -> pl.LazyFrame:
        spill = Spill(self.name, self.path.name)
        done = 0
        for frame in table.frames():
            named = frame.rename(dict(zip(fields, ("user", "item", "value", "time"), strict=True)))
            self._check(named, done, fields, unit)
            done += named.height
            events = named.select(
                *(pl.when(pl.col(c) != "").then(pl.col(c)).alias(c) for c in ("user", "item")),
                utc(pl.col("time"), unit),
                pl.lit(0, pl.UInt8).alias("kind"),
                pl.col("value").cast(pl.Float32),
            )
            spill.add(events.select(EVENT_COLUMNS))
        return spill.scan()

    def _check(self, rows: pl.DataFrame, done: int, fields: tuple[str, ...], unit: str) -> None:
        """Stars are there and within 0 to 5; times, where there are any, between SINCE and 2100."""
        when = time_column(fields[3], unit, SINCE)
        value, time = pl.col("value"), pl.col("time")
        bad = ~value.is_between(*STARS).fill_null(False) | ~time.is_between(when.low, when.high).fill_null(True)
        at = rows.select(bad.arg_true().first()).item()
        if at is None:
            return
        row = rows.row(at, named=True)
        stars = row["value"]
        if stars is None:
            reason = f"{fields[2]} is missing"
        elif not STARS[0] <= stars <= STARS[1]:
            reason = f"{fields[2]} {stars:.15g} is outside {STARS[0]} to {STARS[1]}"
        else:
            reason = when.fault(str(row["time"]))
        number = next(n for i, (n, _) in enumerate(numbered(self.name, self.path)) if i == done + at)
        raise DataError(
            f"amazon: {self.path.name}, line {number}: {reason}; mend the line, or {fetch_again(self.name)}"
        )


def _first(path: Path) -> dict[str, Any]:
    """The first record, which may not be a whole file of them."""
    first = JsonLines("amazon", path, {}).first()
    if not first.keys() & {"asin", "parent_asin"} and wraps_records(first):
        raise one_document("amazon", path)
    return first


def _products(path: Path, seen: pl.DataFrame, title_as_text: bool) -> tuple[pl.DataFrame, dict[str, str], str]:
    """Attributes and names of the products in `seen`, and an account of what was read."""
    first = _first(path)
    if review := [f for f in (*NEWER[0], *OLDER[0]) if f in first and f not in ("asin", "parent_asin")]:
        raise DataError(
            f"amazon: {path.name}, line 1 is a review (it has {', '.join(review)}); set data.source.metadata to a file "
            "of metadata"
        )
    key = next((k for k in ("parent_asin", "asin") if k in first), None)
    if key is None:
        raise DataError(
            f"amazon: {path.name}, line 1 has neither asin nor parent_asin, but {', '.join(list(first)[:8]) or 'none'}"
            "; set data.source.metadata to a file of metadata"
        )
    fields = {key: "id", "title": "text", "price": "text", "brand": "text", "store": "text"}
    table = JsonLines("amazon", path, fields | {"categories": "texts", "category": "texts"})
    kept: list[pl.DataFrame] = []
    n_read = n_script = 0
    for frame in table.frames():
        rows = frame.rename({key: "item"})
        clean = rows.filter(~pl.col("title").str.contains(SCRIPT, literal=True).fill_null(False))
        n_read, n_script = n_read + rows.height, n_script + rows.height - clean.height
        kept.append(clean.join(seen, on="item", how="semi"))
    every = pl.concat(kept)
    unique = every.unique("item", keep="first", maintain_order=True)
    price = pl.col("price").str.strip_chars()
    products = unique.select(
        "item",
        pl.coalesce("categories", "category")
        .list.eval(_filled(_plain(pl.element())).drop_nulls())
        .list.unique(maintain_order=True)
        .alias("categories"),
        _filled(_plain(pl.coalesce("brand", "store"))).alias("brand"),
        price.str.extract(PRICE).str.replace_all(",", "").cast(pl.Float64).alias("price"),
        _filled(_plain(pl.col("title"))).alias("title"),
    )
    odd = unique.select((price.str.len_chars() > 0).sum()).item() - products["price"].count()
    reason = (
        f"nothing dropped; {products.height} of {seen.height} products have metadata; of {n_read} metadata lines "
        f"{n_script} hold page scripts, {every.height - unique.height} repeat a product; {odd} prices are not one "
        "number (missing)"
    )
    names = dict(products.filter(pl.col("title").is_not_null()).select("item", "title").iter_rows())
    return (products if title_as_text else products.drop("title")), names, reason


def _plain(column: pl.Expr) -> pl.Expr:
    """Without the five HTML entities that the pages used."""
    return column.str.replace_many(ENTITIES)


def _filled(column: pl.Expr) -> pl.Expr:
    """Without surrounding blanks; an empty text is a missing one."""
    stripped = column.str.strip_chars()
    return pl.when(stripped != "").then(stripped)
