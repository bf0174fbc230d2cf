"""Gram matrices with decay and attributes against loops; EASE from them against the inverse in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.models.test_closed_form import primal
from xrec.models import gram as module
from xrec.models.gram import Gram, co_occurrences, mirror, transitions, weights_of
from xrec.models.tfidf import tfidf_attributes


def by_loops(table, n_items: int, decay: float) -> np.ndarray:
    found = np.zeros((n_items, n_items))
    for user in range(table.n_users):
        row = range(table.indptr[user], table.indptr[user + 1])
        for e in row:
            for f in row:
                if table.positive[e] and table.positive[f]:
                    found[table.item[e], table.item[f]] += decay ** abs(table.age[e] - table.age[f])
    return found


@pytest.fixture
def table(toy):
    """The toy's, with every seventh entry only seen."""
    table = toy.histories(9)
    positive = table.positive.copy()
    positive[::7] = 0.0
    return replace(table, positive=positive)


@pytest.mark.parametrize("decay", [1.0, 0.7])
@pytest.mark.parametrize("pairs", [5, 100, 2**22])
def test_co_occurrences_decay_with_the_gap(table, toy, decay, pairs, monkeypatch):
    monkeypatch.setattr(module, "_PAIRS", pairs)
    found = co_occurrences(table, toy.catalogue.n_items, decay)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.tril(found), np.tril(by_loops(table, toy.catalogue.n_items, decay)), rtol=1e-5)


def test_attributes_and_the_diagonal_s_scale_stand_in_the_sum(table, toy, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 7)
    found = Gram(decay=0.7, attribute_weight=3.0, diagonal_scale=1.2).lower(table, toy.catalogue)
    mirror(found)
    attributes = tfidf_attributes(toy.catalogue, "test").toarray().astype(np.float64)
    wanted = by_loops(table, toy.catalogue.n_items, 0.7) + 3.0 * attributes @ attributes.T
    wanted[np.diag_indices(len(wanted))] *= 1.2
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_without_options_it_is_the_plain_one(table, toy):
    assert Gram().plain and Gram().key() == {}
    assert not Gram(decay=0.9).plain and Gram(decay=0.9).key() != Gram(decay=0.8).key()
    found = Gram().lower(table, toy.catalogue)
    np.testing.assert_array_equal(np.tril(found), np.tril(by_loops(table, toy.catalogue.n_items, 1.0)))


@pytest.mark.parametrize("pairs", [5, 2**22])
def test_transitions_count_what_came_after_what(table, toy, pairs, monkeypatch):
    monkeypatch.setattr(module, "_PAIRS", pairs)
    wanted = np.zeros((toy.catalogue.n_items,) * 2)
    for user in range(table.n_users):
        row = range(table.indptr[user], table.indptr[user + 1])
        for j, i in ((j, i) for j in row for i in row if table.age[j] > table.age[i]):
            wanted[table.item[j], table.item[i]] += (
                table.positive[j] * table.positive[i] * 0.7 ** (table.age[j] - table.age[i] - 1)
            )
    found = transitions(table, toy.catalogue.n_items, 0.7)
    np.testing.assert_allclose(found.toarray(), wanted, rtol=1e-5)
    assert np.abs(wanted - wanted.T).max() > 1


@pytest.mark.parametrize("rows", [5, 1024])
def test_with_transitions_the_weights_are_the_minimum_without_a_diagonal(table, toy, rows, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", rows)
    found = Gram(decay=0.7, transition_weight=0.5).weights(table, toy.catalogue, 5.0)
    gram = by_loops(table, toy.catalogue.n_items, 0.7)
    wanted = gram + 0.5 * transitions(table, toy.catalogue.n_items, 0.7).toarray()
    for i in range(len(gram)):  # one regression at a time, as in `naive`
        rest = [j for j in range(len(gram)) if j != i]
        column = np.linalg.solve(gram[np.ix_(rest, rest)] + 5.0 * np.eye(len(rest)), wanted[rest, i])
        np.testing.assert_allclose(found[rest, i], column, atol=1e-5)
        assert found[i, i] == 0


def test_histories_of_nobody_have_a_gram_of_zeros(toy):
    assert not co_occurrences(toy.histories(0), toy.catalogue.n_items, 0.5).any()


def skewed(n_users: int = 3000, n_items: int = 700) -> np.ndarray:
    """A binary matrix of popular and rare items, as logs are."""
    rng = np.random.default_rng(0)
    return (rng.random((n_users, n_items)) < 0.5 / np.arange(1, n_items + 1) ** 0.6).astype(np.float64)


@pytest.mark.parametrize("rows", [64, 4096])
def test_float32_gives_the_weights_of_float64(rows, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", rows)
    matrix = skewed()
    gram = (matrix.T @ matrix).astype(np.float32)
    wanted = primal(matrix, 100.0)
    upper = np.triu(np.full_like(gram, 77.0), 1)  # whatever stands above the diagonal
    found = weights_of(np.tril(gram) + upper, 100.0)
    assert found.dtype == np.float32 and (np.diag(found) == 0).all()
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert np.abs(wanted).max() > 0.09


def test_float32_is_left_where_it_is_not_accurate():
    matrix = np.repeat(skewed(20, 80), 200, axis=0)  # 20 kinds of users: as ill-conditioned as lambda lets it be
    gram = (matrix.T @ matrix).astype(np.float32)
    wanted = primal(matrix, 1e-3)
    np.testing.assert_allclose(weights_of(gram.copy(), 1e-3), wanted, atol=1e-5)
    single = np.linalg.inv(gram + np.float32(1e-3) * np.eye(len(gram), dtype=np.float32))
    rough = -single / np.diag(single)
    np.fill_diagonal(rough, 0.0)
    assert np.abs(rough - wanted).max() > 1e-3


def test_a_matrix_that_cannot_be_inverted_is_named():
    with pytest.raises(ValueError, match="cannot be inverted; raise the regularization"):
        weights_of(-np.ones((3, 3), dtype=np.float32), 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": 0.0}, "gram_decay must be above 0 and at most 1, or null, got 0.0"),
        ({"decay": 1.5}, "gram_decay must be above 0"),
        ({"attribute_weight": -1.0}, "attribute_weight must be 0 or more, got -1.0"),
        ({"transition_weight": -0.1}, "transition_weight must be 0 or more, got -0.1"),
        ({"diagonal_scale": 0.9}, "diagonal_scale must be at least 1, got 0.9"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Gram(**settings)
