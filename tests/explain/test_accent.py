"""The pairwise search by hand, on planted causes, and checked by really removing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.by_hand import N_ITEMS, OnPaper, Table, game_of
from tests.explain.test_counterfactual import World, outcomes, sizes
from tests.toy_games import Planted, plain_history
from tests.toy_games import game_of as toy_game
from tests.toys import fitted_composed, histories
from xrec.errors import SettingError
from xrec.explain.accent import Accent

#: what players add to 10, which is recommended, and to its rivals 11 and 12
ADDED = {(0, 10): 2.0, (1, 10): 2.0, (2, 10): 4.0, (2, 11): 4.0, (3, 12): -6.0}


def by_hand(n_rivals: int):
    prior = dict.fromkeys(range(N_ITEMS), -20.0) | {10: 0.0, 11: 1.0, 12: 9.0}
    game = game_of((OnPaper((0, 1, 2, 3), 10),), Table(prior, ADDED))
    return Accent(n_rivals).attribute(game, 0, "x")


def test_the_smallest_of_the_rivals_sets_is_taken() -> None:
    """Whole: 10 has 8, 11 has 5, 12 has 3. Over 11 it takes players 0 and 1 (2 + 2 > 3); by the target's score alone
    player 2 would go first, which takes 11 down as well. Over 12 player 3 is enough (6 > 5)."""
    one = by_hand(1)
    assert one.values[0].tolist() == [2.0, 2.0, 0.0, 0.0]
    assert one.selected is not None and one.selected[0].tolist() == [True, True, False, False]
    assert outcomes(one) == ["found"]
    two = by_hand(2)
    assert two.values[0].tolist() == [2.0, 2.0, 4.0, 6.0]
    assert two.selected is not None and two.selected[0].tolist() == [False, False, False, True]
    assert outcomes(two) == ["smallest"]


class Floored(Table):
    """Item 10 never has less than 4.5."""

    def score(self, context, presence=None, targets=None):
        total = super().score(context, presence, targets)
        ids = torch.arange(N_ITEMS).unsqueeze(0) if targets is None else targets
        return torch.where(ids.unsqueeze(1) == 10, total.clamp(min=4.5), total)


def test_a_sum_that_promises_too_much_is_found_out_by_the_forward() -> None:
    """10 falls from 6.5 to 4.5 without either player, and stays there, not at 2.5, without both: below 11 by the sum
    only."""
    prior = dict.fromkeys(range(N_ITEMS), -20.0) | {10: 2.5, 11: 4.0}
    game = game_of((OnPaper((0, 1), 10),), Floored(prior, {(0, 10): 2.0, (1, 10): 2.0}))
    found = Accent(1).attribute(game, 0, "x")
    assert found.values[0].tolist() == [2.0, 2.0]
    assert outcomes(found) == ["stays"] and sizes(found) == [0]


def test_a_returned_set_lets_the_target_fall_and_of_sums_there_is_no_smaller_one() -> None:
    done = 0
    for seed in range(30):
        world = World(seed)
        found = Accent(5).attribute(game_of(tuple(world.cases), world.model), 0, "x")
        for row, (case, outcome) in enumerate(zip(world.cases, outcomes(found), strict=True)):
            assert (sizes(found)[row] > 0) == (outcome in ("smallest", "found"))
            if sizes(found)[row]:
                done += 1
                assert world.rank_without(row, found) > 1  # every target was first
                smallest = world.smallest(case, 1)
                assert smallest is not None and sizes(found)[row] >= smallest
    assert done > 80


def test_it_finds_the_planted_cause() -> None:
    history = plain_history([[0, 3, 5, 7], [2, 4, 6], [1, 8, 9, 5]])
    causes = [5, 4, 8]
    found = Accent().attribute(toy_game(Planted(20), history, [19 - c for c in causes]), 0, "x")
    assert found.selected is not None
    for row, cause in enumerate(causes):
        assert history.item[row, int(np.nanargmax(found.values[row]))] == cause
        assert history.item[row][found.selected[row][: history.item.shape[1]]].tolist() == [cause]


def test_it_explains_a_real_model_alone_as_in_a_batch(toy, tmp_path) -> None:
    game = toy_game(fitted_composed(toy, tmp_path), histories(toy, [4, 9, 12]), [7, 8, 11])
    found = Accent().attribute(game, 0, "x")
    for row in range(3):
        alone = Accent().attribute(game.single(row), 0, "x")
        assert outcomes(alone) == [outcomes(found)[row]] and sizes(alone) == [sizes(found)[row]]
        np.testing.assert_allclose(alone.values[0], found.values[row, : game.n_players[row]], atol=1e-5)


def test_there_is_at_least_one_rival() -> None:
    with pytest.raises(SettingError, match=r"explainer.accent.n_rivals must be at least 1, got 0"):
        Accent(0)


def test_where_there_is_no_rival_there_is_no_answer() -> None:
    """The last of all candidates, and one with a single rival left."""
    prior = {i: 30.0 - i for i in range(N_ITEMS)}
    model = Table(prior, {(0, N_ITEMS - 2): 0.5, (0, N_ITEMS - 1): 1.0})
    game = game_of((OnPaper((0, 1), N_ITEMS - 1), OnPaper((0, 1), N_ITEMS - 2)), model)
    found = Accent(5).attribute(game, 0, "x")
    assert found.values.tolist() == [[0.0, 0.0], [-0.5, 0.0]]
    assert outcomes(found) == ["stays"] * 2 and sizes(found) == [0, 0]
