"""The long results table: one row per number, what its metrics mean, and the canonical hash over it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from xrec.errors import UserError
from xrec.types import Metric
from xrec.words import did_you_mean, title_of

#: No value of a column is parsed for meaning. Null: does not apply.
SCHEMA: dict[str, type[pl.DataType]] = {
    "data": pl.String,
    "split": pl.String,
    "split_seed": pl.Int64,  # of splits that draw
    "fold": pl.Int64,  # of splits with folds, from 0
    "part": pl.String,  # train, validation, test
    "model": pl.String,
    "component": pl.String,  # the summand of the model that the row is about, or that an ablation left out
    "seed": pl.Int64,
    "stage": pl.String,  # fit, rank, explain, fidelity; cost
    "cost_of": pl.String,  # rows of stage cost: the stage that it cost
    "group": pl.String,  # of targets or cases: all, new, repeat, cold
    "few": pl.Boolean,  # cases: whether the history has so few players that it is reported apart
    "explainer": pl.String,
    "role": pl.String,  # explainer, control, oracle
    "masker": pl.String,
    "players": pl.String,
    "output": pl.String,
    "metric": pl.String,
    "variant": pl.String,  # of the metric: normalised, discrete, discrete_normalised, curve
    "direction": pl.String,  # which way is better: higher, lower
    "k": pl.Int64,  # cut-off
    "step": pl.Float64,  # share or number of players removed or kept
    "user": pl.String,
    "item": pl.String,
    "value": pl.Float64,
}


#: rows that are written and hashed together, about
_PIECE = 2**16


class ResultError(UserError):
    """A number that does not belong into a results table."""


class Rows:
    """Collects rows of one stage; columns not named are null, the direction is the metric's.

    Args:
        metrics: those that may be added.
        common: columns that are the same in every row.
    """

    def __init__(self, metrics: Iterable[Metric], **common: Any) -> None:
        self.metrics = {m.name: m for m in metrics}
        self.common = common
        self._added: list[tuple[dict[str, Any], np.ndarray]] = []

    def add(self, metric: str, value: Any, **columns: Any) -> None:
        """One number, or a column of numbers with columns `user`, `item` of the same length.

        Raises:
            ResultError: a value is NaN or infinite: a case that is left out has no row.
            ValueError: a metric that was not declared, an unknown column, or one of another length.
        """
        values = np.atleast_1d(np.asarray(value, dtype=np.float64))
        if metric not in self.metrics:
            raise ValueError(f"results: metric {metric!r} is not declared{did_you_mean(metric, self.metrics)}")
        given: dict[str, Any] = {**self.common, "metric": metric, "direction": self.metrics[metric].direction}
        given |= columns
        if not np.isfinite(values).all():
            whose = given.get("explainer") or given.get("model")
            raise ResultError(f"results: metric {metric!r} has values that are not finite ({whose})")
        if unknown := set(given) - set(SCHEMA):
            raise ValueError(f"results: no column {sorted(unknown)}")
        uneven = [c for c, v in given.items() if isinstance(v, list) and len(v) != len(values)]
        if uneven:
            raise ValueError(
                f"results: metric {metric!r}: columns {uneven} are not as long as its {len(values)} values"
            )
        self._added.append((given, values))

    def frame(self) -> pl.DataFrame:
        """All rows, in the order they were added."""
        return pl.concat([empty(), *self.frames()])

    def frames(self) -> Iterator[pl.DataFrame]:
        """All rows in pieces, in the order they were added: millions of rows at once would need gigabytes.

        Column by column, since many rows come one by one.
        """
        piece: list[tuple[dict[str, Any], np.ndarray]] = []
        n_rows = 0
        for added in self._added:
            piece.append(added)
            n_rows += len(added[1])
            if n_rows >= _PIECE:
                yield _frame(piece)
                piece, n_rows = [], 0
        if piece:
            yield _frame(piece)


def _frame(added: Sequence[tuple[dict[str, Any], np.ndarray]]) -> pl.DataFrame:
    return pl.DataFrame([pl.Series(name, _column(added, name), dtype) for name, dtype in SCHEMA.items()])


def _column(added: Sequence[tuple[dict[str, Any], np.ndarray]], name: str) -> list[Any]:
    column: list[Any] = []
    for given, values in added:
        value = values.tolist() if name == "value" else given.get(name)
        column.extend(value if isinstance(value, list) else [value] * len(values))
    return column


def write_rows(path: Path, rows: Sequence[Rows]) -> None:
    """Their rows as one parquet file, piece by piece."""
    pieces = (frame for collected in rows for frame in collected.frames())
    register_io_source(lambda *_: pieces, schema=SCHEMA).sink_parquet(path, row_group_size=_PIECE)


@dataclass(frozen=True)
class Results:
    """Rows of one or several runs, and what their metrics mean, in the order they were declared.

    reference: the explainer that the others are tested against, where one was declared.
    """

    frame: pl.DataFrame
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    reference: str | None = None

    def metric(self, name: str) -> Metric:
        """What a metric means; one that nobody declared goes by its name."""
        return self.metrics.get(name) or Metric(name, title_of(name))

    def order(self, names: Iterable[str]) -> list[str]:
        """Names of metrics as they were declared, undeclared ones last."""
        place = {name: number for number, name in enumerate(self.metrics)}
        return sorted(dict.fromkeys(names), key=lambda name: (place.get(name, len(place)), name))

    def where(self, *conditions: pl.Expr) -> Results:
        """The rows that meet all conditions."""
        return Results(self.frame.filter(*conditions), self.metrics, self.reference)


def empty() -> pl.DataFrame:
    """A results table without rows."""
    return pl.DataFrame(schema=SCHEMA)


def canonical_hash(frame: pl.DataFrame) -> str:
    """sha256 over every row but those of stage `cost`, sorted by all columns, values as float64 bytes.

    Beside the frame there are a few numbers a row, never a second frame.
    """
    order, digest = _sorted_rows(frame), hashlib.sha256()
    pieces = [order[start : start + _PIECE] for start in range(0, len(order), _PIECE)]
    for name in SCHEMA:
        column = frame[name]
        if column.dtype == pl.String:
            column = column.fill_null("\x00")
            same = column[0] if column.n_unique() == 1 else None  # in millions of rows most columns say one thing
            for number, rows in enumerate(pieces):
                words = "\x1f".join(column.gather(rows).to_list() if same is None else [same] * len(rows))
                digest.update((words if number == 0 else f"\x1f{words}").encode())
        else:
            for rows in pieces:
                digest.update(column.gather(rows).is_null().to_numpy().tobytes())
            for rows in pieces:
                digest.update(column.gather(rows).cast(pl.Float64).fill_null(0).to_numpy().tobytes())
    return digest.hexdigest()


def _sorted_rows(frame: pl.DataFrame) -> np.ndarray:
    """Numbers of the rows of other stages than `cost`, sorted by all columns, null first."""
    rows = np.flatnonzero((frame["stage"] != "cost").fill_null(False).to_numpy())
    place = np.zeros(len(rows), dtype=np.int64)  # of a row among them by the columns so far, counted without gaps
    for name in SCHEMA:
        column = frame[name].gather(rows)
        if column.n_unique() > 1:
            level = column.rank("dense").fill_null(0).to_numpy().astype(np.int64)
            place = np.unique(place * (int(level.max()) + 1) + level, return_inverse=True)[1]
    return rows[np.argsort(place, kind="stable")]


def summary(frame: pl.DataFrame, **where: Any) -> float:
    """Mean value over users of the rows that match; a user's rows are averaged first. The same bits in any row order.

    Raises:
        KeyError: no row matches.
    """
    chosen = frame
    for column, value in where.items():
        chosen = chosen.filter(pl.col(column).is_null() if value is None else pl.col(column) == value)
    if chosen.height == 0:
        raise KeyError(f"no results with {where}")
    ordered = chosen.sort("user", "item", "seed", "fold", "value", nulls_last=False)
    per_user = ordered.group_by("user", maintain_order=True).agg(pl.col("value"))["value"].to_list()
    return float(np.mean([float(np.mean(values)) for values in per_user]))
