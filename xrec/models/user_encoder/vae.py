"""The variational encoder of Mult-VAE (Liang et al., WWW 2018); the likelihood is a choice of `loss/reconstruction`."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import SettingError
from xrec.losses.variational import kl_divergence, reparameterize
from xrec.models.history import History, normalised
from xrec.models.recommender import FitData
from xrec.models.settings import at_least, from_0_below_1
from xrec.models.singular import start_as_factors
from xrec.models.user_encoder.layers import Decoder, check_decoder, decoder_of, dropped, start_as_glorot
from xrec.models.user_encoder.user_encoder import Encoded, UserEncoder
from xrec.types import Catalogue

#: of the start 'svd': root mean square of the first layer (tanh then bends little but the first factor, popularity),
#: power of the items' counts, scale of mu, and the posterior's deviation
_START_DEVIATION, _START_POWER, _START_SCALE, _START_POSTERIOR = 0.03, 0.25, 5.0, 0.2


class VAE(UserEncoder):
    """x / |x| -> dropout -> tanh -> (mu, logvar); z ~ N(mu, exp(logvar)) in training, z = mu when scoring; z -> user.

    The first layer is a weighted sum over the history's rows, never a dense multi-hot. |x| is the root of 1 + sum of
    squares: the L2 norm of Mult-VAE, made smooth at the empty history so that gradients exist there. It is taken
    before the dropout, whose survivors are scaled by 1 / (1 - dropout), so that the layer's input is the same on
    average in training and when scoring.

    Args:
        hidden_size: width of the encoder's hidden layer (the decoder's is the embedding size).
        dropout: share of the history dropped in training, per item.
        latent_size: of z; None: the embedding size.
        decoder: 'linear' (user = z, or a linear map of it where sizes differ: with the items' features the last layer
            of a one-layer decoder) or 'tanh' (a hidden layer between, tanh on its outputs; with
            `item_encoder=embedding`, `wide=[prior]` and an embedding size of 600 the decoder of the paper).
        start: 'random', or 'svd': the first layer starts as the items' factors with columns over n_i^.25
            (`xrec.models.singular`), mu as a multiple of the identity, and the posterior narrow. Beside
            `item_encoder=svd` the encoder and the decoder together start as PureSVD, but for the tanh.
        decay: x holds (1 + age)^-decay of an item; 0: 1, as in the paper.
    Raises:
        SettingError: a size below 1, a dropout outside [0, 1), a negative decay, another decoder or start, or the start
            'svd' where sizes differ or the decoder has a layer of its own.
    """

    term_names = ("kl",)

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        hidden_size: int = 128,
        dropout: float = 0.5,
        latent_size: int | None = None,
        decoder: Decoder = "linear",
        start: Literal["random", "svd"] = "random",
        decay: float = 0.0,
    ) -> None:
        super().__init__(catalogue, embedding_size)
        latent_size = embedding_size if latent_size is None else latent_size
        from_0_below_1("vae", dropout=dropout)
        at_least(1, "vae", hidden_size=hidden_size, latent_size=latent_size)
        check_decoder("vae", decoder)
        if start not in ("random", "svd"):
            raise SettingError(f"vae: start must be 'random' or 'svd', got {start!r}")
        if start == "svd" and (decoder != "linear" or not hidden_size == latent_size == embedding_size):
            raise SettingError(
                "vae: start='svd' takes decoder='linear' and one size for all: "
                f"model.embedding_size={embedding_size}, hidden_size={hidden_size}, latent_size={latent_size}"
            )
        if decay < 0:
            raise SettingError(f"vae: decay must be 0 or more, got {decay}")
        self.dropout, self.start, self.decay = dropout, start, decay
        self.rows = nn.Embedding(catalogue.n_items, hidden_size)
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.mu = nn.Linear(hidden_size, latent_size)
        self.logvar = nn.Linear(hidden_size, latent_size)
        self.decoder = decoder_of(decoder, latent_size, embedding_size)
        nn.init.xavier_normal_(self.rows.weight)
        start_as_glorot(self.mu, self.logvar, *self.decoder)

    def fit(self, data: FitData) -> None:
        if self.start == "svd":
            start_as_factors(self.rows, data.dataset, _START_DEVIATION, _START_POWER)
            with torch.no_grad():
                nn.init.eye_(self.mu.weight).mul_(_START_SCALE)
                self.logvar.bias.fill_(2 * math.log(_START_POSTERIOR))

    def encode(self, history: History, presence: Tensor, generator: torch.Generator | None = None) -> Encoded:
        inputs = presence * (1.0 + history.age).pow(-self.decay).unsqueeze(1) if self.decay else presence
        inputs = dropped(normalised(inputs), self.dropout, generator)
        hidden = torch.tanh(inputs @ functional.embedding(history.item, self.rows.weight) + self.bias)
        mu = self.mu(hidden)
        if generator is None:
            return Encoded(self.decoder(mu))
        logvar = self.logvar(hidden)
        z = reparameterize(mu, logvar, generator)
        return Encoded(self.decoder(z), {"kl": kl_divergence(mu, logvar)})
