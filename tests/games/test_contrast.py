"""Two games make one: values are the difference, for every explainer that works on games."""

from __future__ import annotations

import numpy as np
import pytest

from tests.toy_games import Planted, exact_shapley, game_of, plain_history, popularity_control
from tests.toys import fitted_composed, histories
from xrec.errors import SettingError
from xrec.explain.attention import AdditiveContributions, RawAttention
from xrec.explain.controls import Random
from xrec.explain.gradient import IntegratedGradients
from xrec.explain.removal import LeaveOneOut
from xrec.explain.shapley import KernelShap, PermutationShap
from xrec.games.contrast import Contrast
from xrec.games.model_game import ModelGame

HISTORY = plain_history([[0, 3, 5, 7], [2, 4]])


class Other(Planted):
    """Other weights."""

    def __init__(self, n_items: int) -> None:
        super().__init__(n_items)
        self.weights = self.weights.flip(0) * 0.7


def games() -> tuple[ModelGame, ModelGame]:
    one, two = (game_of(model, HISTORY, [14, 15]) for model in (Planted(20), Other(20)))
    return one, two


def test_values_are_the_difference_and_both_are_paid_for() -> None:
    contrast = Contrast(*games())
    one, two = games()
    masks = np.random.default_rng(0).random((2, 9, 4)) < 0.5
    np.testing.assert_array_equal(contrast.values(masks), one.values(masks) - two.values(masks))
    assert contrast.masks.tolist() == [9, 9] and contrast.forwards.tolist() == [18, 18]
    np.testing.assert_array_equal(contrast.ends()[0], one.ends()[0] - two.ends()[0])
    np.testing.assert_array_equal(contrast.spread(), np.maximum(one.spread(), two.spread()))
    assert contrast.about.model == "Planted_less_Other" and contrast.about.output == "logit_less_logit"
    assert (contrast.about.players, contrast.about.masker) == ("items", "zero")
    assert contrast.player_ids == one.player_ids and len(contrast) == 2


@pytest.mark.parametrize(
    "explainer",
    [LeaveOneOut(), AdditiveContributions(), IntegratedGradients(4), PermutationShap(), KernelShap()],
    ids=lambda e: type(e).__name__,
)
def test_explainers_of_two_additive_models_find_the_difference_of_their_weights(explainer) -> None:
    contrast = Contrast(*games())
    found = explainer.attribute(contrast, 0, "x")
    one, two = (model.weights.numpy()[[0, 3, 5, 7], 14] for model in (Planted(20), Other(20)))
    np.testing.assert_allclose(found.values[0], one - two, atol=1e-6)
    assert found.output == "logit_less_logit" and (found.n_forwards % 2 == 0).all()
    alone = explainer.attribute(contrast.single(1), 0, "x")
    np.testing.assert_allclose(alone.values[0], found.values[1, :2], atol=1e-6)


def test_two_real_models_against_enumeration(toy, tmp_path) -> None:
    short = [int(u) for u in np.argsort(toy.histories(9).lengths()) if toy.histories(9).lengths()[u] >= 3][:2]
    history = histories(toy, short, part="validation")
    models = (fitted_composed(toy, tmp_path, seed=seed, normaliser="softmax") for seed in (0, 1))
    contrast = Contrast(*(game_of(model, history, [1, 2]) for model in models))
    assert contrast.width <= 10
    found = KernelShap(4000).attribute(contrast, 0, "x").values
    for row, n in enumerate(contrast.n_players):
        np.testing.assert_allclose(found[row, :n], exact_shapley(contrast, row), atol=1e-4)


def test_controls_work_and_what_has_no_difference_is_refused() -> None:
    contrast = Contrast(*games())
    assert np.isfinite(Random().attribute(contrast, 0, "x").values).sum() == 6
    assert np.isfinite(popularity_control(20).attribute(contrast, 0, "x").values).sum() == 6
    with pytest.raises(SettingError, match="explainer x needs attention, which model Planted_less_Other with output"):
        RawAttention().attribute(contrast, 0, "x")
    with pytest.raises(SettingError, match="no ranks in a game of model Planted_less_Other"):
        contrast.ranks(np.ones((2, 1, 4), dtype=bool))
    other = game_of(Planted(20), plain_history([[0, 3, 5, 6], [2, 4]]), [14, 15])
    with pytest.raises(ValueError, match="two games of the same cases and players"):
        Contrast(games()[0], other)
    with pytest.raises(ValueError, match="two games of the same cases and players"):
        Contrast(games()[0], game_of(Planted(20), HISTORY, [14, 16]))
