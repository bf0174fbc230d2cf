"""Percentile bootstrap over users: the user is the unit that is resampled, never the case.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; protocol.md section 3.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

N_RESAMPLES = 2_000
LEVEL = 0.95
#: Resampled entries held at once; fixed, so that the drawn numbers never depend on free memory.
_CHUNK_ENTRIES = 2**22


class Interval(NamedTuple):
    """A mean and the ends of its interval, in the unit of the values: floats, or arrays [C] for C columns."""

    mean: Any
    low: Any
    high: Any


def generator_for(*names: object) -> np.random.Generator:
    """The generator that belongs to a cell of a table, derived from what the cell is called.

    Equal names give equal numbers on every machine; adding a row to a table leaves the other rows as they are.
    """
    digest = hashlib.sha256("\x1f".join(str(name) for name in names).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def per_user_mean(users: npt.ArrayLike, values: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Average the cases of each user.

    Args:
        users: [n] one label per case.
        values: [n] or [n, C].

    Returns:
        (distinct users [U], sorted; means [U] or [U, C] in that order).
    """
    labels, index = np.unique(np.asarray(users), return_inverse=True)
    cases = np.asarray(values, dtype=np.float64)
    if len(cases) != len(index):
        raise ValueError(f"per_user_mean: {len(index)} users for {len(cases)} values; give one user per value")
    sums = np.zeros((len(labels), *cases.shape[1:]))
    np.add.at(sums, index, cases)
    counts = np.bincount(index, minlength=len(labels)).reshape(-1, *[1] * (cases.ndim - 1))
    return labels, sums / counts


def bootstrap_mean(
    values: npt.ArrayLike, generator: np.random.Generator, n_resamples: int = N_RESAMPLES, level: float = LEVEL
) -> Interval:
    """Mean over users and its percentile interval.

    Args:
        values: [U] one value per user (see `per_user_mean`), or [U, C]: the columns share their resamples.
        generator: source of the resamples.
        level: share of the bootstrap distribution between the ends.

    Returns:
        Interval; low and high are NaN for a single user, about whose spread nothing is known.

    Raises:
        ValueError: no user, a value that is not finite, or `level` outside (0, 1).
    """
    table = np.asarray(values, dtype=np.float64)
    if table.shape[0] == 0:
        raise ValueError("bootstrap_mean: no users to resample")
    if not np.isfinite(table).all():
        raise ValueError(
            f"bootstrap_mean: {int((~np.isfinite(table)).sum())} values are not finite; leave them out and count them"
        )
    if not 0 < level < 1:
        raise ValueError(f"bootstrap_mean: level={level!r} is outside (0, 1)")
    mean = table.mean(axis=0)
    if table.shape[0] == 1:
        unknown = np.full_like(mean, np.nan)
        return Interval(mean, unknown, unknown)
    # Centred, so that a constant column has an interval of exactly zero width.
    means = mean + resampled_means(table - mean, generator, n_resamples)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return Interval(mean, low, high)


def bootstrap_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    generator: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Mean of `first - second` over the same users, paired: a resampled user brings both values along.

    Raises:
        ValueError: the shapes differ; otherwise as `bootstrap_mean`.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape:
        raise ValueError(f"bootstrap_difference: shapes {one.shape} and {other.shape} differ; pair the users first")
    return bootstrap_mean(one - other, generator, n_resamples, level)


def resampled_means(table: np.ndarray, generator: np.random.Generator, n_resamples: int) -> np.ndarray:
    """[n_resamples] or [n_resamples, C] means of users drawn with replacement."""
    n_users = table.shape[0]
    rows = max(1, _CHUNK_ENTRIES // n_users)
    parts = []
    for start in range(0, n_resamples, rows):
        n_rows = min(rows, n_resamples - start)
        drawn = generator.integers(0, n_users, size=(n_rows, n_users), dtype=np.int32)
        if table.ndim == 1:
            parts.append(table[drawn].mean(axis=1))
        else:
            # How often each user was drawn: one product then serves every column.
            offsets = (np.arange(n_rows, dtype=np.int64) * n_users)[:, None]
            counts = np.bincount((drawn + offsets).ravel(), minlength=n_rows * n_users)
            parts.append(counts.reshape(n_rows, n_users).astype(np.float64) @ table / n_users)
    return np.concatenate(parts)
