"""The bootstrap against exact enumeration, against scipy, and on the point that it resamples users and not cases."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from xrec.stats import bootstrap
from xrec.stats.bootstrap import bootstrap_difference, bootstrap_mean, generator_for, per_user_mean


def test_ends_are_the_quantiles_of_all_resamples() -> None:
    values = np.array([0.0, 1.0, 5.0, 11.0])
    every = np.array([np.mean(draw) for draw in product(values, repeat=4)])
    for level in (0.95, 0.8, 0.5):
        got = bootstrap_mean(values, np.random.default_rng(0), n_resamples=100_000, level=level)
        exact = np.quantile(every, [(1 - level) / 2, (1 + level) / 2])
        assert got.mean == pytest.approx(4.25)
        # The 256 resamples lie on a lattice of quarters: a sampled quantile may fall on the neighbouring point.
        np.testing.assert_allclose([got.low, got.high], exact, atol=0.25)


def test_agrees_with_scipy() -> None:
    from scipy.stats import bootstrap as reference

    values = np.random.default_rng(1).exponential(size=150)
    got = bootstrap_mean(values, np.random.default_rng(2), n_resamples=20_000)
    want = reference(
        (values,), np.mean, n_resamples=20_000, method="percentile", confidence_level=0.95, rng=np.random.default_rng(3)
    ).confidence_interval
    np.testing.assert_allclose([got.low, got.high], [want.low, want.high], atol=0.008)


def test_two_thousand_resamples_at_95_percent_by_default() -> None:
    values = np.random.default_rng(1).normal(size=40)
    assert bootstrap_mean(values, generator_for("a")) == bootstrap_mean(values, generator_for("a"), 2_000, 0.95)
    assert bootstrap_mean(values, generator_for("a")) != bootstrap_mean(values, generator_for("a"), 1_999)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(300):
        interval = bootstrap_mean(rng.normal(3.0, 1.0, 60), rng, n_resamples=400)
        hits += interval.low <= 3.0 <= interval.high
    assert 0.90 < hits / 300 < 0.98


def test_users_are_resampled_not_cases() -> None:
    """One user with 1,000 equal cases weighs as much as one with a single case."""
    users = ["a"] * 1000 + ["b", "c"]
    values = [1.0] * 1000 + [0.0, 0.0]
    labels, means = per_user_mean(users, values)
    assert labels.tolist() == ["a", "b", "c"]
    assert means.tolist() == [1.0, 0.0, 0.0]
    interval = bootstrap_mean(means, np.random.default_rng(0))
    assert interval.mean == pytest.approx(1 / 3)
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_per_user_mean_keeps_columns() -> None:
    labels, means = per_user_mean(["b", "a", "b"], [[1.0, 10.0], [2.0, 20.0], [3.0, 50.0]])
    assert labels.tolist() == ["a", "b"]
    assert means.tolist() == [[2.0, 20.0], [2.0, 30.0]]
    with pytest.raises(ValueError, match="2 users for 3 values"):
        per_user_mean(["a", "b"], [1.0, 2.0, 3.0])


def test_columns_share_their_resamples() -> None:
    table = np.random.default_rng(5).normal(size=(30, 3))
    together = bootstrap_mean(table, np.random.default_rng(6))
    for column in range(3):
        alone = bootstrap_mean(table[:, column], np.random.default_rng(6))
        np.testing.assert_allclose([alone.low, alone.high], [together.low[column], together.high[column]], rtol=1e-12)


def test_chunks_are_as_good_as_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=30)
    whole = bootstrap_mean(values, np.random.default_rng(6), n_resamples=20_000)
    monkeypatch.setattr(bootstrap, "_CHUNK_ENTRIES", 1_000)
    pieces = bootstrap_mean(values, np.random.default_rng(7), n_resamples=20_000)
    np.testing.assert_allclose([pieces.low, pieces.high], [whole.low, whole.high], atol=0.02)


def test_paired_difference_brings_both_values_of_a_user_along() -> None:
    rng = np.random.default_rng(8)
    level = rng.normal(0, 10, 50)
    shifted = bootstrap_difference(level + 0.25, level, rng)
    np.testing.assert_allclose([shifted.mean, shifted.low, shifted.high], 0.25, rtol=1e-9)
    with pytest.raises(ValueError, match="differ"):
        bootstrap_difference(level, level[:-1], rng)


def test_a_constant_has_no_width_and_one_user_no_interval() -> None:
    assert bootstrap_mean([0.1] * 7, generator_for(1)) == (pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1))
    low, high = bootstrap_mean([0.1] * 7, generator_for(1))[1:]
    assert low == high
    single = bootstrap_mean([0.4], generator_for(1))
    assert single.mean == 0.4
    assert np.isnan([single.low, single.high]).all()


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [([], 0.95, "no users"), ([1.0, np.nan], 0.95, "not finite"), ([1.0, 2.0], 1.0, "level")],
)
def test_bad_input_is_named(values: list[float], level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_mean(values, generator_for(0), level=level)


def test_generators_follow_from_names() -> None:
    first = generator_for("ndcg", 10, "all").integers(0, 1_000_000, 4).tolist()
    assert first == generator_for("ndcg", "10", "all").integers(0, 1_000_000, 4).tolist()
    assert first != generator_for("ndcg", "10a", "ll").integers(0, 1_000_000, 4).tolist()
    # The same on every machine and in every process, unlike hash().
    assert generator_for("xrec").integers(0, 1_000_000, 3).tolist() == [223970, 521517, 140867]
