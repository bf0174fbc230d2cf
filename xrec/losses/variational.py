"""The Gaussian posterior of a VAE (Kingma and Welling, ICLR 2014)."""

from __future__ import annotations

import torch
from torch import Tensor


def reparameterize(mu: Tensor, logvar: Tensor, generator: torch.Generator) -> Tensor:
    """z = mu + exp(logvar / 2) * epsilon with epsilon from N(0, 1)."""
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + (0.5 * logvar).exp() * noise


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) in nats, summed over the last dimension."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1.0).sum(-1)
