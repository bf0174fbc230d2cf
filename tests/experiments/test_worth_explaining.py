"""experiments/worth_explaining/measure.py: exact Shapley values of games whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.worth_explaining.measure import coalitions, exact_shapley, of_user
from tests.toys import fitted_composed, histories


def test_an_additive_game_has_its_summands():
    weights = np.array([1.0, -2.0, 0.5, 3.0])
    shapley, removed = exact_shapley(coalitions(4) @ weights + 7, 4)
    assert shapley == pytest.approx(weights) and removed == pytest.approx(weights)


def test_a_unanimity_game_is_shared_by_its_players_and_lost_by_each():
    masks = coalitions(3)
    shapley, removed = exact_shapley((masks[:, 0] * masks[:, 2]).astype(float), 3)
    assert shapley == pytest.approx([0.5, 0, 0.5]) and removed == pytest.approx([1, 0, 1])


@pytest.mark.parametrize("normaliser", ["sigmoid", "softmax"])
def test_only_what_is_not_additive_has_a_distance(toy, tmp_path, normaliser):
    model = fitted_composed(toy, tmp_path, attention="multi_head", normaliser=normaliser, user_encoder=False)
    distance, shares = of_user(model.only("prior", "attention"), histories(toy, [3]), 4)
    assert (distance > 0.05) == (normaliser == "softmax") and distance >= 0
    assert set(shares) == {"prior", "attention"} and sum(shares.values()) == pytest.approx(1, abs=1e-4)
