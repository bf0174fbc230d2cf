"""The repeat classifier against scikit-learn on the same pairs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.toys import fit_data, histories
from xrec.models.baselines.repeat_classifier import RepeatClassifier
from xrec.models.baselines.repeat_probability import pair_features


def test_probabilities_are_those_of_scikit_learn(toy, tmp_path):
    model = RepeatClassifier(toy.catalogue, horizon=2, n_windows=2)
    model.fit(fit_data(toy, tmp_path))
    features, labels = model.examples(toy)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(features, labels)
    history = histories(toy, [0])
    items = toy.item_statistics(toy.period("test")[0])[history.item[0]]
    channels = (history.age, history.first_age, history.n_periods, history.strength, history.decayed)
    pairs = pair_features(*channels)[0].numpy()
    wanted = theirs.predict_proba(np.concatenate([pairs, items], axis=1))[:, 1]
    np.testing.assert_allclose(model.probability(history)[0], wanted, atol=5e-3)


def test_a_regularization_that_is_not_positive_is_named(toy):
    with pytest.raises(ValueError, match="repeat_classifier: regularization must be above 0, got 0.0"):
        RepeatClassifier(toy.catalogue, regularization=0.0)
