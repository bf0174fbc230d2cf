"""Adversarial losses at logits that can be done by hand, and the gradient penalty where slopes are known."""

from __future__ import annotations

import math

import pytest
import torch

from xrec.losses.adversarial import LSGAN, WGANGP, AdversarialLoss, ArticleGAN, Hinge, Minimax, Nonsaturating

REAL, FAKE = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 3.0])
EVERY = [Minimax(), Nonsaturating(), LSGAN(), Hinge(), WGANGP(), ArticleGAN()]


def d(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def log_d(logit: float) -> float:
    return math.log(d(logit))


def log_not(logit: float) -> float:
    return math.log(1 - d(logit))


CROSS_ENTROPY = -(log_d(2) + log_d(0)) / 2 - (log_not(-1) + log_not(3)) / 2
BY_HAND = [  # the discriminator's, and what E and G minimise of real and of fake
    (Minimax(), CROSS_ENTROPY, (log_d(2) + log_d(0)) / 2, (log_not(-1) + log_not(3)) / 2),
    (Nonsaturating(), CROSS_ENTROPY, -(log_not(2) + log_not(0)) / 2, -(log_d(-1) + log_d(3)) / 2),
    (LSGAN(), (1 + 1) / 4 + (0 + 16) / 4, (9 + 1) / 4, (4 + 4) / 4),
    (Hinge(), (0 + 1) / 2 + (0 + 4) / 2, 1.0, -1.0),
    (WGANGP(), 1.0 - 1.0, 1.0, -1.0),
    (
        ArticleGAN(),
        -(d(2) * log_d(2) + d(0) * log_d(0)) / 2 + (d(-1) * log_not(-1) + d(3) * log_not(3)) / 2,
        (d(-2) * log_not(-2) + d(0) * log_not(0)) / 2,
        (d(-1) * log_not(-1) + d(3) * log_not(3)) / 2,
    ),
]


@pytest.mark.parametrize(("loss", "discriminator", "of_real", "of_fake"), BY_HAND, ids=lambda x: type(x).__name__)
def test_losses_by_hand(loss: AdversarialLoss, discriminator: float, of_real: float, of_fake: float):
    assert float(loss.discriminator_loss(REAL, FAKE)) == pytest.approx(discriminator, rel=1e-6)
    assert float(loss.generator_loss(None, FAKE)) == pytest.approx(of_fake, rel=1e-6)
    assert float(loss.generator_loss(REAL, FAKE)) == pytest.approx(of_real + of_fake, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("loss", EVERY, ids=lambda x: type(x).__name__)
def test_a_generator_is_pulled_towards_real_and_an_encoder_away_from_it(loss: AdversarialLoss):
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    loss.generator_loss(real, fake).backward()
    assert real.grad is not None and fake.grad is not None
    at = [0] if isinstance(loss, LSGAN) else [0, 1]  # beyond its label, least squares pull back
    assert (real.grad > 0).all() and (fake.grad[at] < 0).all()


@pytest.mark.parametrize("loss", EVERY[:-1], ids=lambda x: type(x).__name__)
def test_a_discriminator_is_pulled_apart(loss: AdversarialLoss):
    real, fake = torch.tensor([0.3], requires_grad=True), torch.tensor([0.2], requires_grad=True)
    loss.discriminator_loss(real, fake).backward()
    assert real.grad is not None and fake.grad is not None
    assert real.grad < 0 < fake.grad


def test_the_texts_discriminator_is_pulled_the_generator_s_way():
    """Which is why its loss runs to its bound."""
    fake = torch.tensor([0.2, 5.0], requires_grad=True)
    ArticleGAN().discriminator_loss(REAL, fake).backward()
    assert fake.grad is not None and (fake.grad < 0).all()


@pytest.mark.parametrize("loss", EVERY, ids=lambda x: type(x).__name__)
def test_sure_logits_stay_finite_with_their_gradients(loss: AdversarialLoss):
    real, fake = (torch.tensor([1e4, -1e4], requires_grad=True) for _ in range(2))
    (loss.discriminator_loss(real, fake) + loss.generator_loss(real, fake)).backward()
    assert real.grad is not None and fake.grad is not None
    assert torch.isfinite(real.grad).all() and torch.isfinite(fake.grad).all()


def test_the_texts_losses_are_bounded_and_nothing_pulls_beyond_the_bound():
    fake = torch.tensor([1e6], requires_grad=True)
    loss = ArticleGAN(bound=3.0)
    value = loss.generator_loss(None, fake)
    value.backward()
    assert value.item() == pytest.approx(d(3) * log_not(3)) and fake.grad is not None and fake.grad.item() == 0
    real = torch.tensor([-1e6, 1e6])
    at_bound = (-d(-3) * log_d(-3) - d(3) * log_d(3)) / 2
    assert loss.discriminator_loss(real, fake).item() == pytest.approx(at_bound + d(3) * log_not(3))


def test_the_penalty_of_a_linear_discriminator_is_that_of_its_slope():
    """(|w| - 1)^2 whatever the points: w = (3, 4) over two inputs has norm 5 with the one of size 12."""
    w, v = torch.tensor([3.0, 4.0], requires_grad=True), torch.tensor([12.0], requires_grad=True)
    real, fake = (torch.randn(6, 2), torch.randn(6, 1)), (torch.randn(6, 2), torch.randn(6, 1))
    generator = torch.Generator().manual_seed(0)
    penalty = WGANGP(penalty_weight=0.5).penalty(lambda x, z: x @ w + z @ v, real, fake, generator)
    assert isinstance(penalty, torch.Tensor)
    assert penalty.item() == pytest.approx(0.5 * (13 - 1) ** 2)
    penalty.backward()
    torch.testing.assert_close(w.grad, 0.5 * 2 * 12 * w.detach() / 13)
    torch.testing.assert_close(v.grad, 0.5 * 2 * 12 * v.detach() / 13)


def test_the_penalty_is_taken_between_a_real_sample_and_its_fake_one():
    """D(x) = x^2 / 2 has slope x: points lie evenly between 5 and 9, the same share of the way in every input."""
    seen = []

    def square(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        seen.append((x.detach(), z.detach()))
        return (x.square() / 2).sum(1) + 0 * z.sum(1)

    n = 4000
    real, fake = (torch.full((n, 1), 9.0), torch.full((n, 1), 1.0)), (torch.full((n, 1), 5.0), torch.zeros(n, 1))
    penalty = WGANGP(penalty_weight=1.0).penalty(square, real, fake, torch.Generator().manual_seed(0))
    ((x, z),) = seen
    torch.testing.assert_close(x, 5 + 4 * z)
    assert z.min() >= 0 and z.max() <= 1 and z.mean().item() == pytest.approx(0.5, abs=0.02)
    assert z.std().item() == pytest.approx(12**-0.5, abs=0.01)  # of each pair its own
    assert isinstance(penalty, torch.Tensor)
    assert penalty.item() == pytest.approx(float((x - 1).square().mean()), rel=1e-5)


def test_a_flat_discriminator_has_a_penalty_with_a_finite_gradient():
    w = torch.zeros(2, requires_grad=True)
    x = (torch.ones(3, 2),)
    penalty = WGANGP().penalty(lambda x: x @ w, x, x, torch.Generator())
    assert isinstance(penalty, torch.Tensor)
    penalty.backward()
    assert penalty.item() == pytest.approx(10, rel=1e-4) and w.grad is not None and torch.isfinite(w.grad).all()


def test_only_the_gradient_penalty_asks_for_inputs_and_a_weight_of_zero_is_none():
    def never(*inputs: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    x = (torch.ones(3, 2),)
    for loss in (*EVERY[:4], EVERY[5], WGANGP(penalty_weight=0.0)):
        assert loss.penalty(never, x, x, torch.Generator()) == 0


def test_a_critic_s_logits_are_known_up_to_a_number():
    for shift in (0.0, 7.0):
        assert float(WGANGP().boundary(REAL + shift, FAKE + shift)) == 1 + shift
    assert Nonsaturating().boundary(REAL, FAKE) == 0


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="wgan_gp: penalty_weight must be at least 0, got -1"):
        WGANGP(-1.0)
    with pytest.raises(ValueError, match="article_gan: bound must be above 0, got 0"):
        ArticleGAN(0.0)
