"""What BiGAN and adversarial autoencoder have in common: E(x) -> z and G(z) -> x, each other's inverse."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xrec.losses.adversarial import AdversarialLoss
from xrec.models.item_encoder.adversarial_encoder import LOOKED_AT, AdversarialEncoder, Shown, normal
from xrec.models.item_encoder.attribute_nets import AttributeEncoder, AttributeGenerator, whitening
from xrec.models.item_encoder.attribute_sampler import AttributeSampler
from xrec.models.item_encoder.discriminator import Discriminator
from xrec.models.item_encoder.item_encoder import FreeRows
from xrec.models.item_encoder.match import coverage, mmd
from xrec.models.settings import above_0, at_least
from xrec.types import Catalogue


class AttributeAutoencoder(AdversarialEncoder):
    """An item's feature is a linear map of E's mean, plus a free row that is dropped at random in training so that the
    attribute part alone is a usable feature. E begins with the prior's mean and variance: its mean as the whitened
    principal components of the attributes.

    inputs: which of 'item' and 'latent' D sees. Args: see the variants; `game` is those of `AdversarialEncoder`.
    """

    inputs: Sequence[str]

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        adversarial: AdversarialLoss,
        latent_size: int,
        hidden_size: int,
        temperature: float,
        spectral_norm: bool,
        fine_tune: bool,
        free_dropout: float,
        learning_rates: Mapping[str, float],
        **game: Any,
    ) -> None:
        at_least(1, self.name, latent_size=latent_size, hidden_size=hidden_size)
        above_0(self.name, temperature=temperature)
        super().__init__(catalogue, adversarial, learning_rates=learning_rates, **game)
        self.sampler = AttributeSampler(self.codes, temperature)
        self.latent_size, self.fine_tune = latent_size, fine_tune
        self.encoder = AttributeEncoder(self.codes.n_columns, latent_size, hidden_size)
        self.generator = AttributeGenerator(latent_size, hidden_size, self.codes.n_columns)
        sizes = {"item": self.codes.n_columns, "latent": latent_size}
        self.discriminator = Discriminator(hidden_size, spectral_norm, **{name: sizes[name] for name in self.inputs})
        self.projection = nn.Linear(latent_size, embedding_size)
        self.free = FreeRows(catalogue, embedding_size, self.name, free_dropout)

    def encode(self, rows: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """E(x) of items [N] (None: all) -> latents [N, latent_size]: a draw, or without a generator the mean."""
        codes = self.codes
        chosen = slice(None) if rows is None else rows
        mean, log_deviation = self.encoder(codes.columns[chosen], codes.weights[chosen])
        if generator is None:
            return mean
        return mean + log_deviation.exp() * normal(mean.shape, mean, generator)

    def described(self) -> Tensor:
        return self.encode()

    def generate(self, latents: Tensor) -> Tensor:
        """G(z): latents [N, latent_size] -> the expected attributes [N, n_columns]: shares that sum to 1 within a
        category or text; for a number, the chance that it is missing and its scaled value, weighed by the chance that
        it is there."""
        return self.sampler.expected(self.generator(latents))

    def features(self, generator: torch.Generator | None = None) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.fine_tune):
            latents = self.encode()
        return self.projection(latents) + self.free(generator)

    @torch.no_grad()
    def _begin(self) -> None:
        codes, warm = self.codes, self.warm
        center, axes = whitening(codes, warm.cpu().numpy(), self.latent_size)
        self.encoder.begin(center.to(warm.device), axes.to(warm.device))
        self.generator.begin(self.sampler.logits(self.shares(), 1 / len(warm)))

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch of items and one of latents from the prior."""
        return self._drawn_items(generator), normal((self.batch_size, self.latent_size), self.warm, generator)

    def _reconstruction(self, rows: Tensor, encoded: Tensor) -> Tensor:
        return self.sampler.losses(self.generator(encoded), rows).mean()

    def _looked_at(self, rows: Tensor, generator: torch.Generator) -> tuple[Shown, dict[str, float]]:
        """mmd: squared maximum mean discrepancy between E(x) and the prior (unbiased; 0 when they agree). coverage:
        share of the levels above 1 % that G makes of the prior within a factor of 2 of their share. round_trip: share
        of the categories that G(E(x)) names right."""
        encoded, prior = self.encode(rows, generator), normal((LOOKED_AT, self.latent_size), rows, generator)
        made = self.sampler.generated(self.generator(prior), generator)
        x = self.sampler.items(rows, generator)
        measures = {
            "mmd": mmd(encoded, prior[: len(encoded)]),
            "coverage": coverage(self.shares(), made.mean(0), self.levels),
            "round_trip": float(self.sampler.named(self.generator(self.encode(rows)), rows).mean()),
        }
        return self._compared(x, encoded, made, prior), measures

    @abstractmethod
    def _compared(self, x: Tensor, encoded: Tensor, made: Tensor, prior: Tensor) -> Shown:
        """What D is shown of x, E(x), G(z) and z."""
