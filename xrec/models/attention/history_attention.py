"""Attention whose gates do not depend on presence: heads with a table of logits and one of values each. With logits s,
values V over history items j and targets i, and presence p:

score_i = sum_h sum_j p_j g_hji V_hji

with gates g that a normaliser makes of the logits. Sigmoid gates know nothing of each other, so that deleting j changes
the score by exactly its term; those of softmax, sparsemax and entmax15 share out a weight of 1, so that deleting j
re-weighs the rest.

What depends on presence otherwise (stacked self-attention) is a `Component` of its own.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.attention.normalisers.by_name import NormaliserName, normaliser_of
from xrec.models.attention.normalisers.normaliser import Normaliser
from xrec.models.component import Component, target_features
from xrec.models.history import History
from xrec.models.recommender import Capabilities, Context, WeightedMeans
from xrec.types import Catalogue

#: entries of a table of [B, H, L, T] that are computed together over the catalogue: what bounds memory
_MAX_ENTRIES = 8_000_000
#: what masked copies share is kept for further ones where it has no more entries over the whole catalogue
_MAX_KEPT = 4 * _MAX_ENTRIES


@dataclass(frozen=True)
class AttentionTables:
    """logits [B, H, L, T], -inf for padding, or [B, H, L, 1] when targets share them; rows [B, H, L, d], whose inner
    products with the targets' features [T, d] or [B, T, d] are the values."""

    logits: Tensor
    rows: Tensor
    target_features: Tensor
    normaliser: Normaliser

    @cached_property
    def value(self) -> Tensor:
        """[B, H, L, T]"""
        return against(self.rows, self.target_features)

    def once(self, presence: Tensor) -> Tensor:
        """The score [B, T] at presence [B, L]: what is read out is summed before it meets the targets, so that there is
        no table of values."""
        there = presence[:, None, :, None]
        gates, rows = self.normaliser.gates(self.logits, there), self.rows * there  # rows are smaller than gates
        read = (gates.transpose(-1, -2) @ rows).sum(1)  # [B, T, d] or [B, 1, d]
        if read.shape[1] == 1:
            return (read @ self.target_features.transpose(-1, -2)).squeeze(1)
        return (read * self.target_features).sum(-1)

    def score(self) -> Callable[[Tensor], Tensor]:
        """presence [B, M, L] -> [B, M, T]; 0 for an empty history."""
        if self.logits.shape[-1] == 1:  # what is read out is the same for every target
            targets, read = self.target_features.transpose(-1, -2), self.normaliser.scores(self.logits, self.rows)
            return lambda presence: read(presence) @ targets
        return self.normaliser.scores(self.logits, self.value)

    def weights(self, presence: Tensor) -> Tensor:
        """Attention weights [B, H, L, T] for presence [B, L]."""
        there = presence[:, None, :, None]
        return self.normaliser.gates(self.logits, there) * there

    def contributions(self, presence: Tensor) -> Tensor:
        """Summands [B, L, T] of `score` at presence [B, L]."""
        return (self.weights(presence) * self.value).sum(1)

    def norms(self, presence: Tensor) -> Tensor:
        """Lengths [B, L, T] of sum_h g_hj row_hj, from inner products of heads: no table of vectors."""
        weights = self.weights(presence)
        inner = torch.einsum("bhld,bkld->bhkl", self.rows, self.rows)
        return torch.einsum("bhlt,bklt,bhkl->blt", weights, weights, inner).clamp_min(0).sqrt()


