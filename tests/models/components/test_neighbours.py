"""Neighbours against brute force, and what they must not know."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.toys import events_frame, fit_data, histories, toy_dataset
from xrec.models.components import neighbours
from xrec.models.components.neighbours import Neighbours
from xrec.models.history import History
from xrec.models.recommender import Context
from xrec.types import HALF_LIVES

K = 4


@pytest.fixture
def make(toy, tmp_path):
    def made(dataset=toy, **settings) -> Neighbours:
        component = Neighbours(dataset.catalogue, 8, **{"n_neighbours": K, **settings})
        with torch.no_grad():
            component.weight.fill_(1.5)
        component.attach(fit_data(dataset, tmp_path))
        return component

    return made


def vectors(dataset, moment: int, half_life: float = 16.0) -> np.ndarray:
    """[U, I] log(1 + decayed baskets), event by event."""
    found = np.zeros((dataset.catalogue.n_users, dataset.catalogue.n_items))
    for user, item, time, strength in zip(dataset.user, dataset.item, dataset.time, dataset.strength, strict=True):
        if time < moment:
            found[user, item] += strength * 0.5 ** ((moment - time) / half_life)
    return np.log1p(found)


def brute_force(own: np.ndarray, pool: np.ndarray, itself: int | None) -> np.ndarray:
    norms = np.linalg.norm(pool, axis=1)
    similar = pool @ own / np.maximum(norms, 1e-12) / np.sqrt(own @ own + 1)
    others = [n for n in range(len(pool)) if n != itself]
    nearest = sorted(others, key=lambda n: -similar[n])[:K]
    return 1.5 * sum(similar[n] * pool[n] for n in nearest) / K


@pytest.mark.parametrize("block", [2**25, 200])
@pytest.mark.parametrize("half_life", [16.0, 2.0])
@torch.no_grad()
def test_masked_copies_choose_their_neighbours_anew(toy, make, monkeypatch, block, half_life):
    monkeypatch.setattr(neighbours, "BLOCK", block)  # piece by piece, and from the sparse matrix
    component, history = make(half_life=half_life), histories(toy, [3, 8, 0])  # at test, when more is known of users
    generator = torch.Generator().manual_seed(0)
    presence = torch.rand(3, 5, history.item.shape[1], generator=generator).round()
    targets = torch.tensor([[1, 2, 2], [0, 5, 9], [3, 3, 20]])
    pool = vectors(toy, toy.train_end + 1, half_life)
    whole, some = (component.score(Context(history), presence, wanted) for wanted in (None, targets))
    own = vectors(toy, history.moment, half_life)
    for row, user in enumerate([3, 8, 0]):
        for copy in range(5):
            there = np.zeros(toy.catalogue.n_items)
            kept = (presence[row, copy] * history.presence[row]) > 0
            there[history.item[row][kept].numpy()] = 1
            wanted = brute_force(own[user] * there, pool, user)
            np.testing.assert_allclose(whole[row, copy].numpy(), wanted, rtol=2e-4, atol=1e-5)
            np.testing.assert_allclose(some[row, copy].numpy(), wanted[targets[row].numpy()], rtol=2e-4, atol=1e-5)


@torch.no_grad()
def test_without_a_user_s_row_every_user_of_the_pool_may_be_near(toy, make):
    history = replace(histories(toy, [3], "validation"), user=None)
    pool = vectors(toy, toy.train_end + 1)
    wanted = brute_force(pool[3], pool, None)
    np.testing.assert_allclose(make().score(Context(history))[0, 0].numpy(), wanted, rtol=2e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("n_neighbours", [1, 3])
def test_of_users_that_are_equally_near_a_window_takes_as_many_as_a_ranking(tmp_path, n_neighbours):
    rows = [(f"u{u}", f"i{u % 2}{i}", t, 1.0) for u in range(20) for i in range(4) for t in range(1, 13)]
    data = toy_dataset(tmp_path, n_users=20, n_items=8, events=events_frame(rows), core=(1, 1))
    component = Neighbours(data.catalogue, 8, n_neighbours=n_neighbours)
    component.attach(fit_data(data, tmp_path))
    history = History.from_table(data.histories(6), range(20))
    kept, ranked = component.score(Context(history, users=history.user)), component.score(Context(history))
    assert ranked.max() > 0.1
    torch.testing.assert_close(kept, ranked, rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_a_training_window_knows_users_as_they_were_before_it(toy, make):
    moment = 6
    history = History.from_table(toy.histories(moment), range(toy.catalogue.n_users))
    found = make().score(Context(history, users=history.user))[:, 0]
    own = vectors(toy, moment)
    wanted = np.stack([brute_force(own[user], own, user) for user in range(len(own))])
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-3, atol=1e-5)  # half precision
    past = toy.time < moment
    names = ("user", "item", "time", "strength", "kind")
    cut = replace(toy, **{name: getattr(toy, name)[past] for name in names}, fingerprint="cut")
    assert torch.equal(make(cut).score(Context(history, users=history.user))[:, 0], found)


def test_a_training_window_keeps_the_scores_of_whole_histories(toy, make, monkeypatch):
    component, users, targets = make(), torch.tensor([3, 8, 5]), torch.tensor([[1, 2, 2], [0, 5, 9], [3, 3, 20]])
    history = History.from_table(toy.histories(6), users.numpy())
    live = component.score(Context(history))
    context = Context(history, users=users)
    kept = component.score(context)
    torch.testing.assert_close(kept, live, rtol=1e-3, atol=1e-6)  # half precision
    assert not torch.equal(kept, live) and live.std() > 0.01
    wanted = kept.gather(2, targets.unsqueeze(1))
    torch.testing.assert_close(component.score(context, None, targets), wanted)
    kept.sum().backward()
    torch.testing.assert_close(component.weight.grad, kept.sum() / 1.5)
    # what is masked, hidden in a profile, or too large to be kept, is computed
    masked = torch.ones(3, 1, history.item.shape[1])
    torch.testing.assert_close(component.score(context, masked), live)
    assert torch.equal(component.score(Context(history, users=users, profile=True)), live)
    monkeypatch.setattr(neighbours, "_WINDOW", 40 * 30 - 1)
    assert torch.equal(component.score(context), live)


@torch.no_grad()
def test_validation_and_test_events_are_in_nobody_s_vector(toy, make):
    history = histories(toy, [3])
    past = (toy.time <= toy.train_end) | (toy.user == 3)
    names = ("user", "item", "time", "strength", "kind")
    cut = replace(toy, **{name: getattr(toy, name)[past] for name in names}, fingerprint="cut")
    assert torch.equal(make(cut).score(Context(history)), make().score(Context(history)))


def test_gradients_are_finite_down_to_an_empty_history(toy, make):
    component, context = make(), Context(histories(toy, [3, 8]))
    for value in (0.0, 1e-3, 0.5, 1.0):
        presence = torch.full((2, 1, context.history.item.shape[1]), value, requires_grad=True)
        score = component.score(context, presence, torch.tensor([[0, 5], [1, 1]]))
        (gradient,) = torch.autograd.grad(score.sum(), presence)
        assert torch.isfinite(score).all() and torch.isfinite(gradient).all()
        assert (score == 0).all() if value == 0 else (score > 0).any()
        assert value == 0 or (gradient != 0).any()


@pytest.mark.parametrize("block", [2**25, 1000])
def test_the_gradient_is_the_slope(toy, make, monkeypatch, block):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    component, history = make().double(), histories(toy, [3])
    pool = component.pool(history.moment)
    doubled = {name: getattr(pool, name).double() for name in ("users", "items", "norm")}
    component._pools = {toy.train_end + 1: replace(pool, **doubled)}
    history = replace(history, decayed=history.decayed.double(), presence=history.presence.double())
    history = replace(history, positive=history.positive.double())
    generator = torch.Generator().manual_seed(1)
    presence = (0.3 + 0.5 * torch.rand(1, 1, history.item.shape[1], generator=generator)).double().requires_grad_()
    score = partial(component.score, Context(history), targets=torch.tensor([[0, 5]]))
    assert torch.autograd.gradcheck(lambda p: score(presence=p), presence)


@torch.no_grad()
def test_a_history_without_columns_scores_nothing(toy, make):
    nothing = histories(toy, [3]).without(torch.zeros(histories(toy, [3]).item.shape[1]))
    assert (make().score(Context(nothing)) == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_neighbours": 0}, "n_neighbours must be at least 1, got 0"),
        ({"half_life": 5.0}, "half_life must be one of .* got 5.0"),
    ],
)
def test_bad_arguments_are_named(toy, settings, message):
    with pytest.raises(ValueError, match=message):
        Neighbours(toy.catalogue, 8, **settings)


def test_every_half_life_is_a_channel(toy, make):
    assert [make(half_life=h).channel for h in HALF_LIVES] == list(range(len(HALF_LIVES)))
