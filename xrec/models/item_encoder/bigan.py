"""BiGAN over item attributes (Donahue et al., ICLR 2017): it generates attribute vectors and encodes them.

E(x) -> z, G(z) -> x, and a joint discriminator D(x, z) tells (x, E(x)) from (G(z), z). Three things let D be fooled:
x is drawn levels on both sides (`attribute_sampler`), E begins with the prior's mean and variance
(stochastic as in ALI: Dumoulin et al., ICLR 2017), and D is spectrally normalised (Miyato et al., ICLR 2018) and sees
through instance noise at first (Sonderby et al., ICLR 2017). Reconstruction makes E and G each other's inverse (ALICE:
Li et al., NeurIPS 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xrec.losses.adversarial import AdversarialLoss
from xrec.models.item_encoder.adversarial_encoder import Shown, normal
from xrec.models.item_encoder.attribute_autoencoder import AttributeAutoencoder
from xrec.types import Catalogue


class BiGAN(AttributeAutoencoder):
    """An item's feature is a linear map of E's mean, plus a free row that is dropped at random in training so that the
    attribute part alone is a usable feature. For how D, E and G are trained see `AdversarialEncoder`; asked for by
    `fine_tune`, the ranker's loss reaches E.

    Args:
        adversarial: the adversarial loss (`loss/adversarial`).
        latent_size, hidden_size: of E, G and D.
        batch_size: items per adversarial step.
        pretraining_steps: of E and G in `fit`; the rates fall to 0 in a straight line over their second half.
        n_critic: steps of D per step of E and G.
        encoder_learning_rate, generator_learning_rate, discriminator_learning_rate: of Adam with beta1 = .5.
        reconstruction_weight: of the items' reconstruction beside the adversarial loss, in nats (mean over fields).
        instance_noise: at the start, of pretraining: the chance that a field of x is another item's, and the
            deviation of what is added to z, on both sides; falls to 0 in a straight line over four fifths of it.
        temperature: of the Gumbel-softmax.
        spectral_norm: D's layers are divided by their norms.
        fine_tune: the ranker's loss moves E too.
        free_dropout: probability that an item's free row is dropped in a training step; the others are divided by
            1 - free_dropout, so that training and scoring agree in expectation.
    Raises:
        SettingError: no item attributes, a size or rate out of range, or a probability outside [0, 1).
    """

    name = "bigan"
    inputs = ("item", "latent")

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
        encoder_learning_rate: float = 2e-4,
        generator_learning_rate: float = 7e-4,
        discriminator_learning_rate: float = 1.75e-4,
        reconstruction_weight: float = 0.6,
        instance_noise: float = 0.2,
        temperature: float = 0.7,
        spectral_norm: bool = True,
        fine_tune: bool = False,
        free_dropout: float = 0.3,
    ) -> None:
        rates = {"encoder": encoder_learning_rate, "generator": generator_learning_rate}
        rates["discriminator"] = discriminator_learning_rate
        super().__init__(
            catalogue,
            embedding_size,
            adversarial,
            latent_size,
            hidden_size,
            temperature,
            spectral_norm,
            fine_tune,
            free_dropout,
            rates,
            batch_size=batch_size,
            pretraining_steps=pretraining_steps,
            n_critic=n_critic,
            reconstruction_weight=reconstruction_weight,
            instance_noise=instance_noise,
        )

    def players(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "generator": self.generator}

    def _shown(self, generator: torch.Generator, noise: float) -> Shown:
        """(x, E(x)) and (G(z), z), each through the same noise."""
        rows, prior = self._draw(generator)
        encoded = self.encode(rows, generator)
        made = self.sampler.generated(self.generator(prior), generator)
        real, fake = self._noisy(rows, encoded, made, prior, generator, noise)
        return Shown(real, fake, lambda: self._reconstruction(rows, encoded))

    def _noisy(
        self, rows: Tensor, encoded: Tensor, made: Tensor, prior: Tensor, generator: torch.Generator, noise: float
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        if noise > 0:
            others = self._draw(generator)[0]
            rows, made = self.sampler.mixed(rows, made, others, noise, generator)
            encoded, prior = (z + noise * normal(z.shape, z, generator) for z in (encoded, prior))
        return (self.sampler.items(rows, generator), encoded), (made, prior)

    def _compared(self, x: Tensor, encoded: Tensor, made: Tensor, prior: Tensor) -> Shown:
        return Shown((x, encoded), (made, prior))
