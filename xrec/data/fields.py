"""From attribute columns to coded fields: categories, lists of categories, numbers and texts.

What a level is worth (which ones are rare, where the middle of a number lies) is measured on entities that occur in
training only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.types import Bools, Codes, Field, Floats

MISSING = "(missing)"
RARE = "(rare)"
VALUE = "value"
#: buckets that the words of a text are hashed into
TEXT_BUCKETS = 256


def encode_fields(
    frame: pl.DataFrame, key: str, ids: pl.Series, trained: Bools, min_count: int, text: Sequence[str] = ()
) -> tuple[Field, ...]:
    """Every attribute column of `frame`, for the entities `ids`, in their order.

    An entity without a row counts as missing.

    Args:
        frame: one row per entity, column `key` and attributes: String or Boolean = categorical, List = several
            categories, a number = numeric; the columns named in `text` are texts.
        trained: [n] which entities occur in training.
        min_count: categories of fewer trained entities are pooled in "(rare)".
    Raises:
        DataError: several rows for one entity, a column of another type, a text that is no String column.
    """
    if unknown := [c for c in text if c not in frame.columns or c == key]:
        raise DataError(f"{key} attributes: text names {', '.join(unknown)}, which is no attribute column")
    named = frame.drop_nulls(key)
    if named[key].n_unique() != named.height:
        raise DataError(f"{key} attributes: some {key} ids have several rows; keep one row per {key}")
    if named.schema[key] != ids.dtype:
        named, ids = named.with_columns(pl.col(key).cast(pl.String)), ids.cast(pl.String)
    joined = pl.DataFrame({key: ids}).join(named, on=key, how="left", maintain_order="left")
    fields = []
    for name in frame.columns:
        if name == key:
            continue
        column = joined[name]
        if name in text:
            fields.append(_text(name, column, key))
        elif column.dtype.is_numeric():
            fields.append(_numeric(name, column, trained))
        else:
            fields.append(_categorical(name, column, trained, min_count, key))
    return tuple(fields)


def _categorical(name: str, column: pl.Series, trained: Bools, min_count: int, key: str) -> Field:
    """Levels are sorted by name, after "(missing)" and "(rare)"; several values of an entity share its weight."""
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else column.dtype  # type: ignore[attr-defined]
    if not (inner in (pl.String, pl.Boolean, pl.Null) or inner.is_integer() or isinstance(inner, pl.Categorical)):
        raise DataError(
            f"{key} attributes: {name} is of type {column.dtype}; takes String, Boolean, List(String) or a number"
        )
    rows = pl.DataFrame({"row": pl.arange(len(column), dtype=pl.UInt32, eager=True), "value": column})
    rows = rows.explode("value") if isinstance(column.dtype, pl.List) else rows
    rows = rows.with_columns(pl.col("value").cast(pl.String)).drop_nulls().unique().filter(pl.col("value") != MISSING)
    occurring = rows.filter(pl.Series(trained).gather(rows["row"]) & (pl.col("value") != RARE))
    counts = occurring.group_by("value").len()
    kept = counts.filter(pl.col("len") >= min_count).select("value").sort("value")
    levels = (MISSING, RARE, *kept["value"].to_list())
    places = kept.with_columns(pl.arange(2, len(levels), dtype=pl.Int32).alias("code"))
    coded = rows.join(places, on="value", how="left").with_columns(pl.col("code").fill_null(1)).sort("row", "code")
    codes, weights = _padded(coded["row"].to_numpy(), coded["code"].to_numpy(), None, len(column))
    return Field(name, "categorical", levels, codes, weights)


def _numeric(name: str, column: pl.Series, trained: Bools) -> Field:
    """(x - median) / (75th - 25th percentile) of the trained entities. Where these percentiles are equal (most values
    are the same), / their standard deviation; where that is 0 too, x - median."""
    values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    there = np.isfinite(values)
    known = values[there & trained]
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75)) if len(known) else (0.0, 0.0, 1.0)
    scale = high - low
    if not scale:  # equal values first: rounding can give them a deviation that is not 0
        scale = 1.0 if not len(known) or known.min() == known.max() else np.std(known)
    scaled = (np.where(there, values, middle) - middle) / scale
    weights = np.where(there, scaled, 1.0).astype(np.float32)
    return Field(name, "numeric", (MISSING, VALUE), there.astype(np.int32)[:, None], weights[:, None])


def _text(name: str, column: pl.Series, key: str) -> Field:
    """Words and pairs of words, hashed by scikit-learn; a text without a word is missing. Level 1, "(rare)", is empty:
    nothing is counted, so nothing is rare."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import HashingVectorizer

    if column.dtype not in (pl.String, pl.Null):
        raise DataError(f"{key} attributes: the text {name} is of type {column.dtype}; takes String")
    hashing = HashingVectorizer(n_features=TEXT_BUCKETS, alternate_sign=False, norm="l1", ngram_range=(1, 2))
    shares = csr_matrix(hashing.transform(column.fill_null("").to_list()))
    shares.sort_indices()
    row = np.repeat(np.arange(len(column)), np.diff(shares.indptr))
    codes, weights = _padded(row, shares.indices + 2, shares.data, len(column))
    return Field(name, "text", (MISSING, RARE, *(f"#{i}" for i in range(TEXT_BUCKETS))), codes, weights)


def _padded(row: np.ndarray, code: np.ndarray, weight: np.ndarray | None, n: int) -> tuple[Codes, Floats]:
    """Entries sorted by row -> codes and weights [n, m]; without weights, the entries of a row share 1."""
    counts = np.bincount(row, minlength=n)
    width = max(1, int(counts.max(initial=0)))
    codes, weights = np.zeros((n, width), dtype=np.int32), np.zeros((n, width), dtype=np.float32)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    codes[row, place] = code
    weights[row, place] = 1.0 / counts[row] if weight is None else weight
    weights[counts == 0, 0] = 1.0
    return codes, weights
