"""Paired tests between two rankings or explainers of the same users, and the correction for asking many questions.

Sources: Wilcoxon 1945; Holm, A simple sequentially rejective multiple test procedure, 1979; protocol.md section 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: Differences are compared after rounding to this many decimals of the largest one: means of the same numbers
#: taken in another order differ in the last bits, and would break ties and zeros that are real.
_DECIMALS = 12
#: Up to so many differences the distribution is enumerated exactly.
_EXACT = 50


def wilcoxon_p(differences: npt.ArrayLike) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test on per-user differences [U].

    Zero differences are dropped (Wilcoxon's rule), tied ones share their mean rank. Exact up to 50 differences, with or
    without ties (scipy enumerates ties one by one, which takes seconds a test); scipy's normal approximation with tie
    correction beyond.

    Returns:
        p in (0, 1]; 1 when every difference is zero or there is none: no evidence either way.

    Raises:
        ValueError: a difference is not finite.
    """
    scaled = _nonzero(differences)
    if not len(scaled):
        return 1.0
    if len(scaled) <= _EXACT:
        return _exact_p(scaled)
    from scipy.stats import wilcoxon

    result: Any = wilcoxon(scaled, alternative="two-sided", method="asymptotic")
    return float(result.pvalue)


def rank_biserial(differences: npt.ArrayLike) -> float:
    """Which way Wilcoxon's test of the differences [U] points, and how far: (rank sum of the positive ones - that of
    the negative ones) / sum of all ranks, in [-1, 1]; 0 without any. A few large differences may give the mean another
    sign.

    Source: Kerby, The simple difference formula, Comprehensive Psychology 2014.

    Raises:
        ValueError: a difference is not finite.
    """
    from scipy.stats import rankdata

    scaled = _nonzero(differences)
    ranks = rankdata(np.abs(scaled))
    return float((ranks * np.sign(scaled)).sum() / ranks.sum()) if len(scaled) else 0.0


def _nonzero(differences: npt.ArrayLike) -> np.ndarray:
    """The differences but zeros, as shares of the largest, rounded."""
    values = np.asarray(differences, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise ValueError(
            f"wilcoxon: {int((~np.isfinite(values)).sum())} differences are not finite; leave them out and count them"
        )
    largest = np.abs(values).max(initial=0.0)
    if largest == 0:
        return values[:0]
    scaled = np.round(values / largest, _DECIMALS)
    return scaled[scaled != 0]


def _exact_p(differences: np.ndarray) -> float:
    """Two-sided p by the exact distribution of the rank sum: every sign has probability 1/2. Ranks are doubled, so that
    mean ranks of ties are whole numbers."""
    from scipy.stats import rankdata

    ranks = np.round(2 * rankdata(np.abs(differences))).astype(np.int64)
    chance = np.zeros(int(ranks.sum()) + 1)
    chance[0] = 1.0
    for rank in ranks:
        shifted = np.zeros_like(chance)
        shifted[rank:] = chance[: len(chance) - rank]
        chance = 0.5 * (chance + shifted)
    total = int(ranks[differences > 0].sum())
    low, high = chance[: total + 1].sum(), chance[total:].sum()
    return float(min(1.0, 2 * min(low, high)))


def paired_p(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """`wilcoxon_p` of `first - second`, both [U] per-user means in the same order of users.

    Raises:
        ValueError: the shapes differ.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape:
        raise ValueError(f"paired_p: shapes {one.shape} and {other.shape} differ; pair the users first")
    return wilcoxon_p(one - other)


def holm(p_values: npt.ArrayLike) -> np.ndarray:
    """Holm's step-down adjusted p values of one family of tests [m], in the order given.

    The i-th smallest (from 0) is multiplied by m - i; results never decrease along the order and stop at 1.
    Rejecting where the result is <= alpha keeps the chance of any false rejection in the family at most alpha.

    Raises:
        ValueError: a p value is outside [0, 1] or NaN.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    if raw.ndim != 1 or not bool(((raw >= 0) & (raw <= 1)).all()):
        raise ValueError(f"holm: p values must be a vector within [0, 1], got {raw!r}")
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * (len(raw) - np.arange(len(raw))))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
