"""TIFU-KNN against a loop over users; neighbours of masked histories are looked up anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.toys import fit_data, histories
from xrec.models.baselines import tifu_knn as module
from xrec.models.baselines.tifu_knn import TIFUKNN


def fitted(toy, tmp_path, **settings) -> TIFUKNN:
    model = TIFUKNN(toy.catalogue, **{"half_life": 4.0, "n_neighbours": 5, "alpha": 0.7, **settings})
    model.fit(fit_data(toy, tmp_path))
    return model


def vectors(toy, moment: int, half_life: float = 4.0) -> np.ndarray:
    """[U, I] decayed events, straight from the log."""
    found = np.zeros((toy.catalogue.n_users, toy.catalogue.n_items))
    for user, item, time, strength in zip(toy.user, toy.item, toy.time, toy.strength, strict=True):
        if time < moment:
            found[user, item] += strength * 0.5 ** ((moment - time) / half_life)
    return found


def by_loop(own: np.ndarray, others: np.ndarray, k: int, alpha: float) -> np.ndarray:
    """Scores [I] of one user; no two others are equally similar."""
    logs = np.log1p(others)
    similar = logs @ np.log1p(own) / np.linalg.norm(logs, axis=1)
    near = others[np.argsort(-similar)[:k]].mean(0)
    return alpha * own + (1 - alpha) * near


@pytest.mark.parametrize("rows", [1, 4, 256])
def test_scores_are_those_of_a_loop_also_when_masked(toy, tmp_path, rows, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", rows)
    model, history = fitted(toy, tmp_path), histories(toy, [0, 3, 9])
    others = vectors(toy, toy.train_end + 1)
    present = (torch.rand(3, 4, history.item.shape[1], generator=torch.Generator().manual_seed(2)) < 0.6).float()
    present[:, 0] = 1.0
    found = model.score(model.prepare(history), present).numpy()
    whole = vectors(toy, toy.period("test")[0])
    changed = 0
    for row, user in enumerate([0, 3, 9]):
        for copy in range(4):
            own = np.zeros(toy.catalogue.n_items)
            items = history.item[row][(present[row, copy] * history.presence[row]) > 0].numpy()
            own[items] = whole[user, items]
            wanted = by_loop(own, others, 5, 0.7)
            np.testing.assert_allclose(found[row, copy], wanted, atol=1e-5)
            if copy:
                left = by_loop(whole[user], others, 5, 0.7) - 0.7 * whole[user] + 0.7 * own
                changed += np.abs(left - wanted).max() > 1e-3
    assert changed > 3  # with the old neighbours it would have been another score
    np.testing.assert_allclose(model.score(model.prepare(history))[:, 0].numpy(), found[:, 0], atol=1e-6)


def test_masking_is_removing(toy, tmp_path):
    model, history = fitted(toy, tmp_path), histories(toy, [2])
    keep = torch.arange(history.item.shape[1]) % 2 == 0
    masked = model.score(model.prepare(history), keep.float()[None, None])
    torch.testing.assert_close(masked, model.score(model.prepare(history.without(keep))))


def test_an_empty_history_gets_the_mean_of_all_users(toy, tmp_path):
    model, history = fitted(toy, tmp_path), histories(toy, [2])
    found = model.score(model.prepare(history), torch.zeros(1, 1, history.item.shape[1]))[0, 0]
    np.testing.assert_allclose(found.numpy(), 0.3 * vectors(toy, toy.train_end + 1).mean(0), atol=1e-5)


def test_those_who_tie_for_the_last_places_share_them(toy, tmp_path):
    model = fitted(toy, tmp_path, n_neighbours=3)
    own = torch.zeros(1, toy.catalogue.n_items, dtype=torch.float64)
    model.directions = torch.eye(toy.catalogue.n_items, dtype=torch.float64)[[0, 1, 1, 2, 0]]
    own[0, 0], own[0, 1] = 2.0, 1.0
    wanted = torch.tensor([[1, 0.5, 0.5, 0, 1]], dtype=torch.float64) / 3
    torch.testing.assert_close(model.neighbours(own), wanted)


def test_more_neighbours_than_users_are_all_users(toy, tmp_path):
    model, history = fitted(toy, tmp_path, n_neighbours=10_000, alpha=0.0), histories(toy, [0])
    found = model.score(model.prepare(history), None, torch.tensor([[3, 1]]))[0, 0]
    wanted = vectors(toy, toy.train_end + 1).mean(0)[[3, 1]]
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_it_is_not_additive_and_says_so(toy):
    assert not TIFUKNN(toy.catalogue).capabilities.additive


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"half_life": 3.0}, "half_life must be one of .*, got 3.0"),
        ({"n_neighbours": 0}, "n_neighbours must be at least 1, got 0"),
        ({"alpha": 1.5}, "alpha must be from 0 to 1, got 1.5"),
    ],
)
def test_bad_arguments_are_named(toy, settings, message):
    with pytest.raises(ValueError, match=message):
        TIFUKNN(toy.catalogue, **settings)
