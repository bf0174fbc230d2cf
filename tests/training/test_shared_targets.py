"""Shared targets: the estimate of the catalogue's sum is unbiased, and every example has its own positive."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xrec.training.shared_targets import Negatives, NegativeSampler, shared_targets

COUNT = np.array([50.0, 20.0, 0.0, 5.0, 1.0, 24.0, 0.0, 0.0])
WARM = np.array([0, 1, 2, 3, 4, 5, 7])  # item 6 is cold


def sampler(n_draws: int = 6, share: float = 0.5) -> NegativeSampler:
    return NegativeSampler(COUNT, WARM, n_draws, share)


def test_half_is_by_popularity_and_half_uniform():
    assert sampler().q == pytest.approx(0.5 * COUNT[WARM] / 100 + 0.5 / 7)
    assert sampler(share=0.0).q == pytest.approx(np.full(7, 1 / 7))
    generator, drawn = torch.Generator().manual_seed(0), np.zeros(8)
    for _ in range(3000):
        negatives = sampler().draw(generator)
        drawn[negatives.item] += np.exp(negatives.log_weight) * 6 * sampler().q[np.searchsorted(WARM, negatives.item)]
    assert drawn[6] == 0  # weights times n q are how often an item was drawn
    assert drawn[WARM] / drawn.sum() == pytest.approx(sampler().q, abs=0.01)


def test_the_sum_over_the_catalogue_is_unbiased():
    generator, values = torch.Generator().manual_seed(1), np.exp(np.linspace(-1, 2, 8))
    estimates = []
    for _ in range(20000):
        negatives = sampler().draw(generator)
        estimates.append((np.exp(negatives.log_weight) * values[negatives.item]).sum())
    assert np.mean(estimates) == pytest.approx(values[WARM].sum(), rel=0.01)


def test_an_example_has_its_positive_and_the_negatives_but_not_the_positives_of_others():
    negatives = Negatives(np.array([1, 4, 7]), np.log(np.array([2.0, 3.0, 4.0], dtype=np.float32)))
    item, labels, log_weight = shared_targets(np.array([4, 0, 4]), negatives)
    assert item.tolist() == [0, 1, 4, 7]
    assert labels.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert np.exp(log_weight) == pytest.approx(np.array([[0, 2, 1, 4], [1, 2, 3, 4], [0, 2, 1, 4]], dtype=float))


@pytest.mark.parametrize(("change", "says"), [({"share": 1.0}, r"\[0, 1\)"), ({"n_draws": 0}, "at least 1")])
def test_impossible_settings_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        sampler(**change)
