"""Item-kNN, content-kNN and EASE's recency against loops and other packages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from tests.models.test_closed_form import primal
from tests.models.test_gram import by_loops
from tests.toys import fit_data, histories
from xrec.models.baselines.content_knn import ContentKNN
from xrec.models.baselines.ease import EASE
from xrec.models.baselines.item_knn import ItemKNN, keep_largest
from xrec.models.tfidf import tfidf_attributes


def fitted(model, toy, tmp_path):
    model.fit(fit_data(toy, tmp_path))
    return model


def training_matrix(toy) -> np.ndarray:
    matrix = np.zeros((toy.catalogue.n_users, toy.catalogue.n_items))
    train = toy.time <= toy.train_end
    matrix[toy.user[train], toy.item[train]] = 1.0
    return matrix


def test_item_knn_without_shrinkage_is_the_cosine(toy, tmp_path):
    found = fitted(ItemKNN(toy.catalogue, n_neighbours=None, shrinkage=0.0), toy, tmp_path).weights.numpy()
    wanted = cosine_similarity(training_matrix(toy).T)
    np.fill_diagonal(wanted, 0.0)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_item_knn_keeps_the_nearest_neighbours_of_each_target(toy, tmp_path):
    whole = fitted(ItemKNN(toy.catalogue, None, 3.0), toy, tmp_path).weights.numpy()
    found = fitted(ItemKNN(toy.catalogue, 4, 3.0), toy, tmp_path).weights.numpy()
    counts = training_matrix(toy).T @ training_matrix(toy)
    for target in range(toy.catalogue.n_items):
        shrunk = counts[:, target] / (np.sqrt(np.diag(counts) * counts[target, target]) + 3.0)
        shrunk[target] = 0.0
        np.testing.assert_allclose(whole[:, target], shrunk, atol=1e-6)
        kept = sorted(range(len(shrunk)), key=lambda j: (-whole[j, target], j))[:4]
        wanted = np.zeros_like(shrunk)
        wanted[kept] = shrunk[kept]
        np.testing.assert_allclose(found[:, target], wanted, atol=1e-6)


def test_of_equal_similarities_the_first_stay():
    columns = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 3.0], [1.0, 0.0]], dtype=np.float32)
    keep_largest(columns, 2)
    assert columns.tolist() == [[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.0]]


def test_item_knn_s_counts_may_decay_with_the_gap(toy, tmp_path):
    found = fitted(ItemKNN(toy.catalogue, None, 1.0, gram_decay=0.5), toy, tmp_path).weights.numpy()
    counts = by_loops(toy.histories(toy.train_end + 1), toy.catalogue.n_items, 0.5)
    root = np.sqrt(np.diag(counts))
    wanted = counts / (np.outer(root, root) + 1.0)
    np.fill_diagonal(wanted, 0.0)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_content_knn_is_a_power_of_the_cosine(toy, tmp_path, power):
    model = fitted(ContentKNN(toy.catalogue, power), toy, tmp_path)
    wanted = cosine_similarity(tfidf_attributes(toy.catalogue, "test").toarray()) ** power
    np.fill_diagonal(wanted, 0.0)
    np.testing.assert_allclose(model.weights.numpy(), wanted, atol=1e-5)
    assert model.capabilities.cold_items


def test_ease_s_weights_are_those_of_its_gram(toy, tmp_path):
    model = EASE(toy.catalogue, 5.0, gram_decay=0.8, attribute_weight=3.0, diagonal_scale=1.2)
    found = fitted(model, toy, tmp_path).weights.numpy()
    attributes = tfidf_attributes(toy.catalogue, "test").toarray()
    gram = by_loops(toy.histories(toy.train_end + 1), toy.catalogue.n_items, 0.8) + 3.0 * attributes @ attributes.T
    gram[np.diag_indices(len(gram))] *= 1.2
    inverse = np.linalg.inv(gram + 5.0 * np.eye(len(gram)))
    wanted = -inverse / np.diag(inverse)
    np.fill_diagonal(wanted, 0.0)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert model.capabilities.cold_items and not EASE(toy.catalogue).capabilities.cold_items
    plain = fitted(EASE(toy.catalogue, 5.0), toy, tmp_path).weights.numpy()
    np.testing.assert_allclose(plain, primal(training_matrix(toy), 5.0), atol=1e-5)  # another entry of the cache


def test_recency_is_a_power_of_the_age_or_a_log_of_decayed_events(toy, tmp_path):
    history = histories(toy, [0, 3])
    there = history.presence * history.positive
    for options, wanted in (
        ({"history_decay": 0.5}, 0.5 ** (history.age - 1)),
        ({"half_life": 4.0}, torch.log1p(history.decayed[..., 2])),
        ({}, torch.ones_like(history.age)),
    ):
        model = fitted(EASE(toy.catalogue, 5.0, **options), toy, tmp_path)
        torch.testing.assert_close(model.amounts(history), torch.where(there > 0, wanted, 0.0))
        scores = torch.einsum("bl,bli->bi", there * wanted, model.weights[history.item])
        torch.testing.assert_close(model.score(model.prepare(history))[:, 0], scores, atol=1e-5, rtol=1e-5)


def test_only_a_part_of_the_history_that_is_predicted_counts(toy, tmp_path):
    from dataclasses import replace

    history = histories(toy, [0])
    seen = history.positive.clone()
    seen[0, 0] = 0.0
    model = fitted(EASE(toy.catalogue, 5.0, history_decay=0.5), toy, tmp_path)
    found = model.score(model.prepare(replace(history, positive=seen)))
    keep = torch.ones(history.item.shape[1])
    keep[0] = 0
    torch.testing.assert_close(found, model.score(model.prepare(history.without(keep))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: EASE(c, history_decay=0.0), "EASE: history_decay must be above 0 and at most 1, or null, got 0.0"),
        (lambda c: EASE(c, half_life=3.0), "EASE: half_life must be one of .*, or null, got 3.0"),
        (lambda c: EASE(c, history_decay=0.5, half_life=4.0), "history_decay and half_life are both given"),
        (lambda c: ItemKNN(c, n_neighbours=0), "n_neighbours must be at least 1, or null, got 0"),
        (lambda c: ItemKNN(c, shrinkage=-1.0), "shrinkage must be 0 or more, got -1.0"),
        (lambda c: ItemKNN(c, gram_decay=2.0), "gram_decay must be above 0 and at most 1, or null, got 2.0"),
        (lambda c: ContentKNN(c, power=0.0), "power must be above 0, got 0.0"),
    ],
)
def test_bad_arguments_are_named(toy, make, message):
    with pytest.raises(ValueError, match=message):
        make(toy.catalogue)
