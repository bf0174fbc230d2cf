"""MacridVAE (Ma et al., NeurIPS 2019): items belong to concepts, and a user has a latent for each concept."""

from __future__ import annotations

import math
from functools import reduce
from typing import Literal

import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.losses.variational import kl_between, reparameterize
from xrec.models.component import Component, target_features
from xrec.models.history import History, normalised
from xrec.models.recommender import Context
from xrec.models.settings import above_0, at_least, from_0_below_1
from xrec.models.user_encoder.layers import HistorySum, dropped, start_as_glorot
from xrec.types import Catalogue

#: added to squared lengths of latents, features and prototypes, which are made units: gradients exist at 0
_SMOOTHING = 1e-6


class MacridVAE(Component):
    """score(u, i) = log sum_k c_ik exp(<z_uk, f_i> / temperature), with units f_i and z_uk.

    c_i [K] is how far item i belongs to each concept: a softmax over the cosines of f_i with K prototypes over the
    temperature; in training a draw of Gumbel-softmax of them, one for all users that are computed together. Concept k
    is encoded from the history's items times c_jk, by one encoder for all concepts: normalised -> dropout -> tanh ->
    (mu, logvar). mu is made a unit; z ~ N(mu, deviation^2 exp(logvar)) in training, z = mu when scoring; z is made a
    unit again.

    The term `kl` is that of all concepts to N(0, deviation^2); mu, a unit, is a constant of 1 / (2 deviation^2) nats
    for each concept in it, and has no gradient. Here the norm of a concept's items is the smooth one of `normalised`,
    so that a concept which a history hardly touches says little; in the paper it speaks as loud as the others.

    Args:
        n_concepts: K. hidden_size: width of the encoder's layer. dropout: share of the history dropped in training.
        temperature: of cosines, in c and in the score. deviation: of the prior.
        assignment: 'gumbel' as above, or 'softmax' in training too.
    Raises:
        SettingError: a size below 1, a temperature or deviation of 0 or less, a dropout outside [0, 1), another
            assignment.
    """

    uses_features = True
    term_names = ("kl",)

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        n_concepts: int = 7,
        hidden_size: int = 128,
        dropout: float = 0.5,
        temperature: float = 0.1,
        deviation: float = 0.075,
        assignment: Literal["gumbel", "softmax"] = "gumbel",
    ) -> None:
        super().__init__()
        at_least(1, "macrid_vae", n_concepts=n_concepts, hidden_size=hidden_size)
        above_0("macrid_vae", temperature=temperature, deviation=deviation)
        from_0_below_1("macrid_vae", dropout=dropout)
        if assignment not in ("gumbel", "softmax"):
            raise SettingError(f"macrid_vae: assignment must be 'gumbel' or 'softmax', got {assignment!r}")
        self.dropout, self.temperature, self.assignment = dropout, temperature, assignment
        self.prior_logvar = 2 * math.log(deviation)
        self.prototypes = nn.Parameter(torch.empty(n_concepts, embedding_size))
        self.first = HistorySum(catalogue.n_items, hidden_size)
        self.mu, self.logvar = nn.Linear(hidden_size, embedding_size), nn.Linear(hidden_size, embedding_size)
        nn.init.xavier_normal_(self.prototypes)
        start_as_glorot(self.mu, self.logvar)

    def log_concepts(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Item features [I, d] -> log c [I, K]; with a generator, where the assignment is 'gumbel', a draw."""
        cosines = normalised(features, _SMOOTHING) @ normalised(self.prototypes, _SMOOTHING).T
        logits = cosines / self.temperature
        if generator is None or self.assignment == "softmax":
            return logits.log_softmax(-1)
        gumbel = -torch.empty_like(logits).exponential_(generator=generator).log()
        return ((logits + gumbel) / self.temperature).log_softmax(-1)

    def encode(
        self, history: History, presence: Tensor, concepts: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Presence [B, M, L] and c of the history's items [B, L, K] -> units z [B, M, K, d], and the KL [B, M] in nats,
        which means something with a generator only (training)."""
        n, m, length = presence.shape
        x = presence.unsqueeze(2) * concepts.transpose(1, 2).unsqueeze(1)
        x = dropped(normalised(x), self.dropout, generator).reshape(n, -1, length)
        hidden = torch.tanh(self.first(history, x)).reshape(n, m, concepts.shape[-1], -1)
        mu, logvar = normalised(self.mu(hidden), _SMOOTHING), self.logvar(hidden)
        if generator is None:
            return normalised(mu, _SMOOTHING), mu.new_zeros(n, m)
        prior = torch.full_like(logvar, self.prior_logvar)
        z = reparameterize(mu, logvar + prior, generator)
        kl = kl_between(mu.detach(), logvar + prior, torch.zeros_like(mu), prior).sum(-1)
        return normalised(z, _SMOOTHING), kl

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        log_concepts = self.log_concepts(context.tables["features"], context.generator)
        concepts = log_concepts.exp()[context.history.item]
        z, kl = self.encode(context.history, context.presence(presence), concepts, context.generator)
        if presence is None and context.generator is not None:
            context.kept[self] = {"kl": kl.squeeze(1)}
        features = normalised(target_features(context, targets), _SMOOTHING).transpose(-1, -2) / self.temperature
        shares = (log_concepts if targets is None else log_concepts[targets]).transpose(-1, -2).unsqueeze(-2)
        by_concept = (z[:, :, k] @ features + shares[..., k, :, :] for k in range(z.shape[2]))
        return reduce(torch.logaddexp, by_concept)

    def terms(self, context: Context, wanted: set[str]) -> dict[str, Tensor]:
        return {name: term for name, term in context.kept.get(self, {}).items() if name in wanted}
