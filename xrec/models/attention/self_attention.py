"""Stacked self-attention over the history (SASRec, Kang and McAuley, ICDM 2018), by ages instead of places.

An item attends to what is not younger than itself, by content and by the gap of their ages, so that its state is the
same at every later moment: one pass gives the scores of all positions of a sequence, and an item that is masked and one
that is removed are the same. The history is read out by attention of a learned query that decays with age. Scores are
cosines over a learned temperature, or inner products.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import SettingError
from xrec.models.attention.present_softmax import present_softmax
from xrec.models.component import Component, target_features
from xrec.models.history import Positions
from xrec.models.recommender import Capabilities, Context
from xrec.models.settings import from_0_below_1
from xrec.types import Catalogue

#: history-item pairs of masked copies whose attention is computed together: what bounds memory
_MAX_PAIRS = 4_000_000
#: buckets of log2(1 + gap) in halves: gaps of up to 180 periods are told apart
_N_GAPS = 16


class SelfAttention(Component):
    """score = cos(r, f_i) / temperature with r = sum_j a_j h_j, h the items' states after the blocks and a the
    read-out's weights; without a temperature <r, f_i> / sqrt(d). Not additive: every item's state depends on which
    others are there.

    Args:
        n_blocks, n_heads: of the stack. dropout: of what goes into every layer and comes out of it, in training.
        temperature: that the learned one starts at; None: inner products. decay: of the read-out with log(1 + age),
            that the learned one starts at.
    Raises:
        SettingError: a size below 1, heads that do not divide the embedding, a dropout outside [0, 1), or a temperature
            that is not positive.
    """

    capabilities = Capabilities(
        gradients=True, fractional_presence=True, attention=True, attention_values=True, layers=True
    )
    uses_features = True
    positions = True

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        n_blocks: int = 2,
        n_heads: int = 2,
        dropout: float = 0.2,
        temperature: float | None = None,
        decay: float = 0.5,
    ) -> None:
        super().__init__()
        if n_blocks < 1 or n_heads < 1 or embedding_size % n_heads:
            raise SettingError(
                f"self_attention: takes n_blocks and n_heads of at least 1, and n_heads that divide "
                f"model.embedding_size={embedding_size}; got {n_blocks} and {n_heads}"
            )
        from_0_below_1("self_attention", dropout=dropout)
        if temperature is not None and temperature <= 0:
            raise SettingError(f"self_attention: temperature must be positive (or null), got {temperature}")
        self.scale, self.dropout = 1.0 / math.sqrt(embedding_size), dropout
        self.log_temperature = None if temperature is None else nn.Parameter(torch.tensor(temperature).log())
        self.kind = nn.Embedding(len(catalogue.event_kinds), embedding_size)
        self.blocks = nn.ModuleList(_Block(embedding_size, n_heads) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(embedding_size)
        self.query = nn.Linear(embedding_size, 1)
        self.decay = nn.Parameter(torch.tensor(float(decay)))
        nn.init.normal_(self.kind.weight, std=0.1)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        present, states = context.presence(presence), self._inputs(context)
        pairs = present.shape[0] * max(1, present.shape[2]) ** 2
        pieces = present.split(max(1, _MAX_PAIRS // pairs), dim=1)
        read = torch.cat([self._read(context, states, piece) for piece in pieces], dim=1)
        return self._scores(context, read, targets)

    def score_positions(self, context: Context, positions: Positions, targets: Tensor) -> Tensor:
        history, present = context.history, context.presence(None)
        states = self._states(context, self._inputs(context), present)
        gap = history.age.unsqueeze(1) - history.age.unsqueeze(2)  # of a moment (rows) and an item (columns)
        weights = self._weights(gap.clamp_min(0), states, present * (gap > 0))
        return self._scores(context, (weights @ states[:, 0])[positions.rows, positions.columns], targets)

    def _scores(self, context: Context, read: Tensor, targets: Tensor | None) -> Tensor:
        wanted = target_features(context, targets)
        if self.log_temperature is None:
            return read @ wanted.transpose(-1, -2) * self.scale
        return _unit(read) @ _unit(wanted).transpose(-1, -2) * (-self.log_temperature).exp()

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """The read-out's weights, the same for every target."""
        return self._for_all(self._read_out(context)[0], context, targets)

    def attention_norms(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """Of the read-out's weights times the states after the blocks, the same for every target."""
        weights, states = self._read_out(context)
        return self._for_all(weights * states.norm(dim=-1), context, targets)

    def _read_out(self, context: Context) -> tuple[Tensor, Tensor]:
        """The read-out's weights [B, L] and what they weigh [B, L, d], of whole histories."""
        present = context.history.presence.unsqueeze(1)
        states = self._states(context, self._inputs(context), present)
        return self._weights(context.history.age.unsqueeze(1), states, present)[:, 0], states[:, 0]

    @staticmethod
    def _for_all(values: Tensor, context: Context, targets: Tensor | None) -> Tensor:
        n_targets = len(context.tables["features"]) if targets is None else targets.shape[1]
        return values.unsqueeze(-1).expand(-1, -1, n_targets)

    def attention_layers(self, context: Context, targets: Tensor | None = None) -> list[Tensor]:
        """Averaged over heads; rows and columns of padding are 0."""
        present, layers = context.history.presence.unsqueeze(1), []
        self._states(context, self._inputs(context), present, layers)
        return [layer[:, 0] * context.history.presence.unsqueeze(-1) for layer in layers]

    def _inputs(self, context: Context) -> Tensor:
        """[B, 1, L, d]"""
        history = context.history
        states = context.tables["features"][history.item] / self.scale + self.kind(history.kind)
        return self._dropped(context, states).unsqueeze(1)

    def _dropped(self, context: Context, states: Tensor) -> Tensor:
        """Inverted dropout, in training only."""
        if context.generator is None or self.dropout == 0:
            return states
        noise = torch.rand(states.shape, generator=context.generator, device=states.device)
        return states * (noise >= self.dropout) / (1 - self.dropout)

    def _states(self, context: Context, states: Tensor, present: Tensor, layers: list[Tensor] | None = None) -> Tensor:
        states, dropped = states.expand(-1, present.shape[1], -1, -1), partial(self._dropped, context)
        age = context.history.age
        gap = age.unsqueeze(1) - age.unsqueeze(2)  # of an item (rows) and what it attends to (columns), >= 0 if older
        for block in self.blocks:
            states = block(states, present, gap, layers, dropped)
        return self.norm(states)

    def _read(self, context: Context, states: Tensor, present: Tensor) -> Tensor:
        """[B, M, d]"""
        states = self._states(context, states, present)
        weights = self._weights(context.history.age.unsqueeze(1), states, present)
        if context.carried is not None:
            weights = weights * context.carried.unsqueeze(1)
        return (weights.unsqueeze(-1) * states).sum(2)

    def _weights(self, age: Tensor, states: Tensor, present: Tensor) -> Tensor:
        """[B, M, L] of ages and presence [B, M, L]; 0 throughout for an empty history."""
        logits = self.query(states).squeeze(-1) - self.decay * age.log1p()
        return present_softmax(logits, present)


class _Block(nn.Module):
    """Attention of each item to those that are there and not younger, biased by the gap of their ages, then a net for
    each item; both added, with norms before."""

    def __init__(self, size: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.before, self.between = nn.LayerNorm(size), nn.LayerNorm(size)
        self.project = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.gap = nn.Embedding(_N_GAPS, n_heads)
        nn.init.zeros_(self.gap.weight)
        self.net = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))

    def forward(
        self,
        states: Tensor,
        present: Tensor,
        gap: Tensor,
        layers: list[Tensor] | None = None,
        dropped: Callable[[Tensor], Tensor] = lambda states: states,
    ) -> Tensor:
        """states [B, M, L, d], present [B, M, L], gap [B, L, L]; the attention [B, M, L, L] is appended to `layers`;
        `dropped` is applied to what is added to the states."""
        heads = self.project(self.before(states)).unflatten(-1, (3, self.n_heads, -1)).movedim(-2, 2)
        query, key, value = heads.unbind(-2)  # [B, M, H, L, d / H]
        bias = self.gap((2 * (1 + gap.clamp_min(0)).log2()).long().clamp_max(_N_GAPS - 1)).movedim(-1, 1)
        logits = query @ key.transpose(-1, -2) / math.sqrt(key.shape[-1]) + bias.unsqueeze(1)
        weights = present_softmax(logits, present[:, :, None, None, :] * (gap >= 0)[:, None, None])
        if layers is not None:
            layers.append(weights.mean(2))
        states = states + dropped(self.out((weights @ value).movedim(2, -2).flatten(-2)))
        return states + dropped(self.net(self.between(states)))


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1; 0 stays 0."""
    return functional.normalize(rows, dim=-1, eps=1e-6)
