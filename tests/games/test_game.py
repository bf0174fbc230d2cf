"""The game of a model on cases worked out on paper: values, ranks, lists, spread, and who pays for a forward."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.by_hand import CASES, OnPaper, Table, attribution, cases, game_of
from tests.toy_games import game_of as toy_game
from tests.toy_games import plain_history
from tests.toys import fitted_composed, histories
from xrec.errors import SettingError
from xrec.games.maskers import Masker
from xrec.games.model_game import ModelGame
from xrec.games.players import Players


def random_masks(n_masks: int) -> np.ndarray:
    return np.random.default_rng(n_masks).random((len(CASES), n_masks, 8)) < 0.5


@pytest.mark.parametrize("mask_chunk", [1, 7, 20, 256])
def test_scores_and_ranks_of_any_mask_are_those_on_paper(mask_chunk: int) -> None:
    value = game_of(mask_chunk=mask_chunk)
    masks = random_masks(20)
    scores, ranks = value.values(masks), value.ranks(masks)
    assert scores.shape == ranks.shape[:2] == (4, 20) and ranks.shape[2] == 1
    assert scores.dtype == np.float64 and np.issubdtype(ranks.dtype, np.integer)
    for row, case in enumerate(CASES):
        for number, mask in enumerate(masks[row]):
            there = list(itertools.compress(case.history, mask))
            assert scores[row, number] == case.score(there)
            assert ranks[row, number] == case.rank(there)
    assert value.forwards.tolist() == [40] * 4


def test_ties_go_to_the_lower_id_and_only_candidates_count() -> None:
    """Items 1, 2 and 4 tie with the target 3, item 0 is better; of the history's 2 and 5 the latter is far better."""
    value = game_of((OnPaper((2, 5), 3), OnPaper((2, 5), 3, "repeat")), Table({0: 1, 5: 9}, {}))
    assert value.ranks(np.ones((2, 1, 2), dtype=bool)).tolist() == [[[3]], [[5]]]


def test_both_ends_are_measured_once() -> None:
    value = game_of()
    whole, empty = value.ends()
    assert whole.tolist() == [c.score(list(c.history)) for c in CASES] == [3.5, -5.5, 4.0, 4.0]
    assert empty.tolist() == [1.0, -5.0, 0.0, 4.0]
    assert value.ends()[0] is whole
    assert value.forwards.tolist() == [2] * 4


def test_the_spread_is_that_of_the_candidates_for_the_whole_history() -> None:
    value = game_of()
    for _ in range(2):
        assert value.spread().tolist() == [
            max(c.score(list(c.history), i) for i in c.candidates)
            - min(c.score(list(c.history), i) for i in c.candidates)
            for c in CASES
        ]
    assert value.spread()[:3].tolist() == [40.0, 31.0, 2000.0]
    assert value.spread() is value.spread()


def test_players_are_the_history_items_by_their_external_ids() -> None:
    value = game_of()
    assert value.player_ids == attribution().player_ids
    assert value.n_players.tolist() == [8, 3, 5, 2]
    assert (len(value), value.width, value.about.output) == (4, 8, "logit")
    assert value.targets.tolist() == [[10], [19], [8], [23]]


def test_one_case_alone_has_no_padding_the_same_numbers_and_counts_for_all() -> None:
    value = game_of()
    for row, case in enumerate(CASES):
        alone = value.single(row)
        assert (len(alone), alone.width) == (1, len(case.history))
        assert alone.player_ids == (value.player_ids[row],) and alone.cases == (value.cases[row],)
        masks = random_masks(5)[row : row + 1, :, : len(case.history)]
        padded = np.zeros((4, 5, 8), dtype=bool)
        padded[row, :, : len(case.history)] = masks[0]
        np.testing.assert_array_equal(alone.values(masks), game_of().values(padded)[row : row + 1])
        np.testing.assert_array_equal(alone.ranks(masks), game_of().ranks(padded)[row : row + 1])
    assert value.forwards.tolist() == [10] * 4


def test_a_score_has_the_contributions_as_its_gradient_and_takes_fractions() -> None:
    value = game_of()
    present = torch.full((4, 3, 8), 0.5, requires_grad=True)
    score = value.differentiable(present)
    half = [(c.score([]) + c.score(list(c.history))) / 2 for c in CASES]
    assert score.tolist() == [[h] * 3 for h in half]
    score.sum().backward()
    for row, case in enumerate(CASES):
        assert present.grad[row].tolist() == [[*case.contributions, *[0.0] * (8 - len(case.history))]] * 3


def test_numbers_of_a_value_function_have_no_gradient_to_pay_for() -> None:
    class Watched(Table):
        def score(self, *arguments):
            assert not torch.is_grad_enabled()
            return super().score(*arguments)

    value = game_of(model=Watched())
    value.ends(), value.ranks(random_masks(2)), value.spread()


