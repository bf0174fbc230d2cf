"""Adversarial autoencoder over item attributes (Makhzani et al., 2015, arXiv:1511.05644).

An encoder and a decoder reconstruct the item, and a discriminator tells draws of the prior from latents: what E makes
of all items together is matched to the prior, in place of a variational autoencoder's KL term for each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xrec.losses.adversarial import AdversarialLoss
from xrec.models.item_encoder.adversarial_encoder import Shown, normal
from xrec.models.item_encoder.attribute_autoencoder import AttributeAutoencoder
from xrec.types import Catalogue


class AAE(AttributeAutoencoder):
    """E(x) with noise (section 2, the Gaussian posterior), decoder, and D(z): real is the prior N(0, I), fake is E(x).
    The feature, a linear map of E's mean plus a free row, and the training are a BiGAN's; the adversarial loss reaches
    E, the reconstruction E and decoder.

    Args:
        instance_noise: at the start, of pretraining: the deviation of what is added to z, on both sides.
        Others: see `xrec.models.item_encoder.bigan.BiGAN`.
    Raises:
        SettingError: no item attributes, a size or rate out of range, or a probability outside [0, 1).
    """

    name = "aae"
    inputs = ("latent",)

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
        decoder_learning_rate: float = 2e-3,
        discriminator_learning_rate: float = 1.75e-4,
        reconstruction_weight: float = 1.0,
        instance_noise: float = 0.2,
        spectral_norm: bool = True,
        fine_tune: bool = False,
        free_dropout: float = 0.3,
    ) -> None:
        rates = {"encoder": encoder_learning_rate, "decoder": decoder_learning_rate}
        rates["discriminator"] = discriminator_learning_rate
        super().__init__(
            catalogue,
            embedding_size,
            adversarial,
            latent_size,
            hidden_size,
            1.0,  # no gradient flows through drawn levels
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
        return {"encoder": self.encoder, "decoder": self.generator}

    def _shown(self, generator: torch.Generator, noise: float) -> Shown:
        rows, prior = self._draw(generator)
        encoded = self.encode(rows, generator)
        real, fake = (z + noise * normal(z.shape, z, generator) if noise > 0 else z for z in (prior, encoded))
        return Shown((real,), (fake,), lambda: self._reconstruction(rows, encoded))

    def _compared(self, x: Tensor, encoded: Tensor, made: Tensor, prior: Tensor) -> Shown:
        return Shown((prior,), (encoded,))
