"""The one tidy form of every table: a row per cell. And the statistics that fill it.

A table is a frame of `CELL_SCHEMA`: `block` (a heading over rows, may be ''), `row`, `column`, in order of appearance,
in words for people; then the cell: `text`, or `value` with its interval [`low`, `high`] printed by the format spec
`form` ('p': a p value); `p` and `difference` of a paired test against the reference, `mark` what is printed for it,
`best` whether it leads its block. `name` (of the model, explainer or component), `group`, `metric`, `variant`, `k`,
`step` say what the cell is about as the results have it, `n_users` and `n_cases` what was averaged. `caption` is the
same in every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from xrec.report.errors import ReportError
from xrec.stats.bootstrap import LEVEL, N_RESAMPLES, bootstrap_mean, generator_for
from xrec.words import counted

CELL_SCHEMA: dict[str, Any] = {
    "caption": pl.String,
    "block": pl.String,
    "row": pl.String,
    "column": pl.String,
    "name": pl.String,
    "group": pl.String,
    "better": pl.String,
    "metric": pl.String,
    "variant": pl.String,
    "k": pl.Int64,
    "step": pl.Float64,
    "text": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "form": pl.String,
    "difference": pl.Float64,
    "p": pl.Float64,
    "mark": pl.String,
    "best": pl.Boolean,
    "n_users": pl.Int64,
    "n_cases": pl.Int64,
}
INTERVAL_NOTE = f"[{LEVEL:.0%} percentile bootstrap interval, {N_RESAMPLES:,} resamples of users]"


def table_of(cells: Iterable[dict[str, Any]], caption: str) -> pl.DataFrame:
    """A table from cells, each a dictionary with some of the columns of `CELL_SCHEMA`."""
    rows = [
        {**dict.fromkeys(CELL_SCHEMA), "block": "", "mark": "", "best": False, **cell, "caption": caption}
        for cell in cells
    ]
    return pl.DataFrame(rows, schema=CELL_SCHEMA)


def caption_of(table: pl.DataFrame) -> str:
    """The caption of a table; '' for a table without cells."""
    return table["caption"][0] if table.height else ""


def summarise(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Mean and interval per combination of `keys`, a user's rows averaged first.

    Args:
        rows: rows of results.parquet; those without a user are aggregates already and get no interval.
        keys: columns that name a cell; intervals are drawn from a generator derived from them.

    Returns:
        `keys`, value, low, high (null where unknown), n_users, n_cases (null for aggregates); sorted by keys.
    """
    per_user = rows.filter(pl.col("user").is_not_null())
    per_user = (
        _ordered(per_user, *keys, "user")
        .group_by(*keys, "user", maintain_order=True)
        .agg(pl.col("value").mean(), pl.len().alias("n_cases"))
    )
    found = []
    for key, group in per_user.partition_by(keys, as_dict=True, maintain_order=True).items():
        interval = bootstrap_mean(group["value"].to_numpy(), generator_for("mean", *key))
        found.append(
            dict(zip(keys, key, strict=True))
            | {"value": float(interval.mean), "low": float(interval.low), "high": float(interval.high)}
            | {"n_users": group.height, "n_cases": int(group["n_cases"].sum())}
        )
    schema = {name: rows.schema[name] for name in keys}
    schema |= {"value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "n_users": pl.Int64, "n_cases": pl.Int64}
    users = pl.DataFrame(found, schema=schema).with_columns(pl.col("low", "high").fill_nan(None))
    aggregate = _ordered(rows.filter(pl.col("user").is_null()), *keys)
    aggregate = aggregate.group_by(keys, maintain_order=True).agg(pl.col("value").mean())
    return pl.concat([users, aggregate], how="diagonal").sort(keys, nulls_last=True, maintain_order=True)


def _ordered(rows: pl.DataFrame, *first: str) -> pl.DataFrame:
    """Rows in one order whatever order they came in: the mean of numbers depends on it in its last digits."""
    keys = dict.fromkeys([*first, "user", "item", "seed", "split_seed", "fold", "value"])
    return rows.sort(*keys, nulls_last=True)


def paired_differences(
    rows: pl.DataFrame, column: str, first: str | None, second: str, unit: list[str], keys: Sequence[str] = ()
) -> pl.DataFrame:
    """Per-user means of `first - second`, two values of `column` ('model' or 'explainer'), over the units both have.

    `unit` names what is paired: ['user'] for rankings, the case's columns for explanations; only within equal `keys`.
    `first` None: every other value against `second`. Returns keys, column, user, difference, sorted by them; empty when
    nothing pairs.
    """
    rows = rows.filter(pl.col("user").is_not_null())
    chosen = (pl.col(column) != second if first is None else pl.col(column) == first, pl.col(column) == second)
    sides = [
        _ordered(rows.filter(of), *keys, column, *unit)
        .group_by(*keys, column, *unit, maintain_order=True)
        .agg(pl.col("value").mean())
        for of in chosen
    ]
    on = [*keys, *unit]
    pairs = sides[0].join(sides[1].drop(column), on=on, nulls_equal=True, suffix="_second", maintain_order="left")
    pairs = pairs.with_columns((pl.col("value") - pl.col("value_second")).alias("difference"))
    by = [*keys, column, "user"]
    return pairs.group_by(by, maintain_order=True).agg(pl.col("difference").mean()).sort(by)


def mark_best(cells: list[dict[str, Any]], blocks: set[str] | None = None) -> list[dict[str, Any]]:
    """Flag the leading value of each (block, column) that has a direction and rivals; only in `blocks` where given."""
    columns: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        block = cell.get("block", "")
        if (
            cell.get("value") is not None
            and cell.get("better") in ("higher", "lower")
            and (blocks is None or block in blocks)
        ):
            columns.setdefault((block, cell["column"]), []).append(cell)
    for rivals in columns.values():
        pick = max if rivals[0]["better"] == "higher" else min
        lead = pick(cell["value"] for cell in rivals)
        # What prints alike leads alike; where all do, nobody leads.
        leading = [format(cell["value"], cell["form"]) == format(lead, cell["form"]) for cell in rivals]
        for cell, leads in zip(rivals, leading, strict=True):
            cell["best"] = leads and not all(leading)
    return cells


def sample_words(rows: pl.DataFrame) -> str:
    """How many users and cases (distinct users and items of every seed and fold) stand behind per-user rows."""
    rows = rows.filter(pl.col("user").is_not_null())
    words = counted(rows["user"].n_unique(), "user")
    if rows["item"].is_not_null().any():
        words += f", {counted(rows.select('user', 'item', 'seed', 'split_seed', 'fold').n_unique(), 'case')}"
    seeds = rows["seed"].drop_nulls().n_unique()
    return words + (f", {seeds} training seeds averaged within users" if seeds > 1 else "")


def only(rows: pl.DataFrame, column: str, wanted: str | None, preferred: tuple[str, ...]) -> str | None:
    """The value of `column` a table is about: the one asked for, else the first preferred one present, else the first
    by name.

    Raises:
        ReportError: the value asked for does not occur.
    """
    present = sorted(rows[column].drop_nulls().unique().to_list())
    if wanted is not None:
        if wanted not in present:
            raise ReportError(
                f"{column}={wanted!r} does not occur in these results; there are: "
                f"{', '.join(map(repr, present)) or 'none'}"
            )
        return wanted
    return next((name for name in preferred if name in present), present[0] if present else None)


def one_data_set(rows: pl.DataFrame) -> str:
    """Words for the data set and split the rows are about.

    Raises:
        ReportError: the rows mix data sets or splits, whose users must not be averaged together.
    """
    mixed = rows.select("data", "split").unique().sort("data", "split")
    if mixed.height > 1:
        names = ", ".join(f"{data}/{split}" for data, split in mixed.iter_rows())
        raise ReportError(f"these results mix data sets or splits ({names}); filter to one of them")
    return f"{mixed['data'][0]} (split {mixed['split'][0]})" if mixed.height else ""
