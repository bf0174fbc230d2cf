"""Item features that start as PureSVD's factors: against numpy's SVD, and what is trained."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.toys import fit_data, toy_composed, train
from xrec.models.item_encoder.svd import SVD
from xrec.models.singular import singular_vectors


def scaled(toy, power: float) -> np.ndarray:
    """X over n_i^power of what training users have, one entry at a time."""
    x = np.zeros((toy.catalogue.n_users, toy.catalogue.n_items))
    for user, item, time in zip(toy.user.tolist(), toy.item.tolist(), toy.time.tolist(), strict=True):
        if time <= toy.train_end:
            x[user, item] = 1.0
    return x / np.maximum(x.sum(0), 1) ** power


@pytest.mark.parametrize(("size", "power"), [(4, 0.25), (4, 0.0), (25, 0.5)])  # iterative, iterative, dense
def test_scores_are_puresvd_s(toy, size, power):
    table = toy.histories(toy.train_end + 1)
    axes = singular_vectors(table, toy.catalogue.n_items, size, power)
    wanted = np.linalg.svd(scaled(toy, power), full_matrices=False)[2][:size]
    np.testing.assert_allclose(axes @ axes.T, wanted.T @ wanted, atol=1e-5)
    assert (axes.max(0) >= -axes.min(0)).all(), "a sign is a matter of chance"
    np.testing.assert_array_equal(axes, singular_vectors(table, toy.catalogue.n_items, size, power))


def test_the_start_has_the_deviation_asked_for_and_nothing_beyond_the_rank(toy, tmp_path):
    torch.manual_seed(0)
    encoder = SVD(toy.catalogue, 40, deviation=0.3)
    encoder.fit(fit_data(toy, tmp_path))
    features = encoder.features().detach()
    assert float(features.square().mean().sqrt()) == pytest.approx(0.3, rel=1e-5)
    rank = np.linalg.matrix_rank(scaled(toy, 0.25))
    assert rank < 40 and not features[:, rank:].any() and features[:, :rank].any(0).all()


def test_cold_items_have_no_feature(toy, tmp_path):
    cold = replace(toy.catalogue, cold=np.array([2, 5], dtype=np.int32))
    encoder = SVD(cold, 4)
    encoder.fit(fit_data(toy, tmp_path))
    assert not encoder.features()[[2, 5]].any() and encoder.features()[3].any()


@pytest.mark.parametrize("trained", [True, False])
def test_only_a_trained_start_moves(toy, tmp_path, trained):
    model = toy_composed(toy, item_encoder="embedding", noise=0.0)
    model.item_encoder = SVD(toy.catalogue, 8, trained=trained)
    start = SVD(toy.catalogue, 8)
    start.fit(fit_data(toy, tmp_path))
    weights = {"reconstruction": 1.0, "item_bias": 0.01, "own_item_bias": 0.01, "kl": 0.1}
    train(toy, tmp_path, model=model, weights=weights)
    assert torch.equal(model.item_encoder.features(), start.features()) == (not trained)


def test_settings_out_of_range_are_refused(toy):
    for make in (partial(SVD, deviation=0.0), partial(SVD, power=-0.1)):
        with pytest.raises(ValueError, match="svd: "):
            make(toy.catalogue, 4)
