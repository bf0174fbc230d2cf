"""Outputs by hand: what is read off the scores, and which foil a recommendation is held against."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.by_hand import CASES, N_ITEMS, PRIOR, WEIGHTS, OnPaper, Table
from tests.toy_games import bare_catalogue, game_of, plain_history
from tests.toys import fitted_composed, histories
from xrec.errors import SettingError
from xrec.explain.gradient import IntegratedGradients
from xrec.games.model_game import ModelGame
from xrec.games.outputs import Choice, List, Logit, LogProbability, Margin, Output
from xrec.models.recommender import Capabilities

#: the first case on paper, its weights of both signs and its prior
HISTORY = list(CASES[0].history)


class Likely(Table):
    """The table, whose scores are logits."""

    capabilities = replace(Table.capabilities, likelihood=True)


def game(output: Output, targets: list[Any], foils: list[int] | None = None, rows: int = 1) -> ModelGame:
    return game_of(Likely(), plain_history([HISTORY] * rows), targets, output=output, foils=foils)


def score(item: int, there: list[int]) -> float:
    return PRIOR.get(item, 0.0) + sum(WEIGHTS.get((j, item), 0.0) for j in there)


def some_masks() -> tuple[np.ndarray, list[list[int]]]:
    masks = np.random.default_rng(1).random((1, 12, len(HISTORY))) < 0.5
    return masks, [[j for j, there in zip(HISTORY, mask, strict=True) if there] for mask in masks[0]]


def test_a_margin_is_the_target_s_score_minus_the_foil_s() -> None:
    masks, left = some_masks()
    margin = game(Margin(), [10], [19])
    assert margin.values(masks)[0].tolist() == [score(10, there) - score(19, there) for there in left]
    assert margin.about.output == "margin"
    wanted = [WEIGHTS.get((j, 10), 0) - WEIGHTS.get((j, 19), 0) for j in HISTORY]
    assert margin.contributions()[0].tolist() == wanted and min(wanted) < 0 < max(wanted)
    whole, empty = margin.ends()
    assert (whole[0], empty[0]) == (score(10, HISTORY) - score(19, HISTORY), PRIOR[10] - PRIOR[19])
    logit = game(Logit(), [10])
    np.testing.assert_array_equal(margin.ranks(masks), logit.ranks(masks))  # the target's, whatever it is held against


def test_a_list_is_the_mean_of_its_targets_however_many_they_are() -> None:
    masks, left = some_masks()
    two = game(List(), [(10, 19, 22), (10,)], rows=2)
    masks = np.concatenate([masks, masks])
    values = two.values(masks)
    assert values[0] == pytest.approx([np.mean([score(i, there) for i in (10, 19, 22)]) for there in left], abs=1e-5)
    assert values[1].tolist() == [score(10, there) for there in left]
    wanted = [np.mean([WEIGHTS.get((j, i), 0) for i in (10, 19, 22)]) for j in HISTORY]
    np.testing.assert_allclose(two.contributions()[0], wanted, atol=1e-6)
    ranks = two.ranks(masks)
    assert ranks.shape == (2, 12, 3) and (ranks[1, :, 1:] == 0).all()
    for t, item in enumerate((10, 19, 22)):
        allowed = [i for i in range(N_ITEMS) if i not in HISTORY or i in (10, 19, 22)]
        for m, there in enumerate(left):
            mine = score(item, there)
            better = [score(i, there) > mine or (score(i, there) == mine and i < item) for i in allowed]
            assert ranks[0, m, t] == 1 + sum(better)
    np.testing.assert_array_equal(ranks[1, :, 0], game(Logit(), [10]).ranks(masks[:1])[0, :, 0])


def test_attention_on_a_list_is_the_mean_over_its_targets() -> None:
    two = game(List(), [(10, 19, 22), (10,)], rows=2)
    wanted = [np.mean([1 / (1 + abs(WEIGHTS.get((j, i), 0))) for i in (10, 19, 22)]) for j in HISTORY]
    np.testing.assert_allclose(two.attention()[0], wanted, rtol=1e-6)
    np.testing.assert_allclose(two.attention()[1], game(Logit(), [10]).attention()[0], rtol=1e-6)
    assert two.forwards.tolist() == [2, 2]


def test_a_log_probability_is_torch_s_over_the_candidates(toy, tmp_path) -> None:
    model, history = fitted_composed(toy, tmp_path), histories(toy, [4, 9])
    found = game_of(model, history, [7, 8], output=LogProbability())
    masks = np.random.default_rng(0).random((2, 5, found.width)) < 0.5
    for row, case in enumerate(found.cases):
        scores = model.score(model.prepare(history.rows([row])), torch.from_numpy(masks[row : row + 1]).float())[0]
        allowed = found.candidates[row]
        place = int(allowed[: case.target].sum())
        wanted = torch.log_softmax(scores[:, allowed].double(), dim=1)[:, place]
        np.testing.assert_allclose(found.values(masks)[row], wanted.detach(), atol=1e-5)
    assert found.capabilities == model.capabilities.names() - {"additive", "components"}


def test_a_log_probability_has_gradients_and_they_sum_to_its_effect(toy, tmp_path) -> None:
    model, history = fitted_composed(toy, tmp_path), histories(toy, [4, 9])
    found = game_of(model, history, [7, 8], output=LogProbability())
    whole, empty = found.ends()
    total = np.nansum(IntegratedGradients(100).attribute(found, 0, "x").values, axis=1)
    np.testing.assert_allclose(total, whole - empty, atol=1e-3)
    assert any(p.requires_grad for p in model.parameters())  # only frozen while it is asked
    fresh = game_of(model, history, [7, 8], output=LogProbability())
    assert fresh.differentiable(torch.ones(2, 1, fresh.width, requires_grad=True)).requires_grad
    kept = [table for table in fresh.context.tables.values() if isinstance(table, torch.Tensor)]
    assert not any(table.requires_grad for table in kept)  # made just now, for this mask and all later ones


def test_the_list_a_masked_history_gets() -> None:
    found = game(Logit(), [10])
    masks, left = some_masks()
    top = found.top(masks, 6)
    allowed = [i for i in range(N_ITEMS) if i not in HISTORY]
    for m, there in enumerate(left):
        assert top[0, m].tolist() == sorted(allowed, key=lambda i, there=there: (-score(i, there), i))[:6]
    everything = found.top(masks, 30)[0, 0]
    assert everything[len(allowed) :].tolist() == [-1] * (30 - len(allowed)) and -1 not in everything[: len(allowed)]
    assert found.masks.tolist() == [24]


#: items 0 .. 7; 1 and 3 tie behind 5; 4 is no candidate; training users tie between 2 and 6
SCORES = torch.tensor([[0.0, 2.0, -1.0, 2.0, 9.0, 3.0, 0.0, 3.0]] * 6)
USERS = np.array([1, 0, 5, 0, 9, 3, 5, 2])


def foils(output: Margin, targets: list[int]) -> list[int]:
    candidates = torch.ones(6, 8, dtype=torch.bool)
    candidates[:, 4] = False
    choice = Choice(SCORES, candidates, bare_catalogue(8), USERS)
    return output.foils(choice, np.array(targets)).tolist()


def test_the_next_ranked_candidate_is_the_foil_and_the_last_one_has_none() -> None:
    assert foils(Margin("next_ranked"), [5, 7, 1, 3, 6, 2]) == [7, 1, 3, 0, 2, -1]


def test_the_most_popular_candidate_but_the_target_is_the_foil() -> None:
    assert foils(Margin("most_popular"), [5, 7, 1, 2, 6, 0]) == [2, 2, 2, 6, 2, 2]


def test_a_given_item_is_the_foil_of_all_but_itself() -> None:
    assert foils(Margin("item", "i3"), [5, 7, 1, 3, 6, 0]) == [3, 3, 3, -1, 3, 3]
    Margin("item", "i3").check(bare_catalogue(8))
    with pytest.raises(SettingError, match="output.item: no item 'i33'; did you mean 'i3'"):
        Margin("item", "i33").check(bare_catalogue(8))


def test_settings_of_a_margin_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(SettingError, match="output.foil: got 'next', takes next_ranked, most_popular, item; did you"):
        Margin("next")
    for foil, item in (("item", None), ("most_popular", "i3")):
        with pytest.raises(SettingError, match=f"output.item: got {item!r} with output.foil={foil}; foil=item takes"):
            Margin(foil, item)
    assert Margin("item", 7).item == "7"


def test_what_cannot_be_read_off_is_refused() -> None:
    with pytest.raises(SettingError, match=r"output margin: cases \[0\] have no foil"):
        game(Margin(), [10])
    with pytest.raises(SettingError, match="output log_probability needs likelihood, which model Table does not have"):
        game_of(Table(), plain_history([HISTORY]), [10], output=LogProbability())
    probability = game(LogProbability(), [10])
    for ask in (probability.contributions, probability.components):
        with pytest.raises(SettingError, match="a game of model Likely, players items, masker zero and output log_p"):
            ask()

    class Mute(Likely):
        capabilities = Capabilities()

    silent = game_of(Mute(), plain_history([HISTORY]), [10])
    asked = {
        "attention": silent.attention,
        "attention_values": silent.attention_norms,
        "additive": silent.contributions,
        "components": silent.components,
        "item_features": silent.item_features,
        "layers": silent.attention_layers,
        "gradients": lambda: silent.differentiable(torch.ones(1, 1, 8)),
    }
    for name, ask in asked.items():
        with pytest.raises(SettingError, match=f"no {name} in a game of model Mute, .* .it has values only"):
            ask()
    assert silent.forwards.tolist() == [0]


@pytest.mark.parametrize("on_paper", CASES)
def test_a_logit_is_the_score_bit_for_bit(on_paper: OnPaper) -> None:
    found = game_of(Table(), plain_history([list(on_paper.history)]), [on_paper.target], on_paper.group)
    assert found.ends()[0].tolist() == [on_paper.score(list(on_paper.history))]
