"""Probes of representations that hold a target, a known share of it, or nothing of it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.models.item_encoder.attributed import dense, rich_catalogue
from xrec.models.item_encoder.attribute_codes import AttributeCodes
from xrec.models.item_encoder.probe import principal, probe

DRAWS = np.random.default_rng(0)


def test_a_probe_finds_the_share_of_variance_that_is_linear():
    features, noise = DRAWS.normal(size=(4000, 5)), DRAWS.normal(size=4000)
    signal = features @ np.array([1.0, -2.0, 0.0, 0.0, 2.0])  # variance 9
    assert probe(features, signal) > 0.999
    assert probe(features, signal + 3 * noise) == pytest.approx(0.5, abs=0.03)
    assert probe(features, features[:, 0] ** 2) < 0.02
    assert probe(features * 1000 + 7, signal) > 0.999
    assert probe(features, np.stack([signal, 3 * noise], 1)) == pytest.approx(0.5, abs=0.03)


def test_what_is_predicted_was_not_fitted():
    """With as many columns as rows a fit without folds is perfect, on noise too."""
    features, target = DRAWS.normal(size=(50, 50)), DRAWS.normal(size=50)
    assert Ridge(1e-6).fit(features, target).score(features, target) > 0.99
    assert probe(features, target) < 0.5


def test_nothing_to_predict_is_0():
    assert probe(np.ones((10, 2)), np.ones(10)) == 0
    assert probe(np.ones((3, 2)), np.arange(3.0)) == 0


def test_principal_components_are_those_of_the_dense_attributes(toy):
    codes = AttributeCodes(rich_catalogue(toy.catalogue))
    rows = np.arange(1, toy.catalogue.n_items)
    found = principal(codes, rows, 3)
    x = dense(codes).double().numpy()[rows]
    left, scales, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    wanted = left[:, :3] * scales[:3]
    np.testing.assert_allclose(np.abs(found.T @ wanted), np.diag(scales[:3] ** 2), atol=1e-6 * scales[0] ** 2)
