"""The signed-rank test against all sign flips, and Holm's correction against hand computation and its definition."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrec.stats.paired import holm, paired_p, rank_biserial, wilcoxon_p


def by_enumeration(differences: list[float]) -> float:
    """Two-sided p over all sign flips of the non-zero differences, mean ranks for ties."""
    values = np.array([d for d in differences if d != 0])
    size = np.abs(values)
    ranks = np.array([(size < s).sum() + ((size == s).sum() + 1) / 2 for s in size])
    centre = ranks.sum() / 2
    observed = abs(ranks[values > 0].sum() - centre)
    flips = [abs(ranks[np.array(signs, dtype=bool)].sum() - centre) for signs in product((0, 1), repeat=len(values))]
    return float(np.mean(np.array(flips) >= observed - 1e-9))


@pytest.mark.parametrize(
    "differences",
    [
        [0.3, -0.1, 0.5, 0.7, 0.2, -0.4, 0.9, 1.1],
        [1.0, 1.0, 2.0, -1.0, 3.0, 2.0, -2.0],
        [0.0, 0.0, 0.3, -0.1, 0.5, 0.0, 0.7],
        [0.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [-0.2, -0.2, -0.4, -0.6, -0.8, -1.0, 0.2],
        # Too many for enumeration by scipy, but distinct once the zeros are gone: still exact.
        [0.0, 0.0, 1.0, -2.0, 3.0, 4.0, -5.0, 6.0, 7.0, 8.0, 9.0, 10.0, -11.0, 12.0, 13.0, 14.0, -15.0],
    ],
)
def test_small_samples_are_exact(differences: list[float]) -> None:
    assert wilcoxon_p(differences) == pytest.approx(by_enumeration(differences), abs=1e-9)


def test_six_wins_of_six() -> None:
    """By hand: 2 of the 64 sign patterns are as extreme."""
    assert wilcoxon_p([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 64)
    assert wilcoxon_p([-1, -2, -3, -4, -5, -6]) == pytest.approx(2 / 64)


def test_no_difference_is_no_evidence() -> None:
    assert wilcoxon_p([0.0] * 20) == 1.0
    assert wilcoxon_p([]) == 1.0
    assert wilcoxon_p([-0.0, 0.0]) == 1.0


def test_last_bits_make_no_evidence_and_break_no_ties() -> None:
    noise = [0.1 + 0.2 - 0.3, 0.1 - 0.3 + 0.2]
    assert noise[0] != 0
    clean = [1.0, 1.0, 2.0, -1.0, 3.0, 0.0, 0.0]
    assert wilcoxon_p([1.0 + 2**-52, 1.0, 2.0, -1.0, 3.0, *noise]) == wilcoxon_p(clean)


def test_large_samples_follow_the_normal_approximation() -> None:
    """Hand-made statistic: z of the rank sum with the tie-free variance."""
    from scipy.stats import norm, rankdata

    values = np.random.default_rng(0).normal(0.15, 1.0, 400)
    ranks = rankdata(np.abs(values))
    n = len(values)
    z = (ranks[values > 0].sum() - n * (n + 1) / 4) / np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    assert wilcoxon_p(values) == pytest.approx(2 * norm.sf(abs(z)), rel=1e-6)


def test_p_values_are_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(3)
    found = np.array([wilcoxon_p(rng.normal(size=60)) for _ in range(300)])
    assert 0.01 < (found < 0.05).mean() < 0.10


def test_paired_is_the_difference() -> None:
    first, second = [0.3, 0.5, 0.9, 0.1], [0.1, 0.1, 0.1, 0.2]
    assert paired_p(first, second) == wilcoxon_p(np.subtract(first, second))
    with pytest.raises(ValueError, match="differ"):
        paired_p(first, second[:2])
    with pytest.raises(ValueError, match="not finite"):
        wilcoxon_p([0.1, float("nan")])


def test_holm_by_hand() -> None:
    """Sorted .005 x 4 = .02, .01 x 3 = .03, .03 x 2 = .06, .04 x 1 = .04 raised to .06."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.6, 0.9]), [1.0, 1.0, 1.0])
    np.testing.assert_allclose(holm([0.02]), [0.02])
    assert holm([]).tolist() == []


@pytest.mark.parametrize("bad", [[-0.1, 0.5], [0.5, 1.1], [float("nan")], [[0.1]]])
def test_holm_refuses_what_is_no_p_value(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="holm"):
        holm(bad)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_is_its_step_down_procedure(p_values: list[float], alpha: float) -> None:
    """Reject the smallest while p <= alpha / (m - i), then stop: exactly those have an adjusted p <= alpha."""
    m = len(p_values)
    rejected = np.zeros(m, dtype=bool)
    for i, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] * (m - i) > alpha:
            break
        rejected[index] = True
    np.testing.assert_array_equal(holm(p_values) <= alpha, rejected)


def test_rank_biserial_is_the_difference_of_rank_sums() -> None:
    """Ranks of .1, .3, 5 are 1, 2, 3; the zero has none: (1 + 2 - 3) / 6, (3 - 3) / 6; ties share 1.5."""
    assert rank_biserial([0.1, 0.3, -0.2, 0.0]) == pytest.approx((1 + 3 - 2) / 6)
    assert rank_biserial([0.1, 0.3, -5.0]) == 0
    assert rank_biserial([0.1, 0.1, -5.0]) == pytest.approx((1.5 + 1.5 - 3) / 6)
    assert rank_biserial([1.0, 2.0]) == 1
    assert rank_biserial([-1.0, -2.0]) == -1
    assert rank_biserial([0.0, 0.0]) == rank_biserial([]) == 0
    assert rank_biserial([0.3 - (0.1 + 0.2), 5.0]) == 1, "what rounding leaves is no difference"
    with pytest.raises(ValueError, match="1 differences are not finite"):
        rank_biserial([1.0, np.nan])
