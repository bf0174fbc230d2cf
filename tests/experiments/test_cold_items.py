"""experiments/cold_items/run.py: paired differences over folds, of known values."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.cold_items.run import MODELS, REFERENCE, difference, place


def test_every_fold_weighs_the_same_and_a_constant_difference_has_no_spread():
    draws = np.random.default_rng(0)
    own = [{f"{u}": draws.random() for u in range(start, 60)} for start in (0, 20, 50)]  # folds of 60, 40 and 10 users
    other = [{user: value - 0.1 for user, value in fold.items()} for fold in own]
    assert difference(own, other) == pytest.approx((0.1, 0.1, 0.1))
    other[2] = {user: value - 0.4 for user, value in own[2].items()}
    assert difference(own, other) == pytest.approx((0.2, 0.2, 0.2))


def test_the_interval_is_the_bootstrap_s_over_users():
    apart = np.random.default_rng(0).normal(0.02, 0.1, size=2000)
    fold = {str(u): float(v) for u, v in enumerate(apart)}
    zero = dict.fromkeys(fold, 0.0)
    mean, low, high = difference([fold], [zero])
    half = 1.96 * apart.std() / np.sqrt(len(apart))
    assert (mean, low, high) == pytest.approx((apart.mean(), apart.mean() - half, apart.mean() + half), abs=5e-4)
    # a user's folds are drawn together: three copies of one fold say no more than one
    assert difference([fold] * 3, [zero] * 3) == pytest.approx((mean, low, high), abs=5e-4)


def test_the_reference_is_run_on_both_data_sets_and_every_run_has_a_place_of_its_own():
    assert all(next(iter(models)) == REFERENCE for models in MODELS.values())
    places = [place(data, name, fold) for data, models in MODELS.items() for name in models for fold in (0, 1, 2)]
    assert len(set(places)) == len(places)
