"""The hierarchical VAE with a VampPrior and gated linear units (Kim and Suh, RecSys 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.losses.variational import kl_between, log_normal, reparameterize
from xrec.models.history import History, normalised
from xrec.models.settings import at_least, from_0_below_1
from xrec.models.user_encoder.layers import HistorySum, dropped, start_as_glorot, warm_items
from xrec.models.user_encoder.user_encoder import Encoded, UserEncoder
from xrec.types import Catalogue

#: of every log variance, as in the code of Tomczak and Welling
_LOGVAR = (-6.0, 2.0)
#: mean and deviation of pseudo-inputs at the start, as in the code of Tomczak and Welling
_PSEUDO = (0.05, 0.01)


class HVamp(UserEncoder):
    """q(z2 | x) q(z1 | x, z2) and p(x | z1, z2) p(z1 | z2) p(z2), in gated linear units (a) * sigmoid(b).

    p(z2) is the VampPrior of Tomczak and Welling (AISTATS 2018), the mean of q(z2 | u_c) over learned pseudo-inputs u_c
    in [0, 1] per item (0 for cold items). x is normalised, and dropped in training, as by Mult-VAE; pseudo-inputs are
    normalised only. When scoring, z2 and z1 are the means.

    The term `kl` is log q(z2) - log p(z2) of one draw of z2, plus KL(q(z1 | x, z2) || p(z1 | z2)) in closed form,
    where the paper takes the draw's.

    Args:
        hidden_size: width of all layers but the last, which has the embedding size. dropout: share of the history
            dropped in training. latent_size: of z1 and of z2; None: the embedding size. n_pseudo_inputs: [n, n_items]
            weights.
    Raises:
        SettingError: a size below 1, or a dropout outside [0, 1).
    """

    term_names = ("kl",)

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        hidden_size: int = 128,
        dropout: float = 0.5,
        latent_size: int | None = None,
        n_pseudo_inputs: int = 200,
    ) -> None:
        super().__init__(catalogue, embedding_size)
        size = embedding_size if latent_size is None else latent_size
        from_0_below_1("h_vamp", dropout=dropout)
        at_least(1, "h_vamp", hidden_size=hidden_size, latent_size=size, n_pseudo_inputs=n_pseudo_inputs)
        self.dropout = dropout
        self.first_2 = HistorySum(catalogue.n_items, 2 * hidden_size)
        self.first_1 = HistorySum(catalogue.n_items, 2 * hidden_size)
        self.posterior_2 = _Normal(hidden_size, size)
        self.of_2, self.joint = _Gated(size, hidden_size), _Gated(2 * hidden_size, hidden_size)
        self.posterior_1 = _Normal(hidden_size, size)
        self.prior_1 = nn.Sequential(_Gated(size, hidden_size), _Normal(hidden_size, size))
        self.decoder_1, self.decoder_2 = _Gated(size, hidden_size), _Gated(size, hidden_size)
        self.decoder = _Gated(2 * hidden_size, embedding_size)
        self.pseudo_inputs = nn.Parameter(torch.empty(n_pseudo_inputs, catalogue.n_items))
        nn.init.normal_(self.pseudo_inputs, *_PSEUDO)
        self.warm: Tensor
        self.register_buffer("warm", warm_items(catalogue), persistent=False)

    def encode(self, history: History, presence: Tensor, generator: torch.Generator | None = None) -> Encoded:
        x = dropped(normalised(presence), self.dropout, generator)
        mu_2, logvar_2 = self.posterior_2(functional.glu(self.first_2(history, x)))
        z_2 = mu_2 if generator is None else reparameterize(mu_2, logvar_2, generator)
        hidden = torch.cat([functional.glu(self.first_1(history, x)), self.of_2(z_2)], -1)
        mu_1, logvar_1 = self.posterior_1(self.joint(hidden))
        z_1 = mu_1 if generator is None else reparameterize(mu_1, logvar_1, generator)
        user = self.decoder(torch.cat([self.decoder_1(z_1), self.decoder_2(z_2)], -1))
        if generator is None:
            return Encoded(user)
        kl_2 = log_normal(z_2, mu_2, logvar_2).sum(-1) - self.log_prior(z_2)
        return Encoded(user, {"kl": kl_2 + kl_between(mu_1, logvar_1, *self.prior_1(z_2))})

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z2) [...] of z2 [..., latent_size], in nats."""
        x = normalised(functional.hardtanh(self.pseudo_inputs, 0.0, 1.0) * self.warm)
        mu, logvar = self.posterior_2(functional.glu(x @ self.first_2.rows.weight + self.first_2.bias))
        return log_normal(z.unsqueeze(-2), mu, logvar).sum(-1).logsumexp(-1) - math.log(len(mu))


class _Gated(nn.Module):
    """(W x + b) * sigmoid(V x + c) (Dauphin et al., ICML 2017)."""

    def __init__(self, n_inputs: int, size: int) -> None:
        super().__init__()
        self.both = nn.Linear(n_inputs, 2 * size)
        start_as_glorot(self.both)

    def forward(self, x: Tensor) -> Tensor:
        return functional.glu(self.both(x))


class _Normal(nn.Module):
    """Hidden units -> mu and logvar of a normal."""

    def __init__(self, hidden_size: int, size: int) -> None:
        super().__init__()
        self.mu, self.logvar = nn.Linear(hidden_size, size), nn.Linear(hidden_size, size)
        start_as_glorot(self.mu, self.logvar)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self.mu(hidden), functional.hardtanh(self.logvar(hidden), *_LOGVAR)
