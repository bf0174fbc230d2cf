"""Means over users and seeds: against the plain bootstrap, against known variances, and in simulations of both."""

from __future__ import annotations

import numpy as np
import pytest

from xrec.stats.bootstrap import bootstrap_mean, generator_for
from xrec.stats.crossed import crossed_mean, seed_means

NAN = np.nan


def test_one_seed_is_the_plain_bootstrap_over_its_users() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    plain = bootstrap_mean(values, generator_for("a"))
    assert crossed_mean([values], generator_for("a")) == plain
    assert crossed_mean([[NAN, *values, NAN]], generator_for("a")) == plain
    assert crossed_mean([values], generator_for("a"), 300, 0.8) == bootstrap_mean(values, generator_for("a"), 300, 0.8)


def test_seeds_that_agree_add_nothing() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    np.testing.assert_allclose(
        crossed_mean([values] * 3, generator_for("a")), bootstrap_mean(values, generator_for("a")), atol=0.01
    )


def test_equal_values_have_no_width() -> None:
    mean, low, high = crossed_mean(np.full((3, 7), 0.1), generator_for("a"))
    assert mean == pytest.approx(0.1)
    assert low == high == pytest.approx(0.1)


def test_the_mean_is_of_seeds_not_of_rows() -> None:
    """The second seed has three times as many users, and counts once."""
    values = [[1.0, NAN, NAN, NAN], [NAN, 3.0, 4.0, 5.0]]
    assert seed_means(values).tolist() == [1.0, 4.0]
    assert crossed_mean(values, generator_for("a")).mean == 2.5


def test_where_only_seeds_differ_the_ends_are_those_of_students_t() -> None:
    """Every user is at 1, 2 and 6 with the three seeds: mean 3, standard error sqrt(7 / 3), 2 degrees of freedom."""
    mean, low, high = crossed_mean([[1.0] * 9, [2.0] * 9, [6.0] * 9], generator_for("a"), n_resamples=200_000)
    assert mean == 3.0
    half = 4.3027 * np.sqrt(7 / 3)
    np.testing.assert_allclose([low, high], [3 - half, 3 + half], atol=0.15)


def test_where_seeds_differ_by_their_users_alone_seeds_add_nothing() -> None:
    """Each seed saw users of its own, drawn alike: what lies between the seeds is what lies between users."""
    rng, widths = np.random.default_rng(2), []
    for _ in range(60):
        values = rng.normal(size=120)
        table = np.full((3, 120), NAN)
        for seed in range(3):
            table[seed, seed * 40 : seed * 40 + 40] = values[seed * 40 : seed * 40 + 40]
        crossed = crossed_mean(table, rng, n_resamples=400)
        plain = bootstrap_mean(values, rng, n_resamples=400)
        widths.append((crossed.high - crossed.low) / (plain.high - plain.low))
    # About half of the time the seeds lie closer together than their users explain, and nothing is added at all.
    assert 0.95 < np.median(widths) < 1.3


@pytest.mark.parametrize("between", [0.0, 0.15, 0.6])
def test_it_covers_the_truth_as_often_as_it_says(between: float) -> None:
    """Three seeds, 40 users, seeds that do not matter, matter, decide; a bootstrap of users alone covers 45 % of the
    last."""
    rng, hits = np.random.default_rng(4), 0
    for _ in range(300):
        seeds, users = rng.normal(0, between, 3), rng.normal(0, 1, 40)
        table = 3.0 + seeds[:, None] + users + rng.normal(0, 0.5, (3, 40))
        interval = crossed_mean(table, rng, n_resamples=400)
        hits += interval.low <= 3.0 <= interval.high
    assert 0.91 < hits / 300 < 0.985


def test_order_of_seeds_and_users_decides_nothing_but_the_draws() -> None:
    table = np.random.default_rng(5).normal(size=(3, 30))
    got = crossed_mean(table, generator_for("a"), n_resamples=20_000)
    again = crossed_mean(table[::-1, ::-1], generator_for("b"), n_resamples=20_000)
    np.testing.assert_allclose(got, again, atol=0.05)
    assert got == crossed_mean(table, generator_for("a"), n_resamples=20_000)


def test_one_user_has_no_interval() -> None:
    mean, low, high = crossed_mean([[0.2], [0.4]], generator_for("a"))
    assert mean == pytest.approx(0.3)
    assert np.isnan([low, high]).all()
    assert np.isnan(crossed_mean([[0.2, NAN], [0.4, NAN]], generator_for("a")).low), "a user no seed has is no user"


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [
        (np.zeros((0, 3)), 0.95, "a seed without users"),
        ([[1.0, 2.0], [NAN, NAN]], 0.95, "a seed without users"),
        ([1.0, 2.0], 0.95, r"a seed without users in values of shape \(2,\)"),
        ([[1.0, np.inf]], 0.95, "1 values are infinite"),
        ([[1.0, 2.0], [1.0, 3.0]], 1.0, "level"),
    ],
)
def test_bad_input_is_named(values: list[list[float]], level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crossed_mean(values, generator_for(0), level=level)
