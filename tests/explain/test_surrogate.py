"""LIME-RS against scikit-learn's ridge on the same masks, and the masks it draws."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.by_hand import CASES
from tests.by_hand import game_of as paper_game
from tests.toy_games import game_of
from tests.toys import fitted_composed, histories
from xrec.errors import SettingError
from xrec.explain.surrogate import LimeRS
from xrec.games.keyed import Keyed
from xrec.games.outputs import LogProbability
from xrec.games.players import Field


@pytest.mark.parametrize(("budget", "width", "ridge"), [("auto", 0.25, 1.0), (30, 1.0, 0.1), (400, 0.1, 3.0)])
def test_it_is_scikit_learn_s_ridge_on_the_same_masks(budget, width: float, ridge: float, toy, tmp_path) -> None:
    model = fitted_composed(toy, tmp_path, normaliser="softmax")
    for players in (None, Field("size")):
        game = game_of(
            model, histories(toy, [4, 9, 2]), [7, 8, 11], output=LogProbability(), players=players,
            catalogue=toy.catalogue,
        )  # fmt: skip
        explainer = LimeRS(budget, width, ridge)
        found = explainer.attribute(game, 5, "lime")
        for row, n in enumerate(game.n_players.tolist()):
            budget_ = 4 * n + 2 if budget == "auto" else budget
            alone = game.single(row)
            masks = explainer._masks(alone, Keyed(5, "lime"), np.array([budget_]))
            assert masks.shape == (1, budget_, n) and masks[0, 0].all() and found.n_forwards[row] == budget_
            cosine = masks[0].sum(1) / np.sqrt(n) / np.maximum(np.sqrt(masks[0].sum(1)), 1e-9)
            weights = np.exp(-((1 - cosine) ** 2) / width**2)
            known = Ridge(alpha=ridge).fit(masks[0].astype(float), alone.values(masks)[0], sample_weight=weights)
            np.testing.assert_allclose(found.values[row, :n], known.coef_, atol=1e-5)
        assert np.nanmax(np.abs(found.values)) > 1e-3


def test_of_an_additive_model_it_finds_the_contributions_once_nothing_shrinks() -> None:
    found = LimeRS(ridge=1e-9).attribute(paper_game(), 0, "x")
    for row, case in enumerate(CASES):
        np.testing.assert_allclose(found.values[row, : len(case.history)], case.contributions, atol=1e-6)
    assert found.n_forwards.tolist() == [34, 14, 22, 10] and found.signed and not found.complete
    shrunk = LimeRS(ridge=100.0).attribute(paper_game(), 0, "x").values
    assert np.nansum(np.abs(shrunk)) < 0.5 * np.nansum(np.abs(found.values))


def test_numbers_of_players_are_uniform_and_which_is_at_random() -> None:
    masks = LimeRS._masks(paper_game().single(0), Keyed(0, "x"), np.array([9001]))[0, 1:]
    sizes = np.bincount(masks.sum(1), minlength=9) / 9000
    np.testing.assert_allclose(sizes, 1 / 9, atol=0.015)
    np.testing.assert_allclose(masks.mean(0), 0.5, atol=0.02)
    np.testing.assert_allclose(masks[masks.sum(1) == 3].mean(0), 3 / 8, atol=0.07)


def test_cases_solved_in_pieces_are_the_same(monkeypatch) -> None:
    whole = LimeRS().attribute(paper_game(), 0, "x").values
    monkeypatch.setattr("xrec.explain.surrogate._MAX_ENTRIES", 1)
    np.testing.assert_allclose(LimeRS().attribute(paper_game(), 0, "x").values, whole, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"budget": 1}, "lime_rs.budget must be 'auto' or from 2 to 1000000 masks, got 1"),
        ({"budget": "all"}, "lime_rs.budget .* got 'all'"),
        ({"width": 0.0}, "lime_rs.width must be above 0"),
        ({"ridge": 0.0}, "lime_rs.ridge must be above 0, got 0.0; without it"),
    ],
)
def test_bad_settings_are_refused(settings, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        LimeRS(**settings)