def test_the_context_is_prepared_once() -> None:
    class Counted(Table):
        prepared = 0

        def prepare(self, history):
            self.prepared += 1
            return super().prepare(history)

    model = Counted()
    value = game_of(model=model)
    value.ends(), value.ranks(random_masks(2)), value.spread(), value.values(random_masks(3))
    assert model.prepared == 1


def test_a_masker_and_a_player_map_stand_between_mask_and_model() -> None:
    class Half(Masker):
        name = "half"

        def bind(self, history, cases, seed):
            return lambda present: 0.5 * present.unsqueeze(2)

    class FirstAndRest(Players):
        name = "first"

        def codes(self, history, catalogue):
            return (torch.arange(history.item.shape[1]) > 0).long().expand_as(history.item)

        def label(self, code, catalogue):
            return (("first", "the first"), ("rest", "the rest"))[code]

    plain = game_of(CASES[:1])
    rules = replace(plain.rules, masker=Half(), players=FirstAndRest())
    value = ModelGame(plain.model, plain.history, plain.cases, plain.candidates, rules)
    assert value.player_ids == (("first", "rest"),) and value.players.names == (("the first", "the rest"),)
    assert value.values(np.array([[[True, False], [False, True]]])).tolist() == [[1 + 4 / 2, 1 - 1.5 / 2]]
    assert value.ranks(np.array([[[True, False]]])).tolist() == [[[6]]]
    alone = value.single(0)  # fewer players than items: none of the latter gets lost
    assert alone.values(np.array([[[True, True]]])).tolist() == [[1 + 2.5 / 2]]


def test_cases_without_their_histories_are_refused() -> None:
    value = game_of()
    with pytest.raises(ValueError, match="4 cases but 1 histories"):
        ModelGame(value.model, plain_history([[1]]), cases(), value.candidates, value.rules)


class Spoilt(Table):
    """Gives what `how` makes of its scores [B, M, T]."""

    def __init__(self, how: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.how = how

    def score(self, context, presence=None, targets=None):
        return self.how(super().score(context, presence, targets))


SHAPES = {
    r"score gave \(4, 2\), expected a tensor \(4, 2, 1\): histories, masked copies of each, items": lambda s: s[
        :, :, 0
    ],
    r"score gave \(2, 4, 1\), expected": lambda s: s.transpose(0, 1),
    r"score gave \(4, 1, 1\), expected": lambda s: s[:, :1],  # would broadcast
    r"score gave list, expected": lambda s: s.tolist(),
}


@pytest.mark.parametrize("says", SHAPES)
def test_scores_of_another_shape_are_refused_by_name(says: str) -> None:
    with pytest.raises(SettingError, match=f"^model Spoilt: {says}"):
        game_of(model=Spoilt(SHAPES[says])).values(np.ones((4, 2, 8)))


def test_a_catalogue_of_another_size_is_refused_by_name() -> None:
    value = game_of(model=Spoilt(lambda s: s[:, :, :-1]))
    with pytest.raises(SettingError, match=r"^model Spoilt: score gave \(4, 3, 23\), expected a tensor \(4, 3, 24\)"):
        value.ranks(np.ones((4, 3, 8), dtype=bool))
    with pytest.raises(SettingError, match=r"^model Spoilt: score gave \(4, 1, 23\), expected a tensor \(4, 1, 24\)"):
        value.spread()


def test_scores_that_are_no_numbers_are_refused_with_their_cases() -> None:
    value = game_of(model=Spoilt(lambda s: s.where(s != -5.0, torch.nan)))  # the second case, masked
    with pytest.raises(SettingError, match=r"^model Spoilt: cases \[1\] have scores that are nan when some of the his"):
        value.values(np.zeros((4, 2, 8)))
    value = game_of(model=Spoilt(lambda s: s.where(s != 3.5, -torch.inf)))  # the first case, whole
    with pytest.raises(SettingError, match=r"^model Spoilt: cases \[0\] have scores that are not finite"):
        value.ends()


def test_scores_of_other_items_are_not_those_of_the_targets(toy, tmp_path) -> None:
    """Two cases of one history, which are scored together: the targets', then other items', then the targets' again."""
    history = histories(toy, [4, 4])
    game = toy_game(fitted_composed(toy, tmp_path), history, [7, 8])
    masks = np.random.default_rng(0).random((1, 3, game.width)).repeat(2, axis=0) < 0.5
    whole, items = game.scores(masks), torch.tensor([[3, 7, 9], [8, 2, 1]])
    expected = np.take_along_axis(whole, items.numpy()[:, None].repeat(3, axis=1), axis=2)
    values = game.values(masks)
    np.testing.assert_allclose(values, whole[[[0], [1]], [[0, 1, 2]], [[7], [8]]], atol=1e-5)
    np.testing.assert_allclose(game.scores(masks, items), expected, atol=1e-5)
    np.testing.assert_array_equal(game.values(masks), values)
