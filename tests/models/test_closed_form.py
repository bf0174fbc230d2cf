"""EASE's dual solution against the primal one, and histories as sparse matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from tests.toys import fit_data, histories
from xrec.errors import SettingError
from xrec.models.baselines.ease import EASE
from xrec.models.closed_form import Ease, ease_weights
from xrec.models.sparse import interactions
from xrec.types import HistoryTable


def primal(matrix: np.ndarray, regularization: float) -> np.ndarray:
    """Steck's own formula, in float64: B = -P / diag(P), diagonal 0."""
    inverse = np.linalg.inv(matrix.T @ matrix + regularization * np.eye(matrix.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def naive(matrix: np.ndarray, regularization: float) -> np.ndarray:
    """Column i: ridge regression of item i on all the others, one at a time."""
    n_items = matrix.shape[1]
    weights = np.zeros((n_items, n_items))
    for i in range(n_items):
        rest = [j for j in range(n_items) if j != i]
        x = matrix[:, rest]
        weights[rest, i] = np.linalg.solve(x.T @ x + regularization * np.eye(n_items - 1), x.T @ matrix[:, i])
    return weights


@pytest.fixture(params=[(6, 15), (20, 8), (5, 5)], ids=["few users", "few items", "square"])
def matrix(request) -> np.ndarray:
    binary = (np.random.default_rng(3).random(request.param) < 0.4).astype(np.float64)
    binary[:, 0] = 0.0  # an item nobody has
    return binary


@pytest.mark.parametrize("regularization", [0.5, 20.0])
def test_the_dual_solution_is_the_primal_one(matrix, regularization):
    found = Ease.solve(csr_matrix(matrix, dtype=np.float32), regularization).matrix()
    np.testing.assert_allclose(found, primal(matrix, regularization), atol=1e-4)
    np.testing.assert_allclose(found, naive(matrix, regularization), atol=1e-4)
    assert (np.diag(found) == 0).all()


@pytest.mark.parametrize("regularization", [0.01, 0.5, 5.0])
def test_few_users_and_little_regularization_are_as_accurate(regularization):
    """Items that many users have alone: a weight is what is left of a sum of users / lambda times its size."""
    matrix = np.zeros((60, 200))
    matrix[:40, 7] = 1.0
    matrix[40:, 3:9] = np.random.default_rng(0).random((20, 6)) < 0.5
    solved = Ease.solve(csr_matrix(matrix, dtype=np.float32), regularization)
    wanted = primal(matrix, regularization)
    np.testing.assert_allclose(solved.matrix(), wanted, atol=1e-5)
    np.testing.assert_allclose(solved.apply(csr_matrix(matrix[:5], dtype=np.float32)), matrix[:5] @ wanted, atol=1e-5)


def test_what_cannot_be_inverted_is_named():
    with pytest.raises(SettingError, match="raise the regularization"):
        Ease.solve(csr_matrix(np.ones((5, 9), dtype=np.float32)), 1e-30)


def test_applying_equals_multiplying_by_the_weights(matrix):
    solved = Ease.solve(csr_matrix(matrix, dtype=np.float32), 2.0)
    other = np.random.default_rng(8).random((3, matrix.shape[1]), dtype=np.float32)
    np.testing.assert_allclose(solved.apply(csr_matrix(other)), other @ solved.matrix(), atol=1e-5)


@pytest.mark.parametrize("n_users", [3, 12, 40])
def test_the_smaller_space_is_solved_and_gives_the_same_weights(n_users):
    rng = np.random.default_rng(5)
    binary = (rng.random((n_users, 12)) < 0.3).astype(np.float64)
    seen = binary * (rng.random(binary.shape) < 0.8)  # the others are entries, but no positive ones
    user, item = np.nonzero(binary)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n_users))])
    ones = np.ones(len(item), dtype=np.float32)
    positive = seen[user, item].astype(np.float32)
    decayed = np.ones((len(item), 6), dtype=np.float32)
    table = HistoryTable(5, indptr, item, ones, ones, ones, ones, item * 0, positive, decayed)
    found = ease_weights(table, 12, 2.0)
    np.testing.assert_allclose(found, primal(seen, 2.0), atol=1e-4 if n_users < 12 else 1e-7)
    assert found.dtype == np.float32 and (np.diag(found) == 0).all()


def test_interactions_hold_the_values_of_positive_entries(toy):
    table = toy.histories(9)
    first = table.item[0]  # of one item nothing is positive
    table = replace(table, positive=np.where(table.item == first, np.float32(0), table.positive))
    sparse = interactions(table, toy.catalogue.n_items, table.strength)
    found = sparse.toarray()
    assert sparse.nnz == (table.item != first).sum() > 0
    np.testing.assert_array_equal(table.item, toy.histories(9).item)  # the table is as it was
    np.testing.assert_array_equal(table.indptr, toy.histories(9).indptr)
    assert (interactions(table, toy.catalogue.n_items).toarray() == (found > 0)).all()
    for user in range(table.n_users):
        entries = slice(table.indptr[user], table.indptr[user + 1])
        wanted = np.zeros(toy.catalogue.n_items)
        wanted[table.item[entries]] = table.strength[entries]
        wanted[first] = 0.0
        assert found[user].tolist() == wanted.tolist()


def test_ease_is_fitted_on_training_periods_only(toy, tmp_path):
    model = EASE(toy.catalogue, regularization=5.0)
    model.fit(fit_data(toy, tmp_path))
    train = np.zeros((toy.catalogue.n_users, toy.catalogue.n_items))
    for user, item, time in zip(toy.user, toy.item, toy.time, strict=True):
        if time <= toy.train_end:
            train[user, item] = 1.0
    np.testing.assert_allclose(model.weights.numpy(), primal(train, 5.0), atol=1e-4)
    history = histories(toy, [0, 1])
    scores = model.score(model.prepare(history))[:, 0]
    for row in range(2):
        items = history.item[row][history.presence[row] > 0].numpy()
        np.testing.assert_allclose(scores[row].numpy(), primal(train, 5.0)[items].sum(0), atol=1e-4)


@pytest.mark.parametrize("regularization", [0.0, -1.0])
def test_a_ridge_of_nothing_is_refused(toy, regularization):
    with pytest.raises(ValueError, match="regularization must be above 0, got"):
        EASE(toy.catalogue, regularization)
