"""Adversarial losses on discriminator logits. 'real' pairs are (x, E(x)), 'fake' ones (G(z), z)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.nn.functional import softplus


class AdversarialLoss(Protocol):
    """real, fake [N]: logits of the discriminator; scalars."""

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor: ...
    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor: ...


class Nonsaturating:
    """Goodfellow et al., NeurIPS 2014, with the generator's labels flipped; the encoder is trained by the same flip
    (Donahue et al., ICLR 2017)."""

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log D(real) - log(1 - D(fake)), mean over the batch, in nats."""
        return softplus(-real).mean() + softplus(fake).mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log(1 - D(real)) - log D(fake), mean over the batch, in nats."""
        return softplus(real).mean() + softplus(-fake).mean()
