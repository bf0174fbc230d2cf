"""Maskers: what the model sees of an absent item, against a slow loop over users."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.toy_games import Planted, cases_of, exact_shapley, game_of, plain_history
from tests.toys import fitted_composed, histories, no_progress
from xrec.errors import SettingError
from xrec.explain.removal import LeaveOneOut
from xrec.explain.shapley import KernelShap
from xrec.games.fitting import Fitting
from xrec.games.keyed import case_seed
from xrec.games.maskers import Masker, Popularity, SampledUser, Zero
from xrec.games.players import Field
from xrec.models.recommender import Capabilities

ITEMS, TARGET = [0, 3, 5, 7], 14


def fitting(dataset: Any) -> Fitting:
    return Fitting(dataset, 0, torch.device("cpu"), no_progress)


def bought(dataset: Any) -> dict[int, set[int]]:
    """Items in training by user with any, straight from the events."""
    found: dict[int, set[int]] = {}
    for user, item, time in zip(dataset.user.tolist(), dataset.item.tolist(), dataset.time.tolist(), strict=True):
        if time <= dataset.train_end:
            found.setdefault(user, set()).add(item)
    return found


def fitted(masker: Masker, dataset: Any) -> Any:
    masker.fit(fitting(dataset))
    return masker


def test_zero_hands_masks_on_as_they_are() -> None:
    masks = torch.rand(1, 3, 4)
    views = Zero().bind(plain_history([ITEMS]), cases_of([TARGET]), 0)
    assert torch.equal(views(masks)[:, :, 0], masks) and Zero().state() == {}


def test_popularity_leaves_an_absent_item_its_share_of_users(toy) -> None:
    masker, baskets = fitted(Popularity(), toy), bought(toy)
    share = [sum(item in basket for basket in baskets.values()) / len(baskets) for item in range(toy.catalogue.n_items)]
    history = plain_history([[0, 3, 5], [2]])
    masks = torch.tensor([[[1.0, 0.0, 0.5]], [[0.0, 0.0, 0.0]]])
    seen = masker.bind(history, cases_of([7, 8]), 0)(masks)
    assert seen.shape == (2, 1, 1, 3)
    wanted = [[1.0, share[3], 0.5 + 0.5 * share[5]], [share[2], 0.0, 0.0]]
    np.testing.assert_allclose(seen[:, 0, 0], wanted, rtol=1e-6)


def test_sampled_user_puts_other_users_in_the_place_of_what_is_absent(toy) -> None:
    masker, baskets = fitted(SampledUser(5), toy), bought(toy)
    history, cases = histories(toy, [4, 9, 11]), cases_of([7, 8, 9])
    masks = torch.rand(3, 6, history.item.shape[1], generator=torch.Generator().manual_seed(0)).round()
    seen = masker.bind(history, cases, 3)(masks)
    assert seen.shape == (3, 6, 5, history.item.shape[1])
    for row, case in enumerate(cases):
        drawn = masker.drawn(case, 3).tolist()
        assert len(set(drawn)) == 5 and case.user not in drawn and set(drawn) <= set(baskets)
        for view, user in enumerate(drawn):
            for j, (item, real) in enumerate(zip(history.item[row].tolist(), history.presence[row], strict=True)):
                for m in range(6):
                    there = masks[row, m, j] == 1 or (bool(real) and item in baskets[user])
                    assert seen[row, m, view, j].item() == float(there)


def test_users_are_drawn_once_per_case_and_by_nothing_but_seed_and_case(toy) -> None:
    masker = fitted(SampledUser(5), toy)
    cases = cases_of(list(range(40)))
    drawn = [masker.drawn(case, 3).tolist() for case in cases]
    others = [u for u in sorted(bought(toy)) if u != cases[6].user]
    generator = np.random.default_rng(case_seed(3, cases[6], "sampled_user"))
    assert drawn[6] == generator.choice(others, 5, replace=False).tolist()
    assert drawn == [masker.drawn(case, 3).tolist() for case in cases]
    assert len({tuple(d) for d in drawn}) > 30 and masker.drawn(cases[0], 4).tolist() != drawn[0]
    assert set(range(40)) == {u for d in drawn for u in d}


def test_scores_of_the_views_are_averaged_and_then_ranked(toy, tmp_path) -> None:
    masker, model = fitted(SampledUser(3), toy), fitted_composed(toy, tmp_path)
    history = histories(toy, [4, 9])
    game = game_of(model, history, [7, 8], masker=masker, mask_chunk=7)
    masks = np.random.default_rng(0).random((2, 5, game.width)) < 0.5
    views = masker.bind(history, game.cases, 3)(torch.from_numpy(masks.astype(np.float32)))
    for row in range(2):
        alone = history.rows([row])
        scores = torch.stack([model.score(model.prepare(alone), views[row : row + 1, :, v])[0] for v in range(3)])
        mean = scores.mean(0).detach().double().numpy()  # [5, I]
        target = game.cases[row].target
        np.testing.assert_allclose(game.values(masks)[row], mean[:, target], atol=1e-5)
        allowed = game.candidates[row].numpy()
        ranks = [1 + int(((s > s[target]) & allowed).sum()) for s in mean]
        assert game.ranks(masks)[row, :, 0].tolist() == ranks
    assert game.masks.tolist() == [4 * 5] * 2 and game.forwards.tolist() == [4 * 5 * 3] * 2


@pytest.mark.parametrize(("mask_chunk", "largest"), [(12, 12), (13, 12), (3, 4), (1000, 36)])
def test_a_chunk_counts_forwards_but_holds_one_mask_at_least(toy, mask_chunk: int, largest: int) -> None:
    scored = []

    class Watched(Planted):
        def score(self, context, presence=None, targets=None):
            scored.append(0 if presence is None else presence.shape[1])
            return super().score(context, presence, targets)

    masker, history = fitted(SampledUser(4), toy), plain_history([ITEMS])
    game = game_of(Watched(20), history, [TARGET], masker=masker, mask_chunk=mask_chunk)
    game.values(np.ones((1, 9, 4)))
    assert max(scored) == largest and sum(scored) == 36 == game.forwards[0]


def test_the_value_of_an_empty_history_is_the_masker_s(toy) -> None:
    """An additive model without a prior: what is left of the contributions is what the masker leaves there."""
    model, baskets = Planted(toy.catalogue.n_items), bought(toy)
    history = plain_history([ITEMS])
    weight = model.weights[ITEMS, TARGET].double().numpy()
    share = np.array([np.mean([item in basket for basket in baskets.values()]) for item in ITEMS])
    sampled = fitted(SampledUser(4), toy)
    drawn = sampled.drawn(cases_of([TARGET])[0], 3).tolist()
    mean = np.array([np.mean([item in baskets[u] for u in drawn]) for item in ITEMS])
    for masker, left in ((Zero(), 0 * share), (fitted(Popularity(), toy), share), (sampled, mean)):
        whole, empty = game_of(model, history, [TARGET], masker=masker).ends()
        assert whole[0] == pytest.approx(weight.sum(), abs=1e-6)
        assert empty[0] == pytest.approx(weight @ left, abs=1e-6)


@pytest.mark.parametrize("masker", [Zero(), Popularity(), SampledUser(4)], ids=lambda m: m.name)
def test_contributions_of_an_additive_model_are_what_the_masker_takes_away(toy, masker: Masker) -> None:
    masker.fit(fitting(toy))
    game = game_of(Planted(toy.catalogue.n_items), plain_history([ITEMS, [2, 4]]), [14, 15], masker=masker)
    lost = LeaveOneOut().attribute(game, 0, "x")
    real = ~np.isnan(lost.values)
    np.testing.assert_allclose(game.contributions()[real], lost.values[real], atol=1e-6)
    whole, empty = game.ends()
    np.testing.assert_allclose(np.where(real, game.contributions(), 0).sum(1), whole - empty, atol=1e-6)


def test_shapley_values_of_groups_under_sampled_users_are_those_of_enumeration(toy, tmp_path) -> None:
    model = fitted_composed(toy, tmp_path, normaliser="softmax")
    history = histories(toy, [4, 9, 11])
    masker = fitted(SampledUser(4), toy)
    game = game_of(model, history, [1, 2, 3], players=Field("size"), masker=masker, catalogue=toy.catalogue)
    assert 3 <= game.width <= 6 and game.width < history.item.shape[1]
    before = game.masks.copy()
    found = KernelShap(4000).attribute(game, 0, "x")
    assert (found.n_forwards == 4 * (game.masks - before - 2)).all()  # both ends come before
    for row in range(3):
        n = game.n_players[row]
        np.testing.assert_allclose(found.values[row, :n], exact_shapley(game, row), atol=1e-4)


@pytest.mark.parametrize("masker", [Popularity(), SampledUser(4)], ids=lambda m: m.name)
def test_a_state_is_enough_to_mask_in_the_same_way(toy, masker: Masker) -> None:
    history, cases = histories(toy, [4, 9]), cases_of([7, 8])
    again = type(masker)() if isinstance(masker, Popularity) else SampledUser(4)
    with pytest.raises(SettingError, match=f"masker {masker.name} has to be fitted"):
        again.bind(history, cases, 3)
    masker.fit(fitting(toy))
    again.load_state(masker.state())
    masks = torch.zeros(2, 1, history.item.shape[1])
    assert torch.equal(again.bind(history, cases, 3)(masks), masker.bind(history, cases, 3)(masks))


def test_what_does_not_work_is_refused_by_name(toy) -> None:
    for n in (0, 1001):
        with pytest.raises(SettingError, match=f"masker.n_users must be from 1 to 1000, got {n}"):
            SampledUser(n)
    n_users = len(bought(toy))
    fitted(SampledUser(n_users - 1), toy)
    with pytest.raises(SettingError, match=f"got {n_users}, but only {n_users - 1} other users have a training hist"):
        fitted(SampledUser(n_users), toy)

    class Whole(Planted):
        capabilities = Capabilities(additive=True)

    with pytest.raises(SettingError, match="masker popularity needs fractional_presence, which model Whole does not"):
        game_of(Whole(20), plain_history([ITEMS]), [TARGET], masker=fitted(Popularity(), toy))

    class Odd(Zero):
        def bind(self, history, cases, seed):
            return lambda present: present

    with pytest.raises(SettingError, match=r"masker zero gave \(1, 2, 4\), expected \(1, 2, 1, 4\)"):
        game_of(Planted(20), plain_history([ITEMS]), [TARGET], masker=Odd()).ends()
