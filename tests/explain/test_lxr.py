"""LXR: it finds planted causes of users it never saw, and its loss is the published one."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from tests.by_hand import OnPaper, Table
from tests.by_hand import game_of as on_paper
from tests.toy_games import Planted, bare_catalogue, game_of, plain_history
from tests.toys import fitted_composed, histories, no_progress
from xrec.errors import SettingError
from xrec.explain.lxr import LXR, MaskNetwork
from xrec.games.fitting import Fitting
from xrec.games.game import Game
from xrec.games.outputs import List, Margin
from xrec.games.players import Field

N_ITEMS = 20


def planted(n_games: int, seed: int) -> tuple[list[Game], list[list[int]]]:
    """Games of eight cases of eight items, and which item of each is the cause."""
    random = np.random.default_rng(seed)
    games, causes = [], []
    for _ in range(n_games):
        rows = [random.choice(N_ITEMS, 8, replace=False).tolist() for _ in range(8)]
        causes.append([next((j for j in row if N_ITEMS - 1 - j not in row), row[0]) for row in rows])
        games.append(game_of(Planted(N_ITEMS), plain_history(rows), [N_ITEMS - 1 - c for c in causes[-1]]))
    return games, causes


def fitting(games: list[Game], n_items: int = N_ITEMS, seed: int = 0) -> Fitting:
    dataset = cast(Any, SimpleNamespace(catalogue=bare_catalogue(n_items)))
    return Fitting(dataset, seed, torch.device("cpu"), no_progress, lambda n: iter(games))


@pytest.fixture(scope="module")
def learned() -> LXR:
    explainer = LXR(learning_rate=0.01)
    explainer.fit(fitting(planted(40, 0)[0]))
    return explainer


def test_it_finds_planted_causes_of_other_users_without_a_forward_of_the_model(learned: LXR) -> None:
    games, causes = planted(10, 1)
    for game, cause in zip(games, causes, strict=True):
        found = learned.attribute(game, 0, "lxr")
        best = game.history.item.gather(1, torch.from_numpy(found.values.argmax(1))[:, None])[:, 0]
        assert best.tolist() == cause
        assert (found.n_forwards == 0).all() and not found.signed
        assert ((found.values > 0.5).sum(1) == 1).all()  # the others have less than an average share


def test_an_untrained_network_does_not(learned: LXR) -> None:
    games, causes = planted(10, 1)
    torch.manual_seed(0)
    network, hits = MaskNetwork(N_ITEMS, 32), 0
    for game, cause in zip(games, causes, strict=True):
        best = network.log_odds(game).argmax(1)
        hits += sum(int(game.history.item[row, best[row]]) == cause[row] for row in range(8))
    assert hits < 30  # of 80


def test_what_was_learned_is_saved_and_taken_over_and_the_same_seed_learns_the_same(learned: LXR) -> None:
    again, same, other = LXR(epochs=1), LXR(learning_rate=0.01), LXR(learning_rate=0.01)
    with pytest.raises(SettingError, match="explainer lxr has to be fitted before it explains"):
        again.attribute(planted(1, 1)[0][0], 0, "lxr")
    again.load_state({name: tensor.clone() for name, tensor in learned.state().items()})
    same.fit(fitting(planted(40, 0)[0]))
    other.fit(fitting(planted(40, 0)[0], seed=1))
    game = planted(1, 1)[0][0]
    mine, loaded, refitted, others = (e.attribute(game, 0, "lxr").values for e in (learned, again, same, other))
    np.testing.assert_array_equal(mine, loaded)
    np.testing.assert_array_equal(mine, refitted)
    assert not np.array_equal(mine, others)


def test_the_loss_by_hand() -> None:
    """f(x) = 3, f(empty) = 1, of which player 0 gives 2: with masks .75 and .5, p(kept) is that of 2.5 and p(left) that
    of 1.5; the ends are at -2 and 2 before the sigmoid."""
    game = on_paper((OnPaper((0, 1), 10),), Table({10: 1.0}, {(0, 10): 2.0}))
    log_odds = torch.tensor([[math.log(3.0), 0.0]])
    kept, left = 4 * (2.5 - 2) / 2, 4 * (1.5 - 2) / 2
    terms = (-math.log(1 / (1 + math.exp(-kept))), math.log(1 / (1 + math.exp(-left))), (0.75 + 0.5) / 2)
    for weights in ((1.0, 1.0, 4.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        expected = sum(w * t for w, t in zip(weights, terms, strict=True))
        positive, negative, sparsity = weights
        explainer = LXR(positive=positive, negative=negative, sparsity=sparsity)
        assert explainer.loss(game, log_odds, game.ends()).item() == pytest.approx(expected, abs=1e-6)


def test_of_sums_a_player_is_kept_for_more_than_an_average_share() -> None:
    """At the default weights the slope of the loss is 4 (1 / P - share), wherever the mask is."""
    added = {(j, 10): share * 5 for j, share in enumerate((0.1, 0.2, 0.3, 0.4))}
    game = on_paper((OnPaper((0, 1, 2, 3), 10),), Table({10: 1.0}, added))
    for start in (-2.0, 0.0, 1.0):
        log_odds = torch.full((1, 4), start, requires_grad=True)
        LXR().loss(game, log_odds, game.ends()).backward()
        assert log_odds.grad is not None
        mask = log_odds.detach().sigmoid()
        slope = log_odds.grad / (mask * (1 - mask))
        np.testing.assert_allclose(slope[0], [0.6, 0.2, -0.2, -0.6], atol=1e-4)


def test_cases_without_effect_do_no_harm() -> None:
    game = on_paper((OnPaper((0, 1), 10),), Table({10: 1.0}, {}))
    log_odds = torch.zeros(1, 2, requires_grad=True)
    LXR().loss(game, log_odds, game.ends()).backward()
    assert log_odds.grad is not None and log_odds.grad.isfinite().all()


def test_the_model_and_the_global_generator_are_left_alone(toy, tmp_path) -> None:
    model = fitted_composed(toy, tmp_path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    game = game_of(model, histories(toy, [4, 9]), [7, 8])
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    explainer = LXR(epochs=2)
    explainer.fit(fitting([game], toy.catalogue.n_items))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("output", [Margin(), List()], ids=lambda o: o.name)
def test_it_learns_for_groups_and_other_outputs_and_padding_changes_nothing(output, toy, tmp_path) -> None:
    targets = [(7, 8, 11), (8,)] if output.joint else [7, 8]
    game = game_of(
        fitted_composed(toy, tmp_path), histories(toy, [4, 9]), targets, players=Field("size"), output=output,
        catalogue=toy.catalogue, foils=[12, 13] if output.contrastive else None,
    )  # fmt: skip
    explainer = LXR(epochs=2)
    explainer.fit(fitting([game], toy.catalogue.n_items))
    found = explainer.attribute(game, 0, "lxr").values
    for row in range(2):
        alone = explainer.attribute(game.single(row), 0, "lxr").values[0]
        np.testing.assert_allclose(found[row, : len(alone)], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "value", "least"),
    [("n_users", 0, "at least 1"), ("epochs", 0, "at least 1"), ("embedding_size", 0, "at least 1"),
     ("learning_rate", 0, "above 0"), ("positive", -1, "at least 0"), ("sparsity", -0.1, "at least 0")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(setting: str, value: float, least: str) -> None:
    with pytest.raises(SettingError, match=f"explainer.lxr.{setting} must be {least}, got {value}"):
        LXR(**cast(Any, {setting: value}))


def test_nobody_to_learn_from_is_refused() -> None:
    with pytest.raises(SettingError, match="there are no other users to learn from; explain fewer"):
        LXR().fit(fitting([]))
