"""Stacked self-attention over the history (SASRec, Kang and McAuley, ICDM 2018), by ages instead of places.

An item's position is its age, learned per bucket of the logarithm, so that an item that is masked and one that is
removed are the same; there is no causal mask, since targets come after the whole history. The history is read out by
attention of a learned query that decays with age.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.component import Component, target_features
from xrec.models.history import History
from xrec.models.recommender import Capabilities, Context
from xrec.types import Catalogue

#: history-item pairs of masked copies whose attention is computed together: what bounds memory
_MAX_PAIRS = 4_000_000
_N_AGES = 16


class SelfAttention(Component):
    """score = <sum_j a_j h_j, f_i> / sqrt(d), with h the items' states after the blocks and a the read-out's weights.
    Not additive: every item's state depends on which others are there.

    Args:
        n_blocks, n_heads: of the stack. dropout: of items' states in training.
    Raises:
        SettingError: a size below 1, heads that do not divide the embedding, or a dropout outside [0, 1).
    """

    capabilities = Capabilities(gradients=True, fractional_presence=True, attention=True, layers=True)
    uses_features = True

    def __init__(
        self, catalogue: Catalogue, embedding_size: int, n_blocks: int = 2, n_heads: int = 2, dropout: float = 0.2
    ) -> None:
        super().__init__()
        if n_blocks < 1 or n_heads < 1 or embedding_size % n_heads:
            raise SettingError(
                f"self_attention: takes n_blocks and n_heads of at least 1, and n_heads that divide "
                f"model.embedding_size={embedding_size}; got {n_blocks} and {n_heads}"
            )
        if not 0 <= dropout < 1:
            raise SettingError(f"self_attention: dropout must be in [0, 1), got {dropout}")
        self.scale, self.dropout = 1.0 / math.sqrt(embedding_size), dropout
        self.item = nn.Linear(embedding_size, embedding_size)
        self.age = nn.Embedding(_N_AGES, embedding_size)
        self.kind = nn.Embedding(len(catalogue.event_kinds), embedding_size)
        self.blocks = nn.ModuleList(_Block(embedding_size, n_heads) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(embedding_size)
        self.query = nn.Linear(embedding_size, 1)
        self.decay = nn.Parameter(torch.tensor(0.5))
        nn.init.normal_(self.age.weight, std=0.1)
        nn.init.normal_(self.kind.weight, std=0.1)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        present, states = context.presence(presence), self._inputs(context)
        pairs = present.shape[0] * max(1, present.shape[2]) ** 2
        pieces = present.split(max(1, _MAX_PAIRS // pairs), dim=1)
        read = torch.cat([self._read(context.history, states, piece) for piece in pieces], dim=1)
        return read @ target_features(context, targets).transpose(-1, -2) * self.scale

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """The read-out's weights, the same for every target."""
        present = context.history.presence.unsqueeze(1)
        weights = self._weights(context.history, self._states(self._inputs(context), present), present)[:, 0]
        n_targets = len(context.tables["features"]) if targets is None else targets.shape[1]
        return weights.unsqueeze(-1).expand(-1, -1, n_targets)

    def attention_layers(self, context: Context, targets: Tensor | None = None) -> list[Tensor]:
        """Averaged over heads; rows and columns of padding are 0."""
        present, layers = context.history.presence.unsqueeze(1), []
        self._states(self._inputs(context), present, layers)
        return [layer[:, 0] * context.history.presence.unsqueeze(-1) for layer in layers]

    def _inputs(self, context: Context) -> Tensor:
        """[B, 1, L, d]"""
        history = context.history
        bucket = (2 * history.age.clamp_min(1).log2()).long().clamp_max(_N_AGES - 1)
        states = self.item(context.tables["features"][history.item]) + self.age(bucket) + self.kind(history.kind)
        if context.generator is not None and self.dropout > 0:
            keep = torch.rand(states.shape, generator=context.generator, device=states.device) >= self.dropout
            states = states * keep / (1 - self.dropout)
        return states.unsqueeze(1)

    def _states(self, states: Tensor, present: Tensor, layers: list[Tensor] | None = None) -> Tensor:
        states = states.expand(-1, present.shape[1], -1, -1)
        for block in self.blocks:
            states = block(states, present, layers)
        return self.norm(states)

    def _read(self, history: History, states: Tensor, present: Tensor) -> Tensor:
        """[B, M, d]"""
        states = self._states(states, present)
        return (self._weights(history, states, present).unsqueeze(-1) * states).sum(2)

    def _weights(self, history: History, states: Tensor, present: Tensor) -> Tensor:
        """[B, M, L]; 0 throughout for an empty history."""
        logits = self.query(states).squeeze(-1) - self.decay * history.age.log1p().unsqueeze(1)
        return present_softmax(logits, present)


class _Block(nn.Module):
    """Attention among the items that are there, then a net for each item; both added, with norms before."""

    def __init__(self, size: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.before, self.between = nn.LayerNorm(size), nn.LayerNorm(size)
        self.project = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.net = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))

    def forward(self, states: Tensor, present: Tensor, layers: list[Tensor] | None) -> Tensor:
        """states [B, M, L, d], present [B, M, L]; the attention [B, M, L, L] is appended to `layers`."""
        heads = self.project(self.before(states)).unflatten(-1, (3, self.n_heads, -1)).movedim(-2, 2)
        query, key, value = heads.unbind(-2)  # [B, M, H, L, d / H]
        logits = query @ key.transpose(-1, -2) / math.sqrt(key.shape[-1])
        weights = present_softmax(logits, present[:, :, None, None, :])
        if layers is not None:
            layers.append(weights.mean(2))
        states = states + self.out((weights @ value).movedim(2, -2).flatten(-2))
        return states + self.net(self.between(states))


def present_softmax(logits: Tensor, present: Tensor) -> Tensor:
    """p_j exp(logit_j) / sum_k p_k exp(logit_k) over the last dimension: a softmax among what is there, smooth in
    presence; 0 throughout where nothing is."""
    if logits.shape[-1] == 0:
        return logits
    shift = logits.detach().masked_fill(present == 0, -math.inf).amax(-1, keepdim=True)
    weights = (logits - torch.nan_to_num(shift, neginf=0.0)).clamp(-60, 60).exp() * present
    return weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)
