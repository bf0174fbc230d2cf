"""Plain GAN over item attributes (Goodfellow et al., NeurIPS 2014), whose discriminator's features are the item's.

What D has learned in order to tell items from generated ones is used to describe them (Radford et al., ICLR 2016,
section 5.1), here the last layer before its logit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xrec.losses.adversarial import AdversarialLoss
from xrec.models.item_encoder.adversarial_encoder import LOOKED_AT, AdversarialEncoder, Shown, normal
from xrec.models.item_encoder.attribute_nets import AttributeGenerator
from xrec.models.item_encoder.attribute_sampler import AttributeSampler
from xrec.models.item_encoder.discriminator import Discriminator
from xrec.models.item_encoder.item_encoder import FreeRows
from xrec.models.item_encoder.match import coverage, mmd
from xrec.models.recommender import FitData
from xrec.models.settings import above_0, at_least
from xrec.types import Catalogue


class GAN(AdversarialEncoder):
    """G(z) -> x and D(x). An item's feature is a linear map of D's penultimate layer, each unit of it standardised over
    the items after pretraining, plus a free row that is dropped at random in training. It encodes nothing back, so that
    there is no reconstruction. While D goes on learning (`loss.weights.adversarial` above 0) the features move with it.

    Args:
        adversarial: the adversarial loss (`loss/adversarial`).
        latent_size: of z; hidden_size: of G and D.
        batch_size: items per adversarial step.
        pretraining_steps: of G in `fit`; the rates fall to 0 in a straight line over their second half.
        n_critic: steps of D per step of G.
        generator_learning_rate, discriminator_learning_rate: of Adam with beta1 = .5.
        instance_noise: at the start, of pretraining: the chance that a field of x is another item's, on both sides.
        temperature: of the Gumbel-softmax.
        spectral_norm: D's layers are divided by their norms.
        free_dropout: probability that an item's free row is dropped in a training step; the others are divided by
            1 - free_dropout.
    Raises:
        SettingError: no item attributes, a size or rate out of range, or a probability outside [0, 1).
    """

    name = "gan"
    term_names = ("adversarial",)

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        adversarial: AdversarialLoss,
        latent_size: int = 64,
        hidden_size: int = 64,
        batch_size: int = 128,
        pretraining_steps: int = 1500,
        n_critic: int = 1,
        generator_learning_rate: float = 7e-4,
        discriminator_learning_rate: float = 7e-4,
        instance_noise: float = 0.2,
        temperature: float = 0.7,
        spectral_norm: bool = True,
        free_dropout: float = 0.3,
    ) -> None:
        at_least(1, self.name, latent_size=latent_size, hidden_size=hidden_size)
        above_0(self.name, temperature=temperature)
        rates = {"generator": generator_learning_rate, "discriminator": discriminator_learning_rate}
        super().__init__(catalogue, adversarial, batch_size, pretraining_steps, n_critic, rates, 0.0, instance_noise)
        self.latent_size = latent_size
        self.sampler = AttributeSampler(self.codes, temperature)
        self.generator = AttributeGenerator(latent_size, hidden_size, self.codes.n_columns)
        self.discriminator = Discriminator(hidden_size, spectral_norm, item=self.codes.n_columns)
        self.projection = nn.Linear(hidden_size, embedding_size)
        self.free = FreeRows(catalogue, embedding_size, self.name, free_dropout)
        self.center: Tensor  # [hidden_size]
        self.scale: Tensor  # [hidden_size]
        self.register_buffer("center", torch.zeros(hidden_size))
        self.register_buffer("scale", torch.ones(hidden_size))

    def players(self) -> dict[str, nn.Module]:
        return {"generator": self.generator}

    @torch.no_grad()
    def described(self) -> Tensor:
        """[I, hidden_size] D's penultimate layer of every item."""
        rows = torch.arange(len(self.codes.columns), device=self.warm.device)
        return torch.cat([self.discriminator.penultimate(self.codes.dense(some)) for some in rows.split(LOOKED_AT)])

    def features(self, generator: torch.Generator | None = None) -> Tensor:
        return self.projection((self.described() - self.center) / self.scale) + self.free(generator)

    def fit(self, data: FitData) -> None:
        """Train D and G, and take the mean and the deviation of what D says of items that are no cold ones."""
        super().fit(data)
        described = self.described()[self.warm]
        self.center.copy_(described.mean(0))
        self.scale.copy_(described.std(0, correction=0).clamp_min(1e-6))

    @torch.no_grad()
    def _begin(self) -> None:
        self.generator.begin(self.sampler.logits(self.shares(), 1 / len(self.warm)))

    def _shown(self, generator: torch.Generator, noise: float) -> Shown:
        rows, prior = self._drawn_items(generator), normal((self.batch_size, self.latent_size), self.warm, generator)
        made = self.sampler.generated(self.generator(prior), generator)
        if noise > 0:
            rows, made = self.sampler.mixed(rows, made, self._drawn_items(generator), noise, generator)
        return Shown((self.sampler.items(rows, generator),), (made,))

    def _looked_at(self, rows: Tensor, generator: torch.Generator) -> tuple[Shown, dict[str, float]]:
        """mmd: squared maximum mean discrepancy between items and generated ones (unbiased; 0 when they agree), columns
        scaled to a mean variance of 1. coverage: share of the levels above 1 % that are generated within a factor of 2
        of their share."""
        prior = normal((LOOKED_AT, self.latent_size), rows, generator)
        made, real = self.sampler.generated(self.generator(prior), generator), self.sampler.items(rows, generator)
        scale = real.var(0, correction=0).mean().sqrt().clamp_min(1e-6)
        measures = {
            "mmd": mmd(real / scale, made[: len(real)] / scale),
            "coverage": coverage(self.shares(), made.mean(0), self.levels),
        }
        return Shown((real,), (made,)), measures
