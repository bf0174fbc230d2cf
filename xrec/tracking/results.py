"""The long results table: one row per number, and the canonical hash over it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from xrec.files import whole_file

SCHEMA: dict[str, type[pl.DataType]] = {
    "data": pl.String,
    "split": pl.String,
    "part": pl.String,
    "fold": pl.Int64,
    "model": pl.String,
    "seed": pl.Int64,
    "stage": pl.String,
    "group": pl.String,
    "explainer": pl.String,
    "masker": pl.String,
    "players": pl.String,
    "output": pl.String,
    "metric": pl.String,
    "k": pl.Int64,
    "step": pl.Float64,
    "user": pl.String,
    "item": pl.String,
    "value": pl.Float64,
}


class Rows:
    """Collects rows of one stage; columns not named are null. NaN values are refused: a case that is left out has
    no row."""

    def __init__(self, **common: Any) -> None:
        self.common = common
        self._added: list[tuple[dict[str, Any], np.ndarray]] = []

    def add(self, metric: str, value: Any, **columns: Any) -> None:
        """One number, or a column of numbers with columns `user`, `item` of the same length.

        Raises:
            ValueError: a value is NaN or infinite, a column is unknown or of another length.
        """
        values = np.atleast_1d(np.asarray(value, dtype=np.float64))
        given: dict[str, Any] = {**self.common, "metric": metric, **columns}
        if not np.isfinite(values).all():
            whose = given.get("explainer") or given.get("model")
            raise ValueError(f"results: metric {metric!r} has values that are not finite ({whose})")
        unknown = set(given) - set(SCHEMA)
        if unknown:
            raise ValueError(f"results: no column {sorted(unknown)}")
        uneven = [c for c, v in given.items() if isinstance(v, list) and len(v) != len(values)]
        if uneven:
            raise ValueError(
                f"results: metric {metric!r}: columns {uneven} are not as long as its {len(values)} values"
            )
        self._added.append((given, values))

    def frame(self) -> pl.DataFrame:
        """All rows, in the order they were added; made at once, since half a million rows come in small pieces."""
        columns: dict[str, list[Any]] = {name: [] for name in SCHEMA}
        for given, values in self._added:
            for name in SCHEMA:
                value = values.tolist() if name == "value" else given.get(name)
                columns[name].extend(value if isinstance(value, list) else [value] * len(values))
        return pl.DataFrame(columns, schema=SCHEMA)


def read_results(path: Path) -> pl.DataFrame:
    """The results table of a run, empty when there is none yet."""
    return pl.read_parquet(path) if path.is_file() else pl.DataFrame(schema=SCHEMA)


def write_results(path: Path, frame: pl.DataFrame) -> None:
    """Write the whole table to a temporary name and rename it."""
    with whole_file(path) as temporary:
        frame.write_parquet(temporary)


def canonical_hash(frame: pl.DataFrame) -> str:
    """sha256 over every row but those of stage `cost`, sorted by all columns, values as float64 bytes."""
    kept = frame.filter(pl.col("stage") != "cost").select(list(SCHEMA)).sort(list(SCHEMA), nulls_last=False)
    digest = hashlib.sha256()
    for name in SCHEMA:
        column = kept[name]
        if column.dtype == pl.String:
            digest.update("\x1f".join("\x00" if v is None else v for v in column.to_list()).encode())
        else:
            digest.update(column.is_null().to_numpy().tobytes())
            digest.update(column.fill_null(0).to_numpy().astype(np.float64).tobytes())
    return digest.hexdigest()


def summary(frame: pl.DataFrame, **where: Any) -> float:
    """Mean value over users of the rows that match; a user's rows are averaged first.

    Raises:
        KeyError: no row matches.
    """
    chosen = frame
    for column, value in where.items():
        chosen = chosen.filter(pl.col(column).is_null() if value is None else pl.col(column) == value)
    if chosen.height == 0:
        raise KeyError(f"no results with {where}")
    return float(chosen.group_by("user").agg(pl.col("value").mean())["value"].to_numpy().mean())
