"""Conditional GAN (Mirza and Osindero, 2014, arXiv:1411.1784): attributes and noise -> collaborative embedding.

What it is for: an item without events has attributes, and so gets an embedding of the kind that items with events have
(as GAR does it: Chen et al., SIGIR 2022). Real embeddings are PureSVD's item factors (`xrec.models.singular`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.losses.adversarial import AdversarialLoss
from xrec.models.item_encoder.adversarial_encoder import AdversarialEncoder, Shown, normal
from xrec.models.item_encoder.attribute_codes import AttributeSum
from xrec.models.item_encoder.discriminator import Discriminator
from xrec.models.item_encoder.item_encoder import FreeRows
from xrec.models.item_encoder.match import mmd, neighbour_coverage
from xrec.models.recommender import FitData
from xrec.models.settings import above_0, at_least
from xrec.models.singular import scaled_factors
from xrec.types import Catalogue


class ConditionalGAN(AdversarialEncoder):
    """G(a, noise) -> e, and D(a, e) tells an item's attributes with its own factor from them with a generated one.

    An item's feature is the mean of G over `n_draws` fixed draws of noise, plus a free row. The free row of an item
    with training events starts as what is missing to its factor, so that its feature starts as the factor; it is
    dropped at random in training, so that the generated part alone, a cold item's feature, is a usable one too. For how
    D and G are trained see `AdversarialEncoder`; items without a factor are never shown to D. Asked for by `fine_tune`,
    the ranker's loss reaches G.

    The item's reconstruction is the squared distance from the mean of G over noise to the factor, in variances of the
    factors, estimated without bias by the product of two draws: unlike the distance of a draw (Isola et al., CVPR 2017)
    it does not teach G to ignore the noise.

    Args:
        adversarial: the adversarial loss (`loss/adversarial`).
        noise_size: of the noise; hidden_size: of G and D; n_draws: that a feature is the mean of.
        deviation: root of the mean square of the factors' entries; power: of an item's users (`item_encoder.svd`).
        batch_size: items per adversarial step.
        pretraining_steps: of G in `fit`; the rates fall to 0 in a straight line over their second half.
        n_critic: steps of D per step of G.
        generator_learning_rate, discriminator_learning_rate: of Adam with beta1 = .5.
        reconstruction_weight: of the items' reconstruction beside the adversarial loss.
        instance_noise: at the start, of pretraining: what is added to e, on both sides, in deviations of the factors.
        spectral_norm: D's layers are divided by their norms.
        fine_tune: the ranker's loss moves G too.
        free_dropout: probability that an item's free row is dropped in a training step; the others are divided by
            1 - free_dropout.
    Raises:
        SettingError: no item attributes, a size or rate out of range, or a probability outside [0, 1).
    """

    name = "conditional_gan"
    collapse, modes = "spread", "variance of items' factors"

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        adversarial: AdversarialLoss,
        noise_size: int = 16,
        hidden_size: int = 64,
        n_draws: int = 16,
        deviation: float = 1.0,
        power: float = 0.25,
        batch_size: int = 128,
        pretraining_steps: int = 3000,
        n_critic: int = 1,
        generator_learning_rate: float = 1e-3,
        discriminator_learning_rate: float = 1e-3,
        reconstruction_weight: float = 1.0,
        instance_noise: float = 0.2,
        spectral_norm: bool = True,
        fine_tune: bool = False,
        free_dropout: float = 0.3,
    ) -> None:
        at_least(1, self.name, noise_size=noise_size, hidden_size=hidden_size, n_draws=n_draws)
        at_least(0, self.name, power=power)
        above_0(self.name, deviation=deviation)
        rates = {"generator": generator_learning_rate, "discriminator": discriminator_learning_rate}
        super().__init__(
            catalogue,
            adversarial,
            batch_size,
            pretraining_steps,
            n_critic,
            rates,
            reconstruction_weight,
            instance_noise,
        )
        n_columns = self.codes.n_columns
        self.noise_size, self.deviation, self.power, self.fine_tune = noise_size, deviation, power, fine_tune
        self.generator = _Generator(n_columns, noise_size, hidden_size, embedding_size)
        self.discriminator = Discriminator(hidden_size, spectral_norm, item=n_columns, embedding=embedding_size)
        self.free = FreeRows(catalogue, embedding_size, self.name, free_dropout)
        self.factors: Tensor  # [I, d]
        self.register_buffer("factors", torch.zeros(catalogue.n_items, embedding_size))
        self.known: Tensor  # [I] which items have one
        self.register_buffer("known", torch.ones(catalogue.n_items, dtype=torch.bool))
        self.draws: Tensor  # [n_draws, noise_size]
        self.register_buffer("draws", torch.randn(n_draws, noise_size, generator=torch.Generator().manual_seed(0)))

    def players(self) -> dict[str, nn.Module]:
        return {"generator": self.generator}

    def examples(self) -> Tensor:
        """Items [n] with a factor; before `fit`, all that are not cold."""
        return self.warm[self.known[self.warm]]

    def generate(self, rows: Tensor | None = None) -> Tensor:
        """Mean of G over the fixed draws, of items [N] (None: all): [N, d]."""
        chosen = slice(None) if rows is None else rows
        return self.generator.mean(self.codes.columns[chosen], self.codes.weights[chosen], self.draws)

    def described(self) -> Tensor:
        return self.generate()

    def features(self, generator: torch.Generator | None = None) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.fine_tune):
            generated = self.generate()
        return generated + self.free(generator)

    def fit(self, data: FitData) -> None:
        """Take the factors of the training histories, train D and G, and start the free rows."""
        size = self.factors.shape[1]
        factors = scaled_factors(data.dataset, len(self.factors), size, self.deviation, self.power)
        self.factors[self.warm] = factors.to(self.warm.device)[self.warm]
        self.known.copy_(self.factors.any(1))
        super().fit(data)
        with torch.no_grad():
            missing = self.factors - self.generate()
            self.free.table.weight.copy_(torch.where(self.known.unsqueeze(1), missing, 0.0))

    def _made(self, rows: Tensor, n_draws: int, generator: torch.Generator) -> Tensor:
        """[N, n_draws, d] draws of G for items [N]."""
        noise = normal((len(rows), n_draws, self.noise_size), rows, generator)
        return self.generator(self.codes.columns[rows], self.codes.weights[rows], noise)

    def _shown(self, generator: torch.Generator, noise: float) -> Shown:
        rows = self._drawn_items(generator)
        own, made = self.factors[rows], self._made(rows, 2, generator)
        real, fake, attributes = own, made[:, 0], self.codes.dense(rows)
        if noise > 0:
            scale = noise * self.deviation
            real, fake = (e + scale * normal(e.shape, e, generator) for e in (real, fake))
        return Shown((attributes, real), (attributes, fake), lambda: self._reconstruction(own, made))

    def _reconstruction(self, own: Tensor, made: Tensor) -> Tensor:
        """own [N, d], made [N, 2, d]: |E G - e|^2 / d, unbiased."""
        off = (made - own.unsqueeze(1)) / self.deviation
        return (off[:, 0] * off[:, 1]).mean()

    def _looked_at(self, rows: Tensor, generator: torch.Generator) -> tuple[Shown, dict[str, float]]:
        """mmd: squared maximum mean discrepancy between factors and generated ones (unbiased; 0 when they agree).
        spread: variance of generated ones over that of factors. coverage: share of the items with a generated factor
        no further away than their fifth nearest item. alignment: mean cosine between an item's factor and its mean
        generated one."""
        own, made, attributes = self.factors[rows], self._made(rows, 1, generator)[:, 0], self.codes.dense(rows)
        measures = {
            "mmd": mmd(own / self.deviation, made / self.deviation),
            "spread": float((made - made.mean(0)).square().sum() / (own - own.mean(0)).square().sum().clamp_min(1e-12)),
            "coverage": neighbour_coverage(own, made),
            "alignment": float(functional.cosine_similarity(self.generate(rows), own).mean()),
        }
        return Shown((attributes, own), (attributes, made)), measures


class _Generator(nn.Module):
    """Attributes and noise -> embedding: a linear map of the attributes, and a net of both that it is corrected by."""

    def __init__(self, n_columns: int, noise_size: int, hidden_size: int, embedding_size: int) -> None:
        super().__init__()
        self.linear = AttributeSum(n_columns, embedding_size)
        self.first = AttributeSum(n_columns, hidden_size)
        self.noise = nn.Linear(noise_size, hidden_size, bias=False)
        self.last = nn.Linear(hidden_size, embedding_size)

    def forward(self, columns: Tensor, weights: Tensor, noise: Tensor) -> Tensor:
        """columns, weights [N, M], noise [N, K, noise_size] -> [N, K, d]"""
        hidden = functional.leaky_relu(self.first(columns, weights).unsqueeze(1) + self.noise(noise), 0.2)
        return self.linear(columns, weights).unsqueeze(1) + self.last(hidden)

    def mean(self, columns: Tensor, weights: Tensor, noise: Tensor) -> Tensor:
        """Mean over draws of noise [K, noise_size] that are the same for all: [N, d]; no [N, K, ...] is made."""
        first = self.first(columns, weights)
        hidden = torch.zeros_like(first)
        for shift in self.noise(noise):
            hidden = hidden + functional.leaky_relu(first + shift, 0.2)
        return self.linear(columns, weights) + self.last(hidden / len(noise))
