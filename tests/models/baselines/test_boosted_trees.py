"""Boosted trees against scikit-learn's own predictions: leaves reached, ties at thresholds, what is kept and loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from tests.toys import fit_data, histories
from xrec.models.baselines import boosted_trees as module
from xrec.models.baselines.boosted_trees import BoostedTrees
from xrec.models.baselines.repeat_probability import N_FEATURES, pair_features

NEVER: Any = False  # scikit-learn's stubs take a word only


def pairs(n: int = 1500, missing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features like those of pairs: counts, their logs, and continuous ones; labels that hang on three of them."""
    rng = np.random.default_rng(0)
    features = rng.exponential(2.0, (n, N_FEATURES)).astype(np.float32)
    features[:, :6] = np.log1p(rng.integers(0, 9, (n, 6)))
    features[:, 6:9] = rng.integers(0, 4, (n, 3))
    odds = features[:, 0] + features[:, 7] * (features[:, 12] > 1) - 3.0
    labels = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    features[rng.random(features.shape) < missing] = np.nan
    return features, labels


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("positions", [40, 2**21])
def test_log_odds_are_those_of_scikit_learn_also_on_a_threshold(toy, missing, positions, monkeypatch):
    monkeypatch.setattr(module, "_POSITIONS", positions * 20)  # positions: rows at once
    features, labels = pairs(missing=missing)
    theirs = HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=12, early_stopping=NEVER).fit(features, labels)
    model = BoostedTrees(toy.catalogue, n_trees=20, n_leaves=12)
    model.export(theirs)
    nodes = np.concatenate([tree.nodes for (tree,) in theirs._predictors])
    splits = nodes[nodes["is_leaf"] == 0]
    ties = features[np.arange(len(splits)) % len(features)].astype(np.float64)
    ties[np.arange(len(splits)), splits["feature_idx"]] = splits["num_threshold"]
    beside = np.nextafter(ties, np.inf)
    assert len(splits) > 100 and (not missing or 0 < splits["missing_go_to_left"].mean() < 1)
    for rows in (features, ties, beside):
        np.testing.assert_allclose(model.log_odds(torch.from_numpy(rows)), theirs.decision_function(rows), atol=1e-9)
    assert (np.abs(theirs.decision_function(ties) - theirs.decision_function(beside)) > 1e-3).any()


def test_a_fitted_one_predicts_as_scikit_learn_whatever_the_global_generator(toy, tmp_path):
    model = BoostedTrees(toy.catalogue, horizon=2, n_windows=2, n_trees=30, n_leaves=5, min_leaf=4, regularization=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(9)
        model.fit(fit_data(toy, tmp_path))
    theirs = HistGradientBoostingClassifier(
        max_iter=30, max_leaf_nodes=5, min_samples_leaf=4, l2_regularization=0.5, early_stopping=NEVER, random_state=1
    ).fit(*model.examples(toy))
    history = histories(toy, list(range(12)))
    channels = (history.age, history.first_age, history.n_periods, history.strength, history.decayed)
    items = torch.from_numpy(toy.item_statistics(toy.period("test")[0]))[history.item]
    features = torch.cat([pair_features(*channels), items], -1)
    found = model.probability(history)
    assert (history.presence == 0).any()
    for row in range(12):
        there = history.presence[row] > 0
        wanted = theirs.predict_proba(features[row, there].numpy())[:, 1]
        np.testing.assert_allclose(found[row, there], wanted, atol=1e-6)
        assert not found[row, ~there].any()
    assert found[history.presence > 0].std() > 0.05
    assert model.value.dtype == torch.float64 and model.state_dict().keys() == dict(model.named_buffers()).keys()


def test_its_gradient_in_presence_is_the_contribution(toy, tmp_path):
    model = BoostedTrees(toy.catalogue, n_trees=4)
    model.fit(fit_data(toy, tmp_path))
    assert model.capabilities.names() == {"additive", "fractional_presence", "gradients", "linear"}
    context = model.prepare(histories(toy, [3, 8]))
    presence = context.history.presence.unsqueeze(1).clone().requires_grad_()
    targets = context.history.item[:, :1]
    (gradient,) = torch.autograd.grad(model.score(context, presence, targets).sum(), presence)
    torch.testing.assert_close(gradient[:, 0], model.contributions(context, targets)[..., 0], check_dtype=False)
    assert gradient[:, 0, 0].abs().min() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_trees": 0}, "n_trees must be at least 1, got 0"),
        ({"n_leaves": 1}, "n_leaves must be at least 2, got 1"),
        ({"min_leaf": 0}, "min_leaf must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"regularization": -1.0}, "regularization must be at least 0, got -1.0"),
    ],
)
def test_bad_arguments_are_named(toy, settings, message):
    with pytest.raises(ValueError, match=f"boosted_trees: {message}"):
        BoostedTrees(toy.catalogue, **settings)
