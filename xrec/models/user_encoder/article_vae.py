"""The VAE of the text under study, by its own formulas as they stand: an ablation, not a model to choose."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.losses.variational import reparameterize
from xrec.models.history import History, normalised
from xrec.models.recommender import Context
from xrec.models.settings import at_least, from_0_below_1
from xrec.models.user_encoder.layers import HistorySum, dropped, start_as_glorot, warm_items
from xrec.models.user_encoder.user_encoder import Encoded, UserEncoder
from xrec.types import Catalogue

#: what keeps sigma from 0 and from beyond all numbers: nothing in the text's loss does
_LOGVAR = (-6.0, 2.0)


class ArticleVAE(UserEncoder):
    """mu(x), sigma(x) of the encoder; z = mu + sigma epsilon in training, mu when scoring; user = sigma x(z) + mu(z).

    x(.) and mu(.) are linear maps. There is no KL term. `loss/reconstruction=gaussian` with both confidences 1 is the
    text's L_dec = sum_i 1/2 (x_i - sigma x(z)_i - mu(z)_i)^2, and the term `encoding` its L_enc = - sum_i [x_i log s_i
    + (1 - x_i) log(1 - s_i)] over the catalogue without cold items. As written, s is a function of x_i alone, so that
    L_enc does not depend on what is learned; s is read as the encoder's output, sigmoid(<mu(x), f_i>). It is computed
    from logits, without a log of 0.

    Args:
        hidden_size: width of the encoder's layer (tanh). dropout: share of the history dropped in training, per item.
    Raises:
        SettingError: a size below 1, or a dropout outside [0, 1).
    """

    term_names = ("encoding",)

    def __init__(self, catalogue: Catalogue, embedding_size: int, hidden_size: int = 128, dropout: float = 0.5) -> None:
        super().__init__(catalogue, embedding_size)
        from_0_below_1("article_vae", dropout=dropout)
        at_least(1, "article_vae", hidden_size=hidden_size)
        self.dropout = dropout
        self.first = HistorySum(catalogue.n_items, hidden_size)
        self.mu, self.logvar = nn.Linear(hidden_size, embedding_size), nn.Linear(hidden_size, embedding_size)
        self.scaled, self.shift = nn.Linear(embedding_size, embedding_size), nn.Linear(embedding_size, embedding_size)
        self.warm: Tensor
        self.register_buffer("warm", warm_items(catalogue), persistent=False)
        start_as_glorot(self.mu, self.logvar, self.scaled, self.shift)

    def encode(self, history: History, presence: Tensor, generator: torch.Generator | None = None) -> Encoded:
        return self._decoded(*self._posterior(history, presence, generator), generator)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        scores = super().score(context, presence, targets)
        if presence is None and context.generator is not None:
            context.kept[self] = {"encoding": self._encoding(context)}
        return scores

    def _posterior(
        self, history: History, presence: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.first(history, dropped(normalised(presence), self.dropout, generator)))
        return self.mu(hidden), functional.hardtanh(self.logvar(hidden), *_LOGVAR)

    def _decoded(self, mu: Tensor, logvar: Tensor, generator: torch.Generator | None) -> Encoded:
        z = mu if generator is None else reparameterize(mu, logvar, generator)
        return Encoded((0.5 * logvar).exp() * self.scaled(z) + self.shift(z))

    def _encoding(self, context: Context) -> Tensor:
        """L_enc [B, 1] of whole histories, without dropout, in nats."""
        mu, _ = self._posterior(context.history, context.history.presence.unsqueeze(1), None)
        logits = mu @ context.tables["features"].T
        bought = logits.squeeze(1).gather(1, context.history.item) * context.history.presence
        return (functional.softplus(logits) * self.warm).sum(-1) - bought.sum(-1, keepdim=True)
