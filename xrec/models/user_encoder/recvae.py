"""RecVAE (Shenbin et al., WSDM 2020): a composite prior, a beta of the user's own, and apart training of encoder and
decoder."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import SettingError
from xrec.losses.variational import log_normal, reparameterize
from xrec.models.component import target_features
from xrec.models.history import History, normalised
from xrec.models.recommender import Context
from xrec.models.settings import at_least, from_0_below_1
from xrec.models.update import Update
from xrec.models.user_encoder.layers import HistorySum, dropped, start_as_glorot
from xrec.models.user_encoder.user_encoder import Encoded, UserEncoder
from xrec.types import Catalogue

#: of the layer norms, as in the authors' code
_NORM_EPSILON = 0.1
_N_LAYERS = 5
#: log variance of the wide normal, as in the authors' code
_WIDE_LOGVAR = 10.0


class RecVAE(UserEncoder):
    """Five densely connected layers h_l = norm(swish(W_l h_(l-1) + h_1 + ... + h_(l-1))) -> (mu, logvar); z -> user.

    The term `kl` is n KL(q(z | x) || p(z | x)), n the number of items of the history, so that its weight is the paper's
    gamma; KL by one draw of z: log q - log p. The prior p is a mixture, in each latent as in the authors' code, of
    N(0, 1), the old posterior of the whole history, and N(0, e^10). The old posterior is the encoder as it was up to
    `old_every` steps ago (the paper: as at the end of the last epoch); it is kept in the state_dict.

    The encoder learns from noised histories and leaves the decoder (the items' features) as it is, the decoder learns
    from draws of the posterior of whole histories and leaves the encoder. The paper has three epochs of one, then one
    of the other; here each example of a step, by a draw, trains one of them, in the same proportion, so that both move
    at once. Other components learn from all examples. The KL of an example that trains the decoder moves nothing.

    Args:
        hidden_size: width of the layers; z is the user, of the embedding size. dropout: share of the history dropped,
            per item, where the encoder learns.
        mixture: shares of N(0, 1), the old posterior and N(0, e^10), of their sum.
        decoder_share: of the examples, train the decoder; 0: all train both, noised (the paper's ablation).
        old_every: steps from one old posterior to the next.
    Raises:
        SettingError: a size or `old_every` below 1, a dropout or a share outside [0, 1), or a mixture of other than
            three shares above 0.
    """

    term_names = ("kl",)

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        hidden_size: int = 128,
        dropout: float = 0.5,
        mixture: Sequence[float] = (0.15, 0.75, 0.1),
        decoder_share: float = 0.25,
        old_every: int = 25,
    ) -> None:
        super().__init__(catalogue, embedding_size)
        from_0_below_1("recvae", dropout=dropout, decoder_share=decoder_share)
        at_least(1, "recvae", hidden_size=hidden_size, old_every=old_every)
        if len(mixture) != 3 or min(mixture) <= 0:
            raise SettingError(f"recvae: mixture must be three shares above 0, got {list(mixture)}")
        self.dropout, self.decoder_share, self.old_every = dropout, decoder_share, old_every
        self.log_shares = [math.log(share / sum(mixture)) for share in mixture]
        self.encoder = _Dense(catalogue.n_items, hidden_size, embedding_size)
        self.old = copy.deepcopy(self.encoder)

    def encode(self, history: History, presence: Tensor, generator: torch.Generator | None = None) -> Encoded:
        whole = normalised(presence)
        return self._encoded(history, presence, whole, dropped(whole, self.dropout, generator), generator)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        generator = context.generator
        if generator is None or self.decoder_share == 0:
            return super().score(context, presence, targets)
        present, features = context.presence(presence), target_features(context, targets)
        draw = torch.rand((*present.shape[:-1], 1), generator=generator, device=present.device)
        of_decoder, whole = draw < self.decoder_share, normalised(present)
        x = torch.where(of_decoder, whole, dropped(whole, self.dropout, generator))
        encoded = self._encoded(context.history, present, whole, x, generator)
        if presence is None:
            kl = encoded.terms["kl"]
            context.kept[self] = {"kl": torch.where(of_decoder.squeeze(-1), kl.detach(), kl)}
        by_decoder = encoded.user.detach() @ features.transpose(-1, -2)
        return torch.where(of_decoder, by_decoder, encoded.user @ features.detach().transpose(-1, -2))

    def _encoded(
        self, history: History, presence: Tensor, whole: Tensor, x: Tensor, generator: torch.Generator | None
    ) -> Encoded:
        """Users from inputs x [B, M, L], which may be noised, and the KL to the prior of the whole ones."""
        mu, logvar = self.encoder(history, x)
        if generator is None:
            return Encoded(mu)
        z = reparameterize(mu, logvar, generator)
        kl = (log_normal(z, mu, logvar) - self._log_prior(history, whole, z)).sum(-1)
        return Encoded(z, {"kl": presence.sum(-1) * kl})

    def _log_prior(self, history: History, x: Tensor, z: Tensor) -> Tensor:
        """log p(z | x) [B, M, d] of each latent; x [B, M, L] is not noised."""
        with torch.no_grad():
            old_mu, old_logvar = self.old(history, x)
        zero = torch.zeros_like(z)
        densities = (
            log_normal(z, zero, zero),
            log_normal(z, old_mu, old_logvar),
            log_normal(z, zero, zero + _WIDE_LOGVAR),
        )
        shared = [density + share for density, share in zip(densities, self.log_shares, strict=True)]
        return torch.stack(shared).logsumexp(0)

    def updates(self) -> list[Update]:
        """The old posterior becomes the present one. Logged is the mean square of the weights' move."""

        def copying(parameters: Sequence[nn.Parameter], rate: float) -> _Copy:
            return _Copy(parameters, list(self.encoder.parameters()))

        old = list(self.old.parameters())
        return [Update("old_posterior", old, self._moved, "kl", self.old_every, optimiser=copying)]

    def _moved(self, generator: torch.Generator) -> Tensor:
        pairs = zip(self.old.parameters(), self.encoder.parameters(), strict=True)
        return torch.cat([(old - new.detach()).flatten() for old, new in pairs]).square().mean()


class _Dense(nn.Module):
    """Normalised inputs x [B, M, L] -> mu, logvar [B, M, latent_size]."""

    def __init__(self, n_items: int, hidden_size: int, latent_size: int) -> None:
        super().__init__()
        self.first = HistorySum(n_items, hidden_size)
        self.layers = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(_N_LAYERS - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size, eps=_NORM_EPSILON) for _ in range(_N_LAYERS))
        self.mu, self.logvar = nn.Linear(hidden_size, latent_size), nn.Linear(hidden_size, latent_size)
        start_as_glorot(*self.layers, self.mu, self.logvar)

    def forward(self, history: History, x: Tensor) -> tuple[Tensor, Tensor]:
        total = hidden = self.norms[0](functional.silu(self.first(history, x)))
        for layer, norm in zip(self.layers, self.norms[1:], strict=True):
            hidden = norm(functional.silu(layer(hidden) + total))
            total = total + hidden
        return self.mu(hidden), self.logvar(hidden)


class _Copy:
    """The optimiser of a copy, whose loss, its distance from the original, is 0 after one step whatever the rate."""

    def __init__(self, parameters: Sequence[nn.Parameter], originals: Sequence[nn.Parameter]) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), "lr": 1.0}]
        self._originals = originals

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for parameter, original in zip(self.param_groups[0]["params"], self._originals, strict=True):
            parameter.copy_(original)

    def state_dict(self) -> dict[str, Any]:
        return {"state": {}, "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """It remembers nothing."""
