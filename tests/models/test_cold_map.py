"""Columns of cold items against the normal equations and a loop; warm columns stay."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from xrec.models import cold_map as module
from xrec.models.cold_map import AlignedColdMap, RidgeColdMap, SimilarColdMap
from xrec.models.tfidf import tfidf_attributes

COLD = [3, 7, 8]


@pytest.fixture
def table(toy):
    """The toy's training histories; nobody has the items of COLD (some have seen one)."""
    table = toy.histories(toy.train_end + 1)
    return replace(table, positive=np.where(np.isin(table.item, COLD), 0.0, table.positive).astype(np.float32))


@pytest.fixture
def weights(toy) -> np.ndarray:
    found = np.random.default_rng(0).normal(size=(toy.catalogue.n_items,) * 2).astype(np.float32)
    np.fill_diagonal(found, 0.0)
    return found


def parts(toy) -> tuple[np.ndarray, np.ndarray]:
    attributes = tfidf_attributes(toy.catalogue, "test").toarray().astype(np.float64)
    return attributes, np.array([i for i in range(toy.catalogue.n_items) if i not in COLD])


@pytest.mark.parametrize("columns", [2, 512])
def test_the_ridge_map_solves_the_normal_equations(toy, table, weights, columns, monkeypatch):
    monkeypatch.setattr(module, "_COLUMNS", columns)
    attributes, warm = parts(toy)
    found = RidgeColdMap(regularization=0.5).fill(weights.copy(), table, toy.catalogue)
    known = attributes[warm]
    coefficients = np.linalg.solve(known.T @ known + 0.5 * np.eye(known.shape[1]), known.T @ weights[:, warm].T)
    wanted = weights.copy()
    wanted[:, COLD] = (attributes[COLD] @ coefficients).T
    wanted[COLD, COLD] = 0.0
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("columns", [2, 512])
def test_similar_items_columns_are_averaged(toy, table, weights, columns, monkeypatch):
    monkeypatch.setattr(module, "_COLUMNS", columns)
    attributes, warm = parts(toy)
    found = SimilarColdMap(power=2.0, shrinkage=0.5).fill(weights.copy(), table, toy.catalogue)
    wanted = weights.copy()
    for cold in COLD:
        similar = [float(attributes[cold] @ attributes[i]) ** 2 for i in warm]
        wanted[:, cold] = sum(s * weights[:, i] for s, i in zip(similar, warm, strict=True)) / (sum(similar) + 0.5)
        wanted[cold, cold] = 0.0
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def similarities(toy, table, power: float) -> tuple[np.ndarray, np.ndarray]:
    """X, and sum_k mu_k G_k by one least squares over all users and items with an event."""
    n_items = toy.catalogue.n_items
    x = np.zeros((table.n_users, n_items))
    x[table.user(), table.item] = table.positive > 0
    single = []
    for field in toy.catalogue.item_fields:
        if field.kind != "numeric":
            attributes = tfidf_attributes(replace(toy.catalogue, item_fields=(field,)), "test").toarray().astype(float)
            single.append(np.maximum(attributes @ attributes.T, 0) ** power)
    assert len(single) > 1
    every = np.stack([*single, *(one * other for one, other in combinations(single, 2))])
    warm = [i for i in range(n_items) if i not in COLD]
    said = [(x @ (g * (1 - np.eye(n_items))))[:, warm].ravel() for g in every]
    mu = np.linalg.lstsq(np.stack(said, 1), x[:, warm].ravel(), rcond=None)[0]
    return x, np.einsum("k,kij->ij", mu, every)


@pytest.mark.parametrize("columns", [2, 512])
@pytest.mark.parametrize("alpha", [0.5, 20.0])
def test_aligned_columns_solve_the_paper_s_normal_equations(toy, table, weights, columns, alpha, monkeypatch):
    """MARec's loss |X - XB|^2 + alpha |(XB - XG) D|^2 + lambda |B|^2, D picking the cold items."""
    monkeypatch.setattr(module, "_COLUMNS", columns)
    found = AlignedColdMap(regularization=3.0, power=2.0).fill(weights.copy(), table, toy.catalogue)
    x, similar = similarities(toy, table, 2.0)
    left = (1 + alpha) * (x.T @ x + 3.0 * np.eye(len(weights)))
    for cold in COLD:
        wanted = np.linalg.solve(left, x.T @ x[:, cold] + alpha * x.T @ x @ similar[:, cold])
        np.testing.assert_allclose(found[:, cold], wanted * (1 + alpha) / alpha, atol=1e-5)
    warm = parts(toy)[1]
    np.testing.assert_array_equal(found[:, warm], weights[:, warm])


@pytest.mark.parametrize("cold_map", [AlignedColdMap(), RidgeColdMap(), SimilarColdMap()])
def test_without_cold_items_nothing_changes(toy, weights, cold_map):
    table = toy.histories(toy.train_end + 1)
    assert len(np.unique(table.item)) == toy.catalogue.n_items
    np.testing.assert_array_equal(cold_map.fill(weights.copy(), table, toy.catalogue), weights)


def test_each_map_has_a_key_of_its_own():
    maps = (
        AlignedColdMap(3.0),
        AlignedColdMap(),
        RidgeColdMap(),
        RidgeColdMap(2.0),
        SimilarColdMap(),
        SimilarColdMap(5.0),
    )
    keys = [m.key() for m in maps]
    assert all(a != b for i, a in enumerate(keys) for b in keys[:i])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RidgeColdMap(0.0), "cold_map.regularization must be above 0, got 0.0"),
        (lambda: AlignedColdMap(0.0), "cold_map.regularization must be above 0, got 0.0"),
        (lambda: AlignedColdMap(power=0.0), "cold_map.power must be above 0, got 0.0"),
        (lambda: SimilarColdMap(power=0.0), "cold_map.power must be above 0, got 0.0"),
        (lambda: SimilarColdMap(shrinkage=0.0), "cold_map.shrinkage must be above 0, got 0.0"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
