"""The repeat classifier against scikit-learn on the same pairs, and its examples against the log."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.toys import events_frame, fit_data, histories, toy_dataset
from xrec.models.baselines import repeat_classifier as module
from xrec.models.baselines.repeat_classifier import RepeatClassifier


@pytest.fixture
def model(toy, tmp_path):
    model = RepeatClassifier(toy.catalogue, horizon=2, n_windows=2, backfill_periods=3, backfill_weight=0.01)
    model.fit(fit_data(toy, tmp_path))
    return model


@pytest.mark.parametrize("users", [3, 512])
def test_examples_are_own_items_and_whether_they_were_bought_again(model, toy, users, monkeypatch):
    monkeypatch.setattr(module, "_USERS", users)
    features, labels = model.examples(toy)
    bought = set(zip(toy.user.tolist(), toy.item.tolist(), toy.time.tolist(), strict=True))
    wanted, ages = [], []
    for moment in (toy.train_end - 1, toy.train_end - 3):
        pairs = sorted({(u, i) for u, i, t in bought if t < moment})
        wanted += [any((u, i, t) in bought for t in (moment, moment + 1)) for u, i in pairs]
        ages += [moment - max(t for v, j, t in bought if (v, j) == (u, i) and t < moment) for u, i in pairs]
    assert labels.tolist() == wanted and 0 < sum(wanted) < len(wanted)
    np.testing.assert_allclose(features[:, 2], np.log1p(ages), rtol=1e-6)


def test_probabilities_are_those_of_scikit_learn(model, toy):
    features, labels = model.examples(toy)
    items = toy.item_statistics(toy.period("test")[0])[histories(toy, [0]).item[0]]
    theirs = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(features, labels)
    history = histories(toy, [0])
    pairs = module.pair_features(history.age, history.first_age, history.n_periods, history.strength, history.decayed)[
        0
    ]
    np.testing.assert_allclose(
        model.probability(history)[0],
        theirs.predict_proba(np.concatenate([pairs.numpy(), items], axis=1))[:, 1],
        atol=5e-3,
    )


def test_own_items_score_their_probability_and_others_their_popularity(model, toy):
    history = histories(toy, [4])
    found = model.score(model.prepare(history))[0, 0]
    moment = toy.period("test")[0]
    pairs = {(u, i) for u, i, t in zip(toy.user, toy.item, toy.time, strict=True) if moment - 3 <= t < moment}
    shares = np.bincount([i for _, i in pairs], minlength=toy.catalogue.n_items) / toy.catalogue.n_users
    wanted = 0.01 * shares
    wanted[history.item[0].numpy()] = model.probability(history)[0].numpy()
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)


def test_a_saved_one_is_loaded_without_a_fit(model, toy, tmp_path):
    other = RepeatClassifier(toy.catalogue, horizon=2, n_windows=2, backfill_periods=3, backfill_weight=0.01)
    other.attach(fit_data(toy, tmp_path))
    other.load_state_dict(model.state_dict())
    history = histories(toy, [1])
    assert torch.equal(other.score(other.prepare(history)), model.score(model.prepare(history)))


def test_only_training_periods_are_looked_at(model, toy, tmp_path):
    from dataclasses import replace

    early = toy.time <= toy.train_end
    cut = replace(
        toy, user=toy.user[early], item=toy.item[early], time=toy.time[early], strength=toy.strength[early],
        kind=toy.kind[early],
    )  # fmt: skip
    other = RepeatClassifier(toy.catalogue, horizon=2, n_windows=2, backfill_periods=3, backfill_weight=0.01)
    other.fit(fit_data(cut, tmp_path))
    assert torch.equal(other.coefficients, model.coefficients)


def test_a_log_without_repeats_is_refused(tmp_path):
    rows = [(str(u), str((i + u) % 12), 1 + i, 1.0) for u in range(8) for i in range(12)]
    dataset = toy_dataset(tmp_path, events=events_frame(rows), core=(1, 1))
    with pytest.raises(ValueError, match="no item was bought again in the training windows"):
        RepeatClassifier(dataset.catalogue, horizon=2).fit(fit_data(dataset, tmp_path))
    with pytest.raises(ValueError, match="the training ends before 41 periods; lower model.horizon"):
        RepeatClassifier(dataset.catalogue, horizon=40).fit(fit_data(dataset, tmp_path))


@pytest.mark.parametrize("name", ["horizon", "n_windows", "backfill_periods"])
def test_numbers_below_one_are_named(toy, name):
    with pytest.raises(ValueError, match=f"repeat_classifier: {name} must be at least 1, got 0"):
        RepeatClassifier(toy.catalogue, **{name: 0})


@pytest.mark.parametrize("name", ["regularization", "backfill_weight"])
def test_numbers_that_are_not_positive_are_named(toy, name):
    with pytest.raises(ValueError, match=f"repeat_classifier: {name} must be above 0, got 0.0"):
        RepeatClassifier(toy.catalogue, **{name: 0.0})
