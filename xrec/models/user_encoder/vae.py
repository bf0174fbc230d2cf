"""The variational encoder of Mult-VAE (Liang et al., WWW 2018); the likelihood is a choice of `loss/reconstruction`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import SettingError
from xrec.losses.variational import kl_divergence, reparameterize
from xrec.models.history import History
from xrec.models.user_encoder.user_encoder import Encoded, UserEncoder
from xrec.types import Catalogue


class VAE(UserEncoder):
    """x -> tanh -> (mu, logvar); z ~ N(mu, exp(logvar)) in training, z = mu when scoring.

    The first layer is a weighted sum over the history's rows, never a dense multi-hot. The input is scaled by
    1 / sqrt(sum of presence^2 + 1): the L2 norm of Mult-VAE, made smooth at the empty history so that gradients
    exist there.

    Args:
        hidden_size: width of the hidden layer.
        dropout: share of the history dropped in training, per item.
    """

    term_names = ("kl",)

    def __init__(self, catalogue: Catalogue, embedding_size: int, hidden_size: int = 128, dropout: float = 0.5) -> None:
        super().__init__(catalogue, embedding_size)
        if not 0 <= dropout < 1:
            raise SettingError(f"vae: dropout must be in [0, 1), got {dropout}")
        if hidden_size < 1:
            raise SettingError(f"vae: hidden_size must be at least 1, got {hidden_size}")
        self.dropout = dropout
        self.rows = nn.Embedding(catalogue.n_items, hidden_size)
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.mu = nn.Linear(hidden_size, embedding_size)
        self.logvar = nn.Linear(hidden_size, embedding_size)
        nn.init.normal_(self.rows.weight, std=0.05)
        nn.init.normal_(self.logvar.weight, std=0.001)
        nn.init.constant_(self.logvar.bias, -2.0)

    def encode(self, history: History, presence: Tensor, generator: torch.Generator | None = None) -> Encoded:
        if generator is not None and self.dropout > 0:
            keep = torch.rand(presence.shape, generator=generator, device=presence.device) >= self.dropout
            presence = presence * keep
        scale = (presence.square().sum(-1, keepdim=True) + 1.0).rsqrt()
        hidden = torch.tanh((presence * scale) @ functional.embedding(history.item, self.rows.weight) + self.bias)
        mu = self.mu(hidden)
        if generator is None:
            return Encoded(mu)
        logvar = self.logvar(hidden)
        return Encoded(reparameterize(mu, logvar, generator), {"kl": kl_divergence(mu, logvar).mean()})
