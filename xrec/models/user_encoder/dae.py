"""The denoising auto-encoder that Mult-VAE is measured against (Mult-DAE; Liang et al., WWW 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xrec.models.history import History, normalised
from xrec.models.settings import at_least, from_0_below_1
from xrec.models.user_encoder.layers import (
    Decoder,
    HistorySum,
    check_decoder,
    decoder_of,
    dropped,
    start_as_glorot,
)
from xrec.models.user_encoder.user_encoder import Encoded, UserEncoder
from xrec.types import Catalogue


class DAE(UserEncoder):
    """x / |x| -> dropout -> tanh -> tanh -> user: no sampling, no KL; what regularises it is dropout and weight decay.

    The decay is a term of its own, `weight_decay`: the sum of squares of the encoder's weights, biases and the items'
    features left out. The authors' code adds .01 / 500 of it (l2 over batch size) to the mean loss of a user.

    Args:
        hidden_size, dropout, latent_size, decoder: as of `xrec.models.user_encoder.vae.VAE`.
    Raises:
        SettingError: a size below 1, a dropout outside [0, 1), or another decoder.
    """

    term_names = ("weight_decay",)

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        hidden_size: int = 128,
        dropout: float = 0.5,
        latent_size: int | None = None,
        decoder: Decoder = "linear",
    ) -> None:
        super().__init__(catalogue, embedding_size)
        latent_size = embedding_size if latent_size is None else latent_size
        from_0_below_1("dae", dropout=dropout)
        at_least(1, "dae", hidden_size=hidden_size, latent_size=latent_size)
        check_decoder("dae", decoder)
        self.dropout = dropout
        self.first = HistorySum(catalogue.n_items, hidden_size)
        self.latent = nn.Linear(hidden_size, latent_size)
        self.decoder = decoder_of(decoder, latent_size, embedding_size)
        start_as_glorot(self.latent, *self.decoder)

    def encode(self, history: History, presence: Tensor, generator: torch.Generator | None = None) -> Encoded:
        hidden = torch.tanh(self.first(history, dropped(normalised(presence), self.dropout, generator)))
        return Encoded(self.decoder(torch.tanh(self.latent(hidden))))

    def item_terms(self, generator: torch.Generator, wanted: set[str]) -> dict[str, Tensor]:
        if "weight_decay" not in wanted:
            return {}
        weights = [parameter for parameter in self.parameters() if parameter.ndim > 1]
        return {"weight_decay": torch.stack([weight.square().sum() for weight in weights]).sum()}
