"""Losses against torch's own, and the one weighted sum."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl
from torch.nn import functional

from xrec.losses.reconstruction import Bernoulli, Multinomial
from xrec.losses.variational import kl_divergence, reparameterize
from xrec.losses.weights import LossError, Totals, check_terms, wanted_terms


@pytest.fixture
def example():
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(4, 12, generator=generator)
    labels = (torch.rand(4, 12, generator=generator) < 0.3).float()
    labels[:, 0] = 1.0
    return scores, labels, torch.zeros(4, 12)


def test_multinomial_is_torch_s_cross_entropy_with_soft_targets(example):
    scores, labels, weight = example
    wanted = functional.cross_entropy(scores, labels, reduction="none")
    torch.testing.assert_close(Multinomial()(scores, labels, weight), wanted)


def test_bernoulli_is_torch_s_binary_cross_entropy_summed_over_items(example):
    scores, labels, weight = example
    summed = functional.binary_cross_entropy_with_logits(scores, labels, reduction="none").sum(1)
    torch.testing.assert_close(Bernoulli()(scores, labels, weight), summed)


@pytest.mark.parametrize("loss", [Multinomial(), Bernoulli()])
def test_a_weight_of_log_n_stands_for_n_items(loss):
    scores, labels = torch.tensor([[1.0, -0.5]]), torch.tensor([[1.0, 0.0]])
    written_out = torch.tensor([[1.0, -0.5, -0.5, -0.5]])
    wanted = loss(written_out, torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.zeros(1, 4))
    torch.testing.assert_close(loss(scores, labels, torch.tensor([[0.0, math.log(3)]])), wanted)


@pytest.mark.parametrize("loss", [Multinomial(), Bernoulli()])
def test_padding_costs_nothing_and_has_no_gradient(loss, example):
    scores, labels, weight = example
    padded = torch.cat([scores, torch.full((4, 2), 9.0)], 1).requires_grad_()
    weights = torch.cat([weight, torch.full((4, 2), -math.inf)], 1)
    found = loss(padded, functional.pad(labels, (0, 2)), weights)
    torch.testing.assert_close(found, loss(scores, labels, weight))
    (gradient,) = torch.autograd.grad(found.sum(), padded)
    assert (gradient[:, -2:] == 0).all() and torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [Multinomial(), Bernoulli()])
def test_huge_scores_stay_finite(loss):
    scores, labels = torch.tensor([[1e4, -1e4]]), torch.tensor([[0.0, 1.0]])
    assert torch.isfinite(loss(scores, labels, torch.zeros(1, 2))).all()


def test_kl_is_torch_s():
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    wanted = torch_kl(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(kl_divergence(mu, logvar), wanted)
    assert kl_divergence(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0.0, 0.0]


def test_reparameterize_has_the_posterior_s_moments():
    mu, logvar = torch.full((200_000, 1), 3.0), torch.full((200_000, 1), math.log(4.0))
    drawn, again = (reparameterize(mu, logvar, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(drawn, again)
    assert float(drawn.mean()) == pytest.approx(3, abs=0.02) and float(drawn.std()) == pytest.approx(2, abs=0.02)


def test_the_sum_is_weighted_and_logged():
    totals = Totals({"a": 0.5, "b": 2.0, "c": 0.0}, n_users=4)
    added = [totals.users({"a": torch.tensor([1.0, 2.0])}), totals.users({"a": torch.tensor([2.0, 3.0])})]
    added.append(totals.items({"b": torch.tensor(3.0)}))
    assert [float(loss) for loss in added if loss is not None] == [0.375, 0.625, 6.0]
    assert totals.items({}) is None and totals.users({}) is None
    assert totals.logged() == {
        "loss/off/c": 1.0,
        "loss/raw/a": 2.0,
        "loss/raw/b": 3.0,
        "loss/weighted/a": 1.0,
        "loss/weighted/b": 6.0,
        "loss/total": 7.0,
    }


def test_a_weight_of_zero_is_off_and_zero_is_a_value():
    assert wanted_terms({"a": 0, "b": 0.0, "c": 1e-9, "d": -1.0}) == {"c", "d"}
    with pytest.raises(LossError, match="every entry of loss.weights is 0"):
        Totals({"a": 0.0}, 1).logged()


ONE = torch.tensor(1.0)


@pytest.mark.parametrize(
    ("terms", "weights", "message"),
    [
        ({"kl": ONE}, {"a": 1.0}, "loss term 'kl' has no weight: add loss.weights.kl"),
        ({"a": ONE, "kl": ONE}, {"a": 1.0, "kl": 0.0}, "loss term 'kl' has no weight"),
        ({}, {"a": 1.0}, "the model produces nothing"),
        ({"a": ONE, "kl": torch.tensor(math.nan)}, {"a": 1.0, "kl": 1.0}, "loss term 'kl' is nan"),
        ({"a": torch.tensor(math.inf)}, {"a": 1.0}, "loss term 'a' is inf"),
        ({"a": torch.ones(2)}, {"a": 1.0}, r"loss term 'a' gave a tensor \(2,\), expected a scalar"),
    ],
)
def test_mismatches_and_nans_are_named(terms, weights, message):
    def whole():
        totals = Totals(weights, 1)
        totals.items(terms)
        totals.logged()

    with pytest.raises(LossError, match=message):
        whole()


def test_a_misspelt_weight_is_named():
    with pytest.raises(LossError, match="loss.weights.adversaral has no term.*did you mean 'adversarial'"):
        check_terms(["adversarial"], {"adversaral": 1.0})


def test_a_term_of_users_is_one_loss_per_user():
    with pytest.raises(LossError, match=r"loss term 'a' gave a tensor \(\), expected one loss per user"):
        Totals({"a": 1.0}, 2).users({"a": ONE})
