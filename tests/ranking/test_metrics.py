"""Ranking metrics by hand, and NDCG against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from xrec.ranking import metrics

HITS = np.array([[True, False, True, False], [False, False, False, False], [False, True, False, False]])
N_TARGETS = np.array([3, 2, 1])


def log2(x):
    return np.log2(x)


def test_ndcg_by_hand():
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    np.testing.assert_allclose(metrics.ndcg_at_k(HITS, N_TARGETS, 4), [(1 + 1 / log2(4)) / ideal, 0, 1 / log2(3)])
    np.testing.assert_allclose(metrics.ndcg_at_k(HITS, N_TARGETS, 2), [1 / (1 + 1 / log2(3)), 0, 1 / log2(3)])
    np.testing.assert_allclose(metrics.ndcg_at_k(HITS, N_TARGETS, 1), [1, 0, 0])


def test_recall_by_hand_is_out_of_what_fits():
    np.testing.assert_allclose(metrics.recall_at_k(HITS, N_TARGETS, 4), [2 / 3, 0, 1])
    np.testing.assert_allclose(metrics.recall_at_k(HITS, N_TARGETS, 2), [1 / 2, 0, 1])


def test_map_by_hand():
    np.testing.assert_allclose(metrics.map_at_k(HITS, N_TARGETS, 4), [(1 + 2 / 3) / 3, 0, 1 / 2])
    np.testing.assert_allclose(metrics.map_at_k(HITS, N_TARGETS, 2), [1 / 2, 0, 1 / 2])


def test_reciprocal_rank_by_hand():
    np.testing.assert_allclose(metrics.reciprocal_rank(np.array([1, 4, 2])), [1, 0.25, 0.5])


def test_coverage_and_gini_by_hand():
    lists = np.array([[0, 1], [0, -1], [0, 2]])
    assert metrics.coverage(lists, 5) == 3 / 5
    counts = [3, 1, 1, 0, 0]
    mean_difference = sum(abs(a - b) for a in counts for b in counts) / 25
    assert metrics.gini(lists, 5) == pytest.approx(mean_difference / (2 * np.mean(counts)))
    assert metrics.gini(np.array([[0], [1]]), 2) == pytest.approx(0)
    assert metrics.gini(np.array([[1], [1]]), 4) == pytest.approx(1 - 1 / 4)


def test_novelty_by_hand_in_bits():
    popularity = np.array([1 / 2, 1 / 8, 1.0])
    np.testing.assert_allclose(metrics.novelty(np.array([[0, 1], [2, -1]]), popularity), [(1 + 3) / 2, 0])


@pytest.mark.parametrize("k", [1, 3, 10])
def test_ndcg_is_scikit_learn_s(k):
    rng = np.random.default_rng(0)
    scores, relevant = rng.permuted(np.tile(np.arange(12.0), (20, 1)), axis=1), rng.random((20, 12)) < 0.3
    relevant[:, 0] = True
    hits = np.take_along_axis(relevant, np.argsort(-scores, axis=1), axis=1)
    wanted = [ndcg_score(relevant[[u]], scores[[u]], k=k) for u in range(20)]
    np.testing.assert_allclose(metrics.ndcg_at_k(hits, relevant.sum(1), k), wanted)


@pytest.mark.parametrize("name", ["ndcg_at_k", "recall_at_k", "map_at_k"])
def test_a_perfect_list_has_one_and_a_cut_beyond_the_list_is_legal(name):
    perfect = np.array([[True, True, False]])
    for k in (1, 2, 3, 100):
        assert getattr(metrics, name)(perfect, np.array([2]), k).tolist() == [1.0]
