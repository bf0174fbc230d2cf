"""What is computed of several seeds: means and spreads of an arm, and paired contrasts between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from xrec.stats.bootstrap import Interval, generator_for
from xrec.stats.crossed import crossed_mean, seed_means
from xrec.stats.paired import holm, rank_biserial, wilcoxon_p

#: stands for the seeds of two arms that have none in common
_ALL = -1
#: differences are rounded before they count as one: means of the same numbers may differ in the last bits
_DECIMALS = 12


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds of means over users.

    low, high: interval over users and seeds, None where unknown. spread: standard deviation of the seeds' means, None
    for one seed. by_repetition: the seeds' means.
    """

    value: float
    low: float | None
    high: float | None
    spread: float | None
    by_repetition: dict[int, float]
    n_users: int | None
    n_cases: int | None


@dataclass(frozen=True)
class Contrast:
    """A paired difference between two arms, or two explainers of one.

    p: Wilcoxon over users, each user's differences averaged over seeds; not corrected. rank: the way that test points
    (`rank_biserial`). ahead: seeds at which the first is better, None where the sides share no seed or nothing is
    better.
    """

    estimate: Estimate
    p: float
    rank: float
    ahead: int | None


def estimate(rows: pl.DataFrame, *key: object) -> Estimate:
    """The mean of rows (`repetition`, `user`, `item`, `value`); rows without a user are aggregates without interval.

    key: names the cell; the interval's random numbers follow from it. For one seed the same interval as `summarise`
    gives under the same key.
    """
    if rows["user"].is_null().all():
        means = rows.sort("repetition", "value").group_by("repetition", maintain_order=True).agg(pl.col("value").mean())
        return _estimate(dict(means.iter_rows()), None, None, None)
    repetitions, table = _table(_per_user(rows))
    interval = crossed_mean(table, generator_for("mean", *key))
    n_cases = rows.height if rows["item"].is_not_null().any() else None
    return _estimate(dict(zip(repetitions, seed_means(table).tolist(), strict=True)), interval, table.shape[1], n_cases)


def contrast(
    first: pl.DataFrame, second: pl.DataFrame, unit: Sequence[str], better: str, *key: object
) -> Contrast | None:
    """`first - second` over what both have, paired by `unit` (`user`, or `user` and `item`) at the seeds both have.

    Sides without a common seed are paired by user over the means of their seeds: then there is a test, but neither
    interval nor seeds ahead. None when nothing pairs.
    """
    apart = not set(first["repetition"]) & set(second["repetition"])
    sides = [_means(_over_seeds(side) if apart else side, ["repetition", *unit]) for side in (first, second)]
    pairs = sides[0].join(sides[1], on=["repetition", *unit], suffix="_second", maintain_order="left")
    pairs = pairs.with_columns(value=pl.col("value") - pl.col("value_second"))
    if pairs.is_empty():
        return None
    per_user = _per_user(pairs)
    repetitions, table = _table(per_user)
    of_users = np.nanmean(table, axis=0)
    p, rank = wilcoxon_p(of_users), rank_biserial(of_users)
    own = dict(zip(repetitions, seed_means(table).tolist(), strict=True))
    if apart:
        return Contrast(_estimate(own, None, table.shape[1], None), p, rank, None)
    n_cases = pairs.height if "item" in unit else None
    found = _estimate(own, crossed_mean(table, generator_for("difference", *key)), table.shape[1], n_cases)
    sign = {"higher": 1, "lower": -1}.get(better)
    ahead = None if sign is None else sum(round(sign * value, _DECIMALS) > 0 for value in found.by_repetition.values())
    return Contrast(found, p, rank, ahead)


def corrected(contrasts: dict[Any, Contrast], family: dict[Any, str]) -> dict[Any, float]:
    """Holm-corrected p by the keys of the contrasts; `family`: which of them were asked together."""
    found: dict[Any, float] = {}
    for name in dict.fromkeys(family[key] for key in contrasts):
        members = [key for key in contrasts if family[key] == name]
        found |= dict(zip(members, holm([contrasts[key].p for key in members]).tolist(), strict=True))
    return found


def shared_units(first: pl.DataFrame, second: pl.DataFrame, unit: Sequence[str]) -> tuple[int, int]:
    """(distinct units in both, in either) of two arms, at each seed; over all seeds where they have none in common."""
    apart = not set(first["repetition"]) & set(second["repetition"])
    columns = [*unit] if apart else ["repetition", *unit]
    one, other = (side.select(columns).unique() for side in (first, second))
    both = one.join(other, on=columns, how="semi").height
    return both, one.height + other.height - both


def _estimate(own: dict[int, float], interval: Interval | None, n_users: int | None, n_cases: int | None) -> Estimate:
    means = np.array(list(own.values()))
    ends = (None, None) if interval is None else (_known(interval.low), _known(interval.high))
    spread = float(means.std(ddof=1)) if len(means) > 1 else None
    value = float(means.mean() if interval is None else interval.mean)
    return Estimate(value, *ends, spread, own, n_users, n_cases)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _over_seeds(rows: pl.DataFrame) -> pl.DataFrame:
    """A user's mean over seeds, as if of one seed."""
    means = _per_user(rows)
    return means.with_columns(repetition=pl.lit(_ALL, pl.Int64))


def _per_user(rows: pl.DataFrame) -> pl.DataFrame:
    return _means(rows, ["repetition", "user"])


def _means(rows: pl.DataFrame, unit: list[str]) -> pl.DataFrame:
    """Mean value by unit, sorted; the same bits in any order of the rows."""
    rows = rows.filter(pl.col("user").is_not_null()).sort(*unit, "value", nulls_last=True)
    return rows.group_by(unit, maintain_order=True).agg(pl.col("value").mean())


def _table(per_user: pl.DataFrame) -> tuple[list[int], np.ndarray]:
    """(repetitions, values [S, U], users sorted, NaN where a user has none)."""
    repetitions, row = np.unique(per_user["repetition"].to_numpy(), return_inverse=True)
    users, column = np.unique(per_user["user"].to_numpy(), return_inverse=True)
    table = np.full((len(repetitions), len(users)), np.nan)
    table[row, column] = per_user["value"].to_numpy()
    return repetitions.tolist(), table
