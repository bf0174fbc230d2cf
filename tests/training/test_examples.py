"""Windows, batches and sampled targets against slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from xrec.losses.reconstruction import Bernoulli
from xrec.training.examples import (
    Batch,
    Piece,
    Window,
    drawn_negatives,
    epoch_steps,
    make_batch,
    profiles,
    windows,
)

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_window_s_users_have_a_history_and_a_target(toy):
    (window,) = windows(toy, [4], 2)
    events = list(zip(toy.user.tolist(), toy.item.tolist(), toy.time.tolist(), strict=True))
    with_history, with_target = {u for u, _, t in events if t < 4}, {u for u, _, t in events if 4 <= t <= 5}
    assert window.users.tolist() == sorted(with_history & with_target)
    assert (window.targets.start, window.targets.end, window.table.moment) == (4, 5, 4)


def test_the_last_training_period_may_be_reached_but_not_passed(toy):
    windows(toy, [toy.train_end - 1], 2)
    with pytest.raises(ValueError, match="window at 8 with horizon 2 reaches period 9, past the last .* 8"):
        windows(toy, [5, toy.train_end], 2)


def test_a_window_without_examples_is_refused(toy):
    with pytest.raises(ValueError, match="no user has both a history before 1"):
        windows(toy, [1], 2)


def test_negative_windows_are_counted_back_from_the_end_of_training(toy):
    found = windows(toy, [-5, -2], 2)
    assert [w.moment for w in found] == [toy.train_end - 4, toy.train_end - 1]
    with pytest.raises(ValueError, match="past the last training period"):
        windows(toy, [-1], 2)


def test_no_windows_at_all_are_refused(toy):
    with pytest.raises(ValueError, match="training.windows"):
        windows(toy, [], 2)


def batch_of(window: Window, users, n_items: int, warm, n_negatives: int | None, g: torch.Generator) -> Batch:
    negatives = drawn_negatives(warm, n_negatives, g)
    return make_batch(Piece(window, users), n_items, warm, negatives, g, CPU)


@pytest.mark.parametrize(("batch_size", "max_pairs"), [(7, 10**9), (16, 3000), (4, 1), (1000, 2000)])
def test_an_epoch_covers_every_example_once_within_its_limits(toy, batch_size, max_pairs):
    examples, n_items = windows(toy, [4, 6], 2), toy.catalogue.n_items
    steps = epoch_steps(examples, batch_size, max_pairs, 12, n_items, generator())
    pieces = [piece for step in steps for piece in step.pieces]
    found = sorted((piece.window.moment, user) for piece in pieces for user in piece.users.tolist())
    assert found == sorted((window.moment, user) for window in examples for user in window.users.tolist())
    sizes = {step.n_users for step in steps}
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert len(steps) == -(-len(found) // batch_size)
    for piece in pieces:
        longest = int(piece.window.table.lengths()[piece.users].max())
        pairs = len(piece.users) * longest * min(longest + 12, n_items)
        assert len(piece.users) == 1 or pairs <= max_pairs
    if max_pairs == 10**9:  # nothing is cut but where a window ends
        assert len(pieces) <= len(steps) + 1


def test_epochs_differ_and_repeat_with_the_seed(toy):
    examples = windows(toy, [4, 6], 2)

    def order(g):
        steps = epoch_steps(examples, 8, 10**9, 12, toy.catalogue.n_items, g)
        return [piece.users.tolist() for step in steps for piece in step.pieces]

    g = generator()
    first = order(g)
    assert first == order(generator()) != order(g)


def test_a_profile_s_targets_are_the_whole_training_history_and_its_share_is_hidden(toy):
    (window,), n_items = profiles(toy, 0.25), toy.catalogue.n_items
    events = {(u, i) for u, i, t in zip(toy.user.tolist(), toy.item.tolist(), toy.time.tolist(), strict=True) if t <= 8}
    whole = {u: {i for v, i in events if v == u} for u in range(toy.catalogue.n_users)}
    assert window.users.tolist() == [u for u, items in whole.items() if len(items) > 1]
    g, shares = generator(), []
    for _ in range(200):
        batch = batch_of(window, window.users, n_items, np.arange(n_items), None, g)
        assert batch.targets is None and batch.profile
        real = torch.zeros(len(window.users), n_items)
        for row, user in enumerate(window.users.tolist()):
            real[row, sorted(whole[user])] = 1.0
        assert torch.equal(batch.labels, real) and not batch.log_weight.any()
        shares.append(float(batch.history.presence.sum()) / float(real.sum()))
    assert np.mean(shares) == pytest.approx(0.75, abs=0.01) and np.std(shares) > 0.005
    with pytest.raises(ValueError, match="masked_share must be in"):
        profiles(toy, 1.0)


def test_the_whole_catalogue_leaves_cold_items_out(toy):
    (window,), n_items = windows(toy, [6], 2), toy.catalogue.n_items
    cold = n_items - 1
    warm = np.array([i for i in range(n_items) if i != cold])
    batch = batch_of(window, window.users, n_items, warm, None, generator())
    bought = {row for row, user in enumerate(window.users) if cold in window.targets.row(user)}
    known = [cold in window.table.item[window.table.indptr[u] : window.table.indptr[u + 1]] for u in window.users]
    hidden = [row not in bought and not known[row] for row in range(len(window.users))]
    assert torch.isinf(batch.log_weight[:, cold]).tolist() == hidden
    assert (batch.log_weight[:, warm] == 0).all()


def test_labels_and_weights_equal_a_slow_reference(toy):
    (window,), n_items = windows(toy, [6], 2), toy.catalogue.n_items
    users = window.users[:9]
    batch = batch_of(window, users, n_items, np.arange(n_items), 10, generator())
    drawn = set(torch.randint(n_items, (10,), generator=generator()).tolist())
    for row, user in enumerate(users):
        start, end = window.table.indptr[user : user + 2]
        history, positive = set(window.table.item[start:end].tolist()), set(window.targets.row(user).tolist())
        own, free = history | positive, drawn - history - positive
        real = {}
        for item, label, weight in zip(batch.targets[row], batch.labels[row], batch.log_weight[row], strict=True):
            if weight > -math.inf:
                assert int(item) not in real, "an item stands twice"
                real[int(item)] = (float(label), float(weight))
            else:
                assert label == 0
        represented = math.log((n_items - len(own)) / len(free))
        assert set(real) == own | free
        for item, (label, weight) in real.items():
            assert label == (item in positive)
            assert weight == pytest.approx(0.0 if item in own else represented, abs=1e-6)
    assert batch.users.tolist() == users.tolist() and not batch.profile
    assert batch.history.moment == 6 and (batch.history.age[batch.history.presence > 0] >= 1).all()


def test_the_sampled_bernoulli_loss_is_unbiased(toy):
    (window,), n_items = windows(toy, [6], 2), toy.catalogue.n_items
    users, g = window.users[:6], generator(3)
    scores = 2 * torch.randn(len(users), n_items, generator=g)
    labels = torch.zeros(len(users), n_items)
    for row, user in enumerate(users):
        labels[row, window.targets.row(user)] = 1.0
    exact = Bernoulli()(scores, labels, torch.zeros_like(scores))
    draws = []
    for _ in range(1500):
        batch = batch_of(window, users, n_items, np.arange(n_items), 12, g)
        draws.append(Bernoulli()(scores.gather(1, batch.targets), batch.labels, batch.log_weight))
    draws = torch.stack(draws)
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - exact).abs() < 4 * error + 1e-5).all()
    assert (error > 0).any()


def test_items_stand_for_the_whole_catalogue(toy):
    (window,), n_items = windows(toy, [6], 2), toy.catalogue.n_items
    batch = batch_of(window, window.users, n_items, np.arange(n_items), 12, generator())
    np.testing.assert_allclose(batch.log_weight.exp().sum(1).numpy(), n_items, rtol=1e-5)


def test_negatives_are_drawn_from_warm_items_only_and_stand_for_those(toy):
    (window,), n_items = windows(toy, [6], 2), toy.catalogue.n_items
    own = set(window.table.item.tolist()) | set(window.targets.item.tolist())
    warm = np.array(sorted({*own, *range(0, n_items, 2)}))
    cold = set(range(n_items)) - set(warm.tolist())
    assert cold or n_items == len(warm)
    warm = warm[: len(warm) - 1] if not cold else warm
    for seed in range(20):
        batch = batch_of(window, window.users, n_items, warm, 12, generator(seed))
        drawn = set(batch.targets[batch.log_weight > -math.inf].tolist()) - own
        assert not drawn & cold
        np.testing.assert_allclose(batch.log_weight.exp().sum(1).numpy(), len(warm), rtol=1e-5)


@pytest.mark.parametrize("n_negatives", [None, 12])
def test_hidden_only_makes_targets_of_what_is_hidden_and_no_candidates_of_the_rest(toy, n_negatives):
    (window,), n_items = profiles(toy, 0.4, hidden_only=True), toy.catalogue.n_items
    batch = batch_of(window, window.users, n_items, np.arange(n_items), n_negatives, generator())
    for row, user in enumerate(window.users):
        whole = set(window.targets.row(user).tolist())
        shown = set(batch.history.item[row][batch.history.presence[row] > 0].tolist())
        items = range(n_items) if batch.targets is None else batch.targets[row].tolist()
        real = {
            item: float(label)
            for item, label, weight in zip(items, batch.labels[row], batch.log_weight[row], strict=True)
            if weight > -math.inf
        }
        assert shown and not shown & set(real)
        assert {item for item, label in real.items() if label} == whole - shown
    with pytest.raises(ValueError, match="hidden_only=true needs a training.masked_share above 0"):
        profiles(toy, 0.0, hidden_only=True)


@pytest.mark.parametrize("n_negatives", [None, 12])
def test_hidden_only_windows_have_new_targets_and_new_candidates(toy, n_negatives):
    (window,), n_items = windows(toy, [6], 2, hidden_only=True), toy.catalogue.n_items
    batch = batch_of(window, window.users, n_items, np.arange(n_items), n_negatives, generator())
    repeats = 0
    for row, user in enumerate(window.users):
        start, end = window.table.indptr[user : user + 2]
        known, positive = set(window.table.item[start:end].tolist()), set(window.targets.row(user).tolist())
        items = range(n_items) if batch.targets is None else batch.targets[row].tolist()
        real = {
            item: float(label)
            for item, label, weight in zip(items, batch.labels[row], batch.log_weight[row], strict=True)
            if weight > -math.inf
        }
        assert not known & set(real)
        assert {item for item, label in real.items() if label} == positive - known
        repeats += len(positive & known)
    assert repeats
