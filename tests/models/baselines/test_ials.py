"""iALS: a user's factors against implicit's own, for whole and for masked histories."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse

from tests.toys import fit_data, histories
from xrec.models.baselines import ials as module
from xrec.models.baselines.ials import IALS


@pytest.fixture
def model(toy, tmp_path):
    model = IALS(toy.catalogue, n_factors=6, regularization=2.0, alpha=4.0, n_iterations=3)
    model.fit(fit_data(toy, tmp_path))
    return model


def theirs(model: IALS, rows: np.ndarray) -> np.ndarray:
    """Scores [n, I] of binary histories by implicit's recalculate_user on the same item factors."""
    trainer = AlternatingLeastSquares(
        factors=6, regularization=model.regularization, alpha=1.0 + model.alpha, num_threads=1
    )
    trainer.item_factors = model.factors.numpy()
    trainer.user_factors = np.zeros((1, 6), dtype=np.float32)
    return trainer.recalculate_user(np.arange(len(rows)), sparse.csr_matrix(rows)) @ trainer.item_factors.T


def rows_of(history, present: torch.Tensor, n_items: int) -> np.ndarray:
    """[B * M, I] binary histories of which `present` [B, M, L] is there."""
    rows = torch.zeros(*present.shape[:2], n_items)
    there = present * (history.presence * history.positive).unsqueeze(1)
    return rows.scatter_add_(2, history.item.unsqueeze(1).expand_as(there), there).flatten(0, 1).numpy()


@pytest.mark.parametrize("numbers", [1, 2000, 2**24])
def test_scores_of_masked_copies_are_those_of_implicit(model, toy, numbers, monkeypatch):
    monkeypatch.setattr(module, "_NUMBERS", numbers)
    history = histories(toy, [0, 3, 7])
    present = (torch.rand(3, 5, history.item.shape[1], generator=torch.Generator().manual_seed(1)) < 0.5).float()
    found = model.score(model.prepare(history), present)
    wanted = theirs(model, rows_of(history, present, toy.catalogue.n_items))
    np.testing.assert_allclose(found.flatten(0, 1).numpy(), wanted, atol=1e-5)
    assert np.abs(wanted).max() > 0.1
    whole = theirs(model, rows_of(history, torch.ones_like(present[:, :1]), toy.catalogue.n_items))
    np.testing.assert_allclose(model.score(model.prepare(history))[:, 0].numpy(), whole, atol=1e-5)


def test_item_factors_are_those_of_implicit(model, toy, tmp_path):
    table = toy.histories(toy.train_end + 1)
    train = sparse.csr_matrix((table.positive, table.item, table.indptr), (table.n_users, toy.catalogue.n_items))
    seed = int(torch.randint(2**31 - 1, (1,), generator=torch.Generator().manual_seed(0)))
    trainer = AlternatingLeastSquares(
        factors=6, regularization=2.0, alpha=5.0, iterations=3, num_threads=1, random_state=seed
    )
    trainer.fit(train, show_progress=False)
    np.testing.assert_allclose(model.factors.numpy(), trainer.item_factors, atol=1e-6)
    other = IALS(toy.catalogue, n_factors=6, regularization=2.0, alpha=4.0, n_iterations=3)
    other.load_state_dict(model.state_dict())  # what a saved model is: nothing is fitted
    other.attach(fit_data(toy, tmp_path))
    history = histories(toy, [1])
    assert torch.equal(other.score(other.prepare(history)), model.score(model.prepare(history)))


def test_masking_is_removing_and_nothing_scores_nothing(model, toy):
    history = histories(toy, [2])
    keep = torch.arange(history.item.shape[1]) % 3 > 0
    masked = model.score(model.prepare(history), keep.float()[None, None])
    torch.testing.assert_close(masked, model.score(model.prepare(history.without(keep))), atol=1e-6, rtol=1e-5)
    nothing = model.score(model.prepare(history), torch.zeros(1, 1, history.item.shape[1]))
    assert (nothing == 0).all()


def test_targets_are_columns_and_presence_has_gradients(model, toy):
    history = histories(toy, [0, 3])
    targets = torch.tensor([[1, 2], [0, 5]])
    context = model.prepare(history)
    presence = torch.full((2, 2, history.item.shape[1]), 0.5, requires_grad=True)
    found = model.score(context, presence, targets)
    whole = model.score(context, presence)
    torch.testing.assert_close(found, whole.gather(2, targets.unsqueeze(1).expand(-1, 2, -1)))
    (slope,) = torch.autograd.grad(found.sum(), presence)
    step = torch.zeros_like(presence)
    step[0, 0, 1] = 1e-2
    with torch.no_grad():
        rise = (
            model.score(context, presence + step, targets).sum() - model.score(context, presence - step, targets).sum()
        )
    torch.testing.assert_close(slope[0, 0, 1], rise / 2e-2, atol=1e-3, rtol=2e-2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_factors": 0}, "n_factors must be at least 1, got 0"),
        ({"n_iterations": 0}, "n_iterations must be at least 1, got 0"),
        ({"alpha": -1.0}, "alpha must be at least 0, got -1.0"),
        ({"regularization": 0.0}, "regularization must be above 0, got 0.0"),
    ],
)
def test_bad_arguments_are_named(toy, settings, message):
    with pytest.raises(ValueError, match=message):
        IALS(toy.catalogue, **settings)
