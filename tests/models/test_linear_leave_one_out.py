"""The linear path without the user's own row, against an EASE that is really fitted without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.toys import fit_data
from xrec.models.components.linear import Linear, best_scale, precision_diagonal
from xrec.models.history import History
from xrec.models.recommender import Context

REGULARIZATION = 3.0


def binary(toy) -> np.ndarray:
    """[U, I] who bought what in training."""
    matrix = np.zeros((toy.catalogue.n_users, toy.catalogue.n_items))
    trained = toy.time <= toy.train_end
    matrix[toy.user[trained], toy.item[trained]] = 1.0
    return matrix


def refitted(matrix: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(matrix.T @ matrix + REGULARIZATION * np.eye(matrix.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


@pytest.fixture
def linear(toy, tmp_path) -> Linear:
    path = Linear(toy.catalogue, 4, regularization=REGULARIZATION)
    path.attach(fit_data(toy, tmp_path))
    with torch.no_grad():
        path.mix.copy_(torch.tensor([0.7, -0.4, 1.3]))
        path.scale.fill_(2.0)
    return path


@pytest.mark.parametrize("moment", [5, 9])
def test_it_equals_an_ease_fitted_without_the_user(toy, linear, moment):
    users = [0, 3, 7, 11]
    history = History.from_table(toy.histories(moment), users)
    matrix, amounts = binary(toy), linear.amounts(history).detach().numpy()
    wanted = np.zeros((len(users), toy.catalogue.n_items))
    for row, user in enumerate(users):
        weights = refitted(np.delete(matrix, user, axis=0))
        for place, item in enumerate(history.item[row].tolist()):
            wanted[row] += amounts[row, place] * weights[item]
    ids, some = torch.tensor(users), torch.tensor([[1, 4, 4], [0, 2, 9], [5, 6, 7], [8, 1, 0]])
    found = linear.leave_one_out(history, ids).detach()
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    torch.testing.assert_close(linear.leave_one_out(history, ids, some), found.gather(1, some))
    for targets in (None, some):
        context = Context(history, users=ids, profile=True)
        summands = linear.contributions(context, targets).detach()
        expected = found if targets is None else found.gather(1, targets)
        torch.testing.assert_close(summands.sum(1), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(linear.score(context, None, targets)[:, 0].detach(), expected)
        half = (torch.arange(history.item.shape[1]) % 2 == 0).float().expand_as(history.presence).unsqueeze(1)
        masked = linear.score(context, half, targets).detach()
        torch.testing.assert_close(masked[:, 0], (summands * half[:, 0].unsqueeze(-1)).sum(1), atol=1e-4, rtol=1e-4)


def test_a_bought_item_says_nothing_of_itself(toy, linear):
    """A user's own purchase of the target must not show in the score that predicts it."""
    history = History.from_table(toy.histories(9), [3])
    own = history.item[0, :1].unsqueeze(0)
    context = Context(history, users=torch.tensor([3]), profile=True)
    assert float(linear.contributions(context, own)[0, 0, 0].detach()) == 0.0


def test_the_precision_s_diagonal_comes_from_the_weights(toy, tmp_path, linear):
    inverse = np.linalg.inv(binary(toy).T @ binary(toy) + REGULARIZATION * np.eye(toy.catalogue.n_items))
    found = precision_diagonal(fit_data(toy, tmp_path), linear.weights, REGULARIZATION)
    np.testing.assert_allclose(found, np.diag(inverse), rtol=1e-4)


def test_a_calendar_uses_the_weights_before_the_window_and_own_periods_leave_one_out(toy, linear, monkeypatch):
    history, ids = History.from_table(toy.histories(5), [0, 3]), torch.tensor([0, 3])
    context, targets = Context(history, users=ids), torch.tensor([[1, 2], [3, 4]])
    before = linear.score(context, None, targets)
    torch.testing.assert_close(before[:, 0], linear.window_total(history, ids, targets))
    torch.testing.assert_close(linear.score(context)[:, 0].gather(1, targets), before[:, 0])
    monkeypatch.setattr(type(toy), "own_periods", True)
    torch.testing.assert_close(linear.score(context, None, targets)[:, 0], linear.leave_one_out(history, ids, targets))


@pytest.mark.parametrize("scale", [1.5, 8.0, 40.0])
def test_the_scale_that_data_were_drawn_with_is_found(scale):
    generator = torch.Generator().manual_seed(0)
    path, offset = torch.rand(400, 30, generator=generator, dtype=torch.float64), torch.linspace(0, 2, 30)
    share = torch.softmax(scale * path + offset, -1)
    assert float(best_scale(path, offset.double(), 20 * share)) == pytest.approx(scale, rel=1e-3)


def test_a_path_that_says_nothing_starts_at_one():
    path = torch.rand(50, 9, generator=torch.Generator().manual_seed(0))
    assert float(best_scale(path, torch.zeros(9), torch.softmax(-3 * path, -1))) == 1.0


def test_the_start_is_fitted_on_training_events_only(toy, tmp_path, linear, monkeypatch):
    seen = []

    def watched(path, offset, targets):
        seen.append((path, offset, targets))
        return torch.tensor(5.0)

    monkeypatch.setattr("xrec.models.components.linear.best_scale", watched)
    names = ("user", "item", "time", "strength", "kind")
    for kept in (toy.time <= toy.train_end + 4, toy.time <= toy.train_end, toy.time <= toy.train_end - 1):
        linear.fit(fit_data(replace(toy, **{name: getattr(toy, name)[kept] for name in names}), tmp_path))
        assert float(linear.scale) == 5.0
    for whole, trained, fewer in zip(*seen, strict=True):
        assert torch.equal(whole, trained) and not torch.equal(trained, fewer)
    assert torch.equal(seen[0][2].sum(0), torch.expm1(seen[0][1]).round())  # targets and popularity of all 40 users
