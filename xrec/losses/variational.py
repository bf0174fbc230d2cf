"""The Gaussian posterior of a VAE (Kingma and Welling, ICLR 2014), and densities that priors are made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def reparameterize(mu: Tensor, logvar: Tensor, generator: torch.Generator) -> Tensor:
    """z = mu + exp(logvar / 2) * epsilon with epsilon from N(0, 1)."""
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + (0.5 * logvar).exp() * noise


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) in nats, summed over the last dimension."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1.0).sum(-1)


def kl_between(mu: Tensor, logvar: Tensor, prior_mu: Tensor, prior_logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(prior_mu, exp(prior_logvar))) in nats, summed over the last dimension."""
    ratio = logvar - prior_logvar
    return 0.5 * ((mu - prior_mu).square() * (-prior_logvar).exp() + ratio.exp() - ratio - 1.0).sum(-1)


def log_normal(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mu, exp(logvar)) of each dimension, in nats."""
    return -0.5 * ((z - mu).square() * (-logvar).exp() + logvar + math.log(2 * math.pi))