class HistoryAttention(Component):
    """score = attention over values <v_j, f_i> / sqrt(d). Contributions sum to the score of the whole history;
    they are deletion effects where the normaliser is linear."""

    capabilities = Capabilities(
        gradients=True, fractional_presence=True, additive=True, attention=True, attention_values=True
    )
    uses_features = True
    n_heads: int = 1

    def __init__(self, catalogue: Catalogue, embedding_size: int) -> None:
        super().__init__()
        self.scale = 1.0 / math.sqrt(embedding_size)

    @abstractmethod
    def tables(self, history: History, features: Tensor, target_features: Tensor, targets: Tensor) -> AttentionTables:
        """Logits and rows of a history with item features [B, L, d] for targets, ids [T] or [B, T], with features
        [T, d] or [B, T, d]."""

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        if presence is None:
            own = context.history.presence
            whole = torch.cat([tables.once(own) for tables in self._tables(context, targets)], dim=-1)
            return whole.unsqueeze(1) * self.scale
        present, (whose, scores) = context.presence(presence), context.kept.get(self, (None, []))
        if scores and whose is targets and not torch.is_grad_enabled():
            return torch.cat([score(present) for score in scores], dim=-1) * self.scale
        n_targets = len(context.tables["features"]) if targets is None else targets.shape[-1]
        keep = self._entries(context) * n_targets <= _MAX_KEPT and not torch.is_grad_enabled()
        scores, pieces = [], []
        for tables in self._tables(context, targets):
            score = tables.score()
            pieces.append(score(present))
            if keep:
                scores.append(score)
        if keep:
            context.kept[self] = targets, scores
        return torch.cat(pieces, dim=-1) * self.scale

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        own = context.history.presence
        return torch.cat([t.contributions(own) for t in self._tables(context, targets)], dim=-1) * self.scale

    def weighted_means(self, context: Context, targets: Tensor) -> WeightedMeans:
        (tables,) = self._tables(context, targets)
        return WeightedMeans(tables.logits, tables.value * self.scale)

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """The mean over heads."""
        own = context.history.presence
        weights = [t.weights(own).mean(1).expand_as(t.value[:, 0]) for t in self._tables(context, targets)]
        return torch.cat(weights, dim=-1)

    def attention_norms(self, context: Context, targets: Tensor | None = None) -> Tensor:
        own = context.history.presence
        norms = [t.norms(own).expand(-1, -1, t.target_features.shape[-2]) for t in self._tables(context, targets)]
        return torch.cat(norms, dim=-1) * self.scale

    def _entries(self, context: Context) -> int:
        """Of a table per target."""
        return max(1, context.history.item.numel() * self.n_heads)

    def _tables(self, context: Context, targets: Tensor | None) -> Iterator[AttentionTables]:
        """Those of the targets, or of the catalogue block by block."""
        wanted, features = target_features(context, targets), context.tables["features"][context.history.item]
        if targets is not None:
            yield _carrying(self.tables(context.history, features, wanted, targets), context)
            return
        size, catalogue = (
            max(1, _MAX_ENTRIES // self._entries(context)),
            torch.arange(len(wanted), device=wanted.device),
        )
        for block, ids in zip(wanted.split(size), catalogue.split(size), strict=True):
            yield _carrying(self.tables(context.history, features, block, ids), context)


class HeadedAttention(HistoryAttention):
    """Heads whose logits hold - decay_h * log(1 + age_j) + kind bias_h, whatever else, and a normaliser for all.

    Args:
        n_heads: H. normaliser: of the gates of each head. 'sigmoid' (contributions are deletion effects), 'softmax'
            (all items share a weight of 1), 'sparsemax' or 'entmax15' (few of them do, the others have exactly none).
    Raises:
        SettingError: another normaliser, or no head.
    """

    def __init__(self, catalogue: Catalogue, embedding_size: int, n_heads: int, normaliser: NormaliserName) -> None:
        super().__init__(catalogue, embedding_size)
        self.normaliser = normaliser_of(normaliser)
        if n_heads < 1:
            raise SettingError(f"model.components.attention.n_heads must be at least 1, got {n_heads}")
        self.n_heads, self.linear = n_heads, self.normaliser.linear
        self.capabilities = replace(self.capabilities, weighted_means=self.normaliser.weighted_mean)
        self.decay = nn.Parameter(torch.full((n_heads,), 0.5))
        self.kind_bias = nn.Parameter(torch.zeros(n_heads, len(catalogue.event_kinds)))
        self.bias = nn.Parameter(torch.full((n_heads,), -1.0))

    def offset(self, history: History) -> Tensor:
        """[B, H, L, 1] what logits hold whatever the target; -inf for padding."""
        age = self.decay[:, None] * history.age.log1p().unsqueeze(1)
        offset = self.kind_bias[:, history.kind].transpose(0, 1) - age + self.bias[:, None]
        return where_there(offset, history)

    def heads(self, rows: Tensor) -> Tensor:
        """[B, L, H * s] -> [B, H, L, s]"""
        return rows.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


def _carrying(tables: AttentionTables, context: Context) -> AttentionTables:
    if context.carried is None:
        return tables
    return replace(tables, rows=tables.rows * context.carried[:, None, :, None])


def against(rows: Tensor, target_features: Tensor) -> Tensor:
    """Inner products of rows [B, H, L, d] with targets [T, d] or [B, T, d]: [B, H, L, T]."""
    targets = target_features.transpose(-1, -2)
    return rows @ (targets if targets.dim() == 2 else targets.unsqueeze(1))


def where_there(offset: Tensor, history: History) -> Tensor:
    """[B, H, L, 1] of what logits hold whatever the target [B, H, L]; -inf for padding."""
    return offset.masked_fill((history.presence == 0)[:, None, :], -math.inf).unsqueeze(-1)
