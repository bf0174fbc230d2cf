"""What is asked of every classifier of own items: its examples against the log, its scores, what a saved one is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.toys import events_frame, fit_data, histories, toy_dataset
from xrec.models.baselines import repeat_probability as module
from xrec.models.baselines.boosted_trees import BoostedTrees
from xrec.models.baselines.repeat_classifier import RepeatClassifier

MODELS = {"repeat_classifier": RepeatClassifier, "boosted_trees": BoostedTrees}
SETTINGS = {"horizon": 2, "n_windows": 2, "backfill_periods": 3, "backfill_weight": 0.01}


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name, toy, tmp_path):
    model = MODELS[name](toy.catalogue, **SETTINGS)
    model.fit(fit_data(toy, tmp_path))
    return model


@pytest.mark.parametrize("users", [3, 512])
def test_examples_are_own_items_and_whether_they_were_bought_again(toy, users, monkeypatch):
    monkeypatch.setattr(module, "_USERS", users)
    features, labels = RepeatClassifier(toy.catalogue, **SETTINGS).examples(toy)
    bought = set(zip(toy.user.tolist(), toy.item.tolist(), toy.time.tolist(), strict=True))
    wanted, ages = [], []
    for moment in (toy.train_end - 1, toy.train_end - 3):
        pairs = sorted({(u, i) for u, i, t in bought if t < moment})
        wanted += [any((u, i, t) in bought for t in (moment, moment + 1)) for u, i in pairs]
        ages += [moment - max(t for v, j, t in bought if (v, j) == (u, i) and t < moment) for u, i in pairs]
    assert labels.tolist() == wanted and 0 < sum(wanted) < len(wanted)
    np.testing.assert_allclose(features[:, 2], np.log1p(ages), rtol=1e-6)


def test_own_items_score_their_probability_and_others_their_popularity(model, toy):
    history = histories(toy, [4])
    found = model.score(model.prepare(history))[0, 0]
    moment = toy.period("test")[0]
    pairs = {(u, i) for u, i, t in zip(toy.user, toy.item, toy.time, strict=True) if moment - 3 <= t < moment}
    shares = np.bincount([i for _, i in pairs], minlength=toy.catalogue.n_items) / toy.catalogue.n_users
    wanted = 0.01 * shares
    wanted[history.item[0].numpy()] = model.probability(history)[0].numpy()
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)


def test_a_saved_one_is_loaded_without_a_fit(model, name, toy, tmp_path):
    other = MODELS[name](toy.catalogue, **SETTINGS)
    other.attach(fit_data(toy, tmp_path))
    other.load_state_dict(model.state_dict())
    history = histories(toy, [1])
    assert torch.equal(other.score(other.prepare(history)), model.score(model.prepare(history)))


def test_only_training_periods_are_looked_at(model, name, toy, tmp_path):
    early = toy.time <= toy.train_end
    cut = replace(
        toy, user=toy.user[early], item=toy.item[early], time=toy.time[early], strength=toy.strength[early],
        kind=toy.kind[early],
    )  # fmt: skip
    other = MODELS[name](toy.catalogue, **SETTINGS)
    other.fit(fit_data(cut, tmp_path))
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_masked_copies_share_what_an_item_adds(model, toy, monkeypatch):
    context, calls = model.prepare(histories(toy, [3])), []
    own = model.own
    monkeypatch.setattr(model, "own", lambda history: (calls.append(1), own(history))[1])
    presence = torch.rand(1, 2, context.history.item.shape[1]).round()
    model.score(context, presence)
    model.score(context, presence, torch.tensor([[1, 2]]))
    assert calls == [1]


def test_a_log_without_repeats_is_refused(name, tmp_path):
    rows = [(str(u), str((i + u) % 12), 1 + i, 1.0) for u in range(8) for i in range(12)]
    dataset = toy_dataset(tmp_path, events=events_frame(rows), core=(1, 1))
    with pytest.raises(ValueError, match=f"{name}: no item was bought again in the training windows"):
        MODELS[name](dataset.catalogue, horizon=2).fit(fit_data(dataset, tmp_path))
    with pytest.raises(ValueError, match=f"{name}: the training ends before 41 periods; lower model.horizon"):
        MODELS[name](dataset.catalogue, horizon=40).fit(fit_data(dataset, tmp_path))


@pytest.mark.parametrize("setting", ["horizon", "n_windows", "backfill_periods"])
def test_numbers_below_one_are_named(toy, name, setting):
    with pytest.raises(ValueError, match=f"{name}: {setting} must be at least 1, got 0"):
        MODELS[name](toy.catalogue, **{setting: 0})


def test_a_backfill_that_is_not_positive_is_named(toy, name):
    with pytest.raises(ValueError, match=f"{name}: backfill_weight must be above 0, got 0.0"):
        MODELS[name](toy.catalogue, backfill_weight=0.0)
