"""Losses against torch's own, and the one weighted sum."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl
from torch.nn import functional

from xrec.losses.reconstruction import BPR, Bernoulli, Gaussian, Multinomial, SampledSoftmax
from xrec.losses.variational import kl_divergence, reparameterize
from xrec.losses.weights import LossError, Totals, check_terms, wanted_terms

LIKELIHOODS = [Multinomial(), Bernoulli(), Gaussian(), SampledSoftmax(), BPR()]


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


@pytest.mark.parametrize("loss", LIKELIHOODS)
def test_a_weight_of_log_n_stands_for_n_items(loss):
    scores, labels = torch.tensor([[1.0, -0.5]]), torch.tensor([[1.0, 0.0]])
    written_out = torch.tensor([[1.0, -0.5, -0.5, -0.5]])
    wanted = loss(written_out, torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.zeros(1, 4))
    torch.testing.assert_close(loss(scores, labels, torch.tensor([[0.0, math.log(3)]])), wanted)


@pytest.mark.parametrize("loss", LIKELIHOODS)
def test_padding_costs_nothing_and_has_no_gradient(loss, example):
    scores, labels, weight = example
    padded = torch.cat([scores, torch.full((4, 2), 9.0)], 1).requires_grad_()
    weights = torch.cat([weight, torch.full((4, 2), -math.inf)], 1)
    found = loss(padded, functional.pad(labels, (0, 2)), weights)
    torch.testing.assert_close(found, loss(scores, labels, weight))
    (gradient,) = torch.autograd.grad(found.sum(), padded)
    assert (gradient[:, -2:] == 0).all() and torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", LIKELIHOODS)
def test_huge_scores_stay_finite(loss):
    scores, labels = torch.tensor([[1e4, -1e4]]), torch.tensor([[0.0, 1.0]])
    assert torch.isfinite(loss(scores, labels, torch.zeros(1, 2))).all()


#: targets score 1 and -1; others 1 (a tie, for itself), 0 (for 3 items), padding
BY_HAND = (
    torch.tensor([[1.0, -1.0, 1.0, 0.0, 7.0]]),
    torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0]]),
    torch.tensor([[0.0, 0.0, 0.0, math.log(3), -math.inf]]),
)


def test_gaussian_by_hand():
    wanted = 0.5 * (4 * (0.0**2 + 2.0**2) + 0.5 * (1.0**2 + 3 * 0.0**2))
    assert Gaussian(4.0, 0.5)(*BY_HAND).tolist() == [pytest.approx(wanted)]


def test_gaussian_is_torch_s_likelihood_but_for_its_constant(example):
    scores, labels, weight = example
    deviation = torch.where(labels > 0, 4.0, 0.5).rsqrt()
    density, at_best = Normal(scores, deviation).log_prob(labels), Normal(labels, deviation).log_prob(labels)
    torch.testing.assert_close(Gaussian(4.0, 0.5)(scores, labels, weight), (at_best - density).sum(1))


@pytest.mark.parametrize("confidences", [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_a_gaussian_s_confidences_are_above_0(confidences):
    with pytest.raises(ValueError, match=f"confidences must be above 0, got target_confidence={confidences[0]}"):
        Gaussian(*confidences)


def test_sampled_softmax_by_hand():
    others = math.exp(1) + 3 * math.exp(0)
    wanted = -sum(math.log(math.exp(s) / (math.exp(s) + others)) for s in (1, -1))
    assert SampledSoftmax()(*BY_HAND).tolist() == [pytest.approx(wanted)]


def test_sampled_softmax_of_one_target_is_the_multinomial_and_of_two_less():
    scores, labels, weight = BY_HAND
    for target in ([1.0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0]):
        one = torch.tensor([target])
        torch.testing.assert_close(SampledSoftmax()(scores, one, weight), Multinomial()(scores, one, weight))
    assert SampledSoftmax()(scores, labels, weight).item() < Multinomial()(scores, labels, weight).item() - 0.1


def test_bpr_by_hand():
    def cost(difference):
        return math.log(1 + math.exp(-difference))

    wanted = (cost(0) + 3 * cost(1)) / 4 + (cost(-2) + 3 * cost(-1)) / 4
    assert BPR()(*BY_HAND).tolist() == [pytest.approx(wanted)]


@pytest.mark.parametrize("loss", [Bernoulli(), Gaussian(), BPR()])
def test_the_mean_over_samples_is_the_loss_over_the_catalogue(loss, example):
    """Every sample of two others of eight, each of which stands for four."""
    scores, labels = example[0][:1], torch.zeros(1, 12)
    labels[:, :4] = 1.0
    found = []
    for drawn in itertools.combinations(range(4, 12), 2):
        weight = torch.full((1, 12), -math.inf)
        weight[:, :4], weight[:, list(drawn)] = 0.0, math.log(4)
        found.append(loss(scores, labels, weight))
    torch.testing.assert_close(torch.stack(found).mean(0), loss(scores, labels, torch.zeros(1, 12)))


@pytest.mark.parametrize("loss", LIKELIHOODS)
def test_a_user_s_loss_does_not_depend_on_the_batch(loss, example):
    scores, labels, weight = example
    assert len(set(labels.sum(1).tolist())) > 1
    weight = weight - labels.logical_not() * torch.rand(4, 12, generator=torch.Generator().manual_seed(1))
    cut = [loss(s, x, w) for s, x, w in zip(scores.split(1), labels.split(1), weight.split(1), strict=True)]
    torch.testing.assert_close(torch.cat(cut), loss(scores, labels, weight))


@pytest.mark.parametrize("loss", LIKELIHOODS)
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_only_targets_and_no_target_have_finite_gradients(loss, label):
    scores = torch.tensor([[0.5, -0.5, 3.0]], requires_grad=True)
    found = loss(scores, torch.tensor([[label, label, 0.0]]), torch.tensor([[0.0, 0.0, -math.inf]]))
    (gradient,) = torch.autograd.grad(found.sum(), scores)
    assert torch.isfinite(found).all() and torch.isfinite(gradient).all() and gradient[0, 2] == 0
    if isinstance(loss, (SampledSoftmax, BPR)):  # no pair
        assert found.tolist() == [0.0] and not gradient.any()


@pytest.mark.parametrize("loss", [Bernoulli(), Gaussian(), SampledSoftmax(), BPR()])
def test_nothing_but_padding_costs_nothing(loss):
    scores = torch.tensor([[0.5, -0.5]], requires_grad=True)
    found = loss(scores, torch.zeros(1, 2), torch.full((1, 2), -math.inf))
    (gradient,) = torch.autograd.grad(found.sum(), scores)
    assert found.tolist() == [0.0] and gradient.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("loss", LIKELIHOODS)
def test_a_step_against_the_gradient_raises_targets_above_the_others(loss, example):
    scores, labels, weight = example
    scores = scores.clone().requires_grad_()
    optimiser = torch.optim.Adam([scores], 0.1)
    for _ in range(400):
        optimiser.zero_grad()
        loss(scores, labels, weight).sum().backward()
        optimiser.step()
    lowest = scores.masked_fill(labels == 0, math.inf).amin(1)
    assert (lowest > scores.masked_fill(labels > 0, -math.inf).amax(1) + 0.5).all()


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
