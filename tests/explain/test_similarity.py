"""Similarities by loops over pairs of items."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.toy_games import Planted, game_of
from tests.toys import fitted_composed, histories, no_progress
from xrec.errors import SettingError
from xrec.explain.controls import Recency
from xrec.explain.explainer import Explainer
from xrec.explain.similarity import Cosine, Jaccard
from xrec.games.fitting import Fitting
from xrec.games.outputs import List, Margin
from xrec.games.players import Field

USERS, TARGETS = [4, 9, 2], [7, 8, 11]


def jaccard(toy) -> Jaccard:
    learned, control = Jaccard(), Jaccard()
    learned.fit(Fitting(toy, 0, torch.device("cpu"), no_progress))
    control.load_state(learned.state())
    return control


def slow_jaccard(toy):
    users: list[set[int]] = [set() for _ in range(toy.catalogue.n_items)]
    for user, item, time in zip(toy.user.tolist(), toy.item.tolist(), toy.time.tolist(), strict=True):
        if time <= toy.train_end:
            users[item].add(user)
    return lambda i, j: len(users[i] & users[j]) / max(1, len(users[i] | users[j]))


def slow_cosine(model):
    features = model.item_features().double().numpy()
    return lambda i, j: features[i] @ features[j] / np.linalg.norm(features[i]) / np.linalg.norm(features[j])


@pytest.mark.parametrize("name", ["cosine", "jaccard"])
def test_similarities_are_those_of_pairs_with_targets_less_the_foil(name: str, toy, tmp_path) -> None:
    model, history = fitted_composed(toy, tmp_path), histories(toy, USERS)
    explainer: Explainer = Cosine() if name == "cosine" else jaccard(toy)
    similar = slow_cosine(model) if name == "cosine" else slow_jaccard(toy)
    lists = [(7, 8, 11), (8,), (3, 4)]
    games = {
        "logit": (game_of(model, history, TARGETS), [(t,) for t in TARGETS], None),
        "list": (game_of(model, history, lists, output=List()), lists, None),
        "margin": (game_of(model, history, TARGETS, output=Margin(), foils=[12, 13, 7]), [(t,) for t in TARGETS], True),
    }
    for game, targets, foiled in games.values():
        found = explainer.attribute(game, 0, "x")
        assert found.n_forwards.tolist() == [0] * 3 and np.nanmax(np.abs(found.values)) > 0.05
        for row, n in enumerate(game.n_players.tolist()):
            for j, item in enumerate(history.item[row, :n].tolist()):
                known = sum(float(similar(item, t)) for t in targets[row]) / len(targets[row])
                known -= similar(item, [12, 13, 7][row]) if foiled else 0
                assert found.values[row, j] == pytest.approx(known, abs=1e-6)
    grouped = game_of(model, history, TARGETS, players=Field("size"), catalogue=toy.catalogue)
    single = np.nan_to_num(explainer.attribute(games["logit"][0], 0, "x").values)
    pooled = grouped.players.pooled(torch.from_numpy(single)).numpy()
    np.testing.assert_allclose(np.nan_to_num(explainer.attribute(grouped, 0, "x").values), pooled, atol=1e-6)


def test_an_item_is_as_similar_to_itself_as_can_be(toy, tmp_path) -> None:
    model, history = fitted_composed(toy, tmp_path), histories(toy, USERS)
    own = [int(row[1]) for row in history.item]
    for explainer in (Cosine(), jaccard(toy)):
        found = explainer.attribute(game_of(model, history, own, "repeat"), 0, "x").values
        np.testing.assert_allclose(found[:, 1], 1.0, atol=1e-6)
        assert (np.nanmax(found, axis=1) < 1 + 1e-6).all()


def test_who_knows_the_model_and_who_has_to_be_fitted(toy) -> None:
    game = game_of(Planted(toy.catalogue.n_items), histories(toy, USERS), TARGETS)
    assert (Cosine.role, Jaccard.role) == ("explainer", "control")
    with pytest.raises(SettingError, match="explainer x needs item_features, which model Planted"):
        Cosine().attribute(game, 0, "x")
    with pytest.raises(SettingError, match="explainer jaccard has to be fitted before it explains"):
        Jaccard().attribute(game, 0, "x")


def test_recency_is_the_age_of_the_youngest_item_of_a_player(toy) -> None:
    history = histories(toy, USERS)
    model = Planted(toy.catalogue.n_items)
    for players in (None, Field("size")):
        game = game_of(model, history, TARGETS, players=players, catalogue=toy.catalogue)
        found = Recency().attribute(game, 0, "x")
        assert found.role == "control" and not found.signed
        for row, n in enumerate(game.n_players.tolist()):
            for j in range(n):
                ages = history.age[row][game.players.membership[row] == j]
                assert found.values[row, j] == -float(ages.min())
