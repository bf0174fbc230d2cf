"""Adversarial losses on discriminator logits: 'real' ones of what there is, 'fake' ones of what was generated.

Of a BiGAN (Donahue et al., ICLR 2017) real are (x, E(x)) and fake (G(z), z): E is trained by the same loss as G, with
the labels flipped. All losses here are the same for E at -logit as for G at logit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from xrec.errors import SettingError

#: under the root of a squared norm, whose gradient at 0 has no limit
TINY = 1e-12


class AdversarialLoss(ABC):
    """real, fake [N]: logits of the discriminator; losses are scalars, means over the batch."""

    @abstractmethod
    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator minimises, beside `penalty`."""

    @abstractmethod
    def fooling_loss(self, logits: Tensor) -> Tensor:
        """What a generator minimises whose samples have these logits [N]."""

    def generator_loss(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """What generator and encoder minimise. real: None where nobody who learns had a hand in it."""
        fooled = self.fooling_loss(fake)
        return fooled if real is None else self.fooling_loss(-real) + fooled

    def penalty(
        self,
        discriminator: Callable[..., Tensor],
        real: Sequence[Tensor],
        fake: Sequence[Tensor],
        generator: torch.Generator,
    ) -> Tensor | float:
        """What the discriminator minimises beside its loss, of its inputs (real, fake: tuples of [N, ...], in the order
        in which `discriminator` takes them) and not of its logits alone."""
        return 0.0

    def boundary(self, real: Tensor, fake: Tensor) -> Tensor | float:
        """The logit above which the discriminator takes a sample for real."""
        return 0.0


class Minimax(AdversarialLoss):
    """Goodfellow et al., NeurIPS 2014, equation 1, in nats: what the generator minimises is minus what of the
    discriminator's loss it has a hand in. Its gradient vanishes where the discriminator is sure."""

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log D(real) - log(1 - D(fake))"""
        return softplus(-real).mean() + softplus(fake).mean()

    def fooling_loss(self, logits: Tensor) -> Tensor:
        """log(1 - D)"""
        return -softplus(logits).mean()


class Nonsaturating(Minimax):
    """Goodfellow et al., NeurIPS 2014, section 3, in nats: the generator's labels are flipped instead."""

    def fooling_loss(self, logits: Tensor) -> Tensor:
        """-log D"""
        return softplus(-logits).mean()


class LSGAN(AdversarialLoss):
    """Least squares (Mao et al., ICCV 2017, equation 2) with labels 1 for real, -1 for fake and 1 for the generator:
    their 1, 0 and 1, with the discriminator's output moved so that 0 is undecided."""

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """(real - 1)^2 / 2 + (fake + 1)^2 / 2"""
        return ((real - 1).square().mean() + (fake + 1).square().mean()) / 2

    def fooling_loss(self, logits: Tensor) -> Tensor:
        """(logit - 1)^2 / 2"""
        return (logits - 1).square().mean() / 2


class Hinge(AdversarialLoss):
    """Lim and Ye, 2017 (arXiv:1705.02894); Miyato et al., ICLR 2018, equations 16 and 17."""

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """max(0, 1 - real) + max(0, 1 + fake)"""
        return (1 - real).clamp_min(0).mean() + (1 + fake).clamp_min(0).mean()

    def fooling_loss(self, logits: Tensor) -> Tensor:
        """-logit"""
        return -logits.mean()


class WGANGP(AdversarialLoss):
    """Wasserstein distance with a gradient penalty (Gulrajani et al., NeurIPS 2017, equation 3). The discriminator is a
    critic: its logits are known up to a number, and undecided is half way between the means.

    Args:
        penalty_weight: lambda; 0: no penalty, so that something else (`spectral_norm`) must bound the critic.
    Raises:
        SettingError: a weight below 0.
    """

    def __init__(self, penalty_weight: float = 10.0) -> None:
        if penalty_weight < 0:
            raise SettingError(f"wgan_gp: penalty_weight must be at least 0, got {penalty_weight}")
        self.penalty_weight = penalty_weight

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """fake - real"""
        return fake.mean() - real.mean()

    def fooling_loss(self, logits: Tensor) -> Tensor:
        """-logit"""
        return -logits.mean()

    def penalty(
        self,
        discriminator: Callable[..., Tensor],
        real: Sequence[Tensor],
        fake: Sequence[Tensor],
        generator: torch.Generator,
    ) -> Tensor | float:
        """lambda (|gradient of D| - 1)^2 at points drawn evenly between the n-th real and the n-th fake sample; the
        norm is of all inputs together."""
        if self.penalty_weight == 0:
            return 0.0
        share = torch.rand(len(real[0]), 1, generator=generator, device=real[0].device)
        between = [torch.lerp(f, r, share).detach().requires_grad_() for r, f in zip(real, fake, strict=True)]
        slopes = torch.autograd.grad(discriminator(*between).sum(), between, create_graph=True)
        norm = (torch.cat(slopes, 1).square().sum(1) + TINY).sqrt()
        return self.penalty_weight * (norm - 1).square().mean()

    def boundary(self, real: Tensor, fake: Tensor) -> Tensor:
        return (real.mean() + fake.mean()) / 2


class ArticleGAN(AdversarialLoss):
    """The formulas of the text under study, as they stand, means instead of sums; an ablation.

    L_D = -[D(x) log D(x) - D(G(z)) log(1 - D(G(z)))], L_G = D(G(z)) log(1 - D(G(z))), L = L_D + lambda L_G, where
    lambda is `loss.weights.adversarial`, and 1 in pretraining. Unlike minimax each log is weighted by D itself. The
    sign of D's second summand makes D and G want the same, D(G(z)) = 1, where both losses have no lower bound; and
    D(x) log D(x) is 0 for a sure D either way. The logs are exact at any logit; the bound on logits is a guard of ours.

    Args:
        bound: logits are cut off at -bound and bound, where no gradient pulls them on.
    Raises:
        SettingError: a bound of 0 or less.
    """

    def __init__(self, bound: float = 10.0) -> None:
        if bound <= 0:
            raise SettingError(f"article_gan: bound must be above 0, got {bound}")
        self.bound = bound

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """-D(real) log D(real) + D(fake) log(1 - D(fake))"""
        real = real.clamp(-self.bound, self.bound)
        return (real.sigmoid() * softplus(-real)).mean() + self.fooling_loss(fake)

    def fooling_loss(self, logits: Tensor) -> Tensor:
        """D log(1 - D)"""
        logits = logits.clamp(-self.bound, self.bound)
        return -(logits.sigmoid() * softplus(logits)).mean()
