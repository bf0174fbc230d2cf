"""Attention whose gates do not depend on presence: heads with a table of logits and one of values each. With logits s,
values V over history items j and targets i, and presence p:

sigmoid:  score_i = sum_h sum_j p_j sigmoid(s_hji) V_hji                     (deleting j changes it by exactly its term)
softmax:  score_i = sum_h sum_j p_j e^s_hji V_hji / sum_j p_j e^s_hji        (deleting j re-weighs the rest)

What depends on presence otherwise (stacked self-attention) is a `Component` of its own.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xrec.models.attention.present_softmax import PresentMean, present_softmax
from xrec.models.component import Component, target_features
from xrec.models.history import History
from xrec.models.recommender import Capabilities, Context
from xrec.types import Catalogue

#: entries of a table of [B, H, L, T] that are computed together over the catalogue: what bounds memory
_MAX_ENTRIES = 8_000_000
#: what masked copies share is kept for further ones where it has no more entries over the whole catalogue
_MAX_KEPT = 4 * _MAX_ENTRIES


@dataclass(frozen=True)
class AttentionTables:
    """logits, value [B, H, L, T], logits -inf for padding; logits may be [B, H, L, 1] when targets share them."""

    logits: Tensor
    value: Tensor
    normalised: bool

    def score(self) -> Callable[[Tensor], Tensor]:
        """presence [B, M, L] -> [B, M, T]; 0 for an empty history."""
        if self.normalised:
            mean = PresentMean(self.logits, self.value)
            return lambda presence: mean(presence.unsqueeze(1)).sum(1)
        table = (self.logits.sigmoid() * self.value).sum(1)
        return lambda presence: presence @ table

    def weights(self, presence: Tensor) -> Tensor:
        """Attention weights [B, H, L, T] for presence [B, L]."""
        there = presence[:, None, :, None]
        return present_softmax(self.logits, there, dim=2) if self.normalised else self.logits.sigmoid() * there

    def contributions(self, presence: Tensor) -> Tensor:
        """Summands [B, L, T] of `score` at presence [B, L]."""
        return (self.weights(presence) * self.value).sum(1)


class HistoryAttention(Component):
    """score = attention over values <v_j, f_i> / sqrt(d). With normalised gates contributions sum to the score of the
    whole history, but are no deletion effects."""

    capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True, attention=True)
    uses_features = True
    n_heads: int = 1

    def __init__(self, catalogue: Catalogue, embedding_size: int) -> None:
        super().__init__()
        self.scale = 1.0 / math.sqrt(embedding_size)

    @abstractmethod
    def tables(self, history: History, features: Tensor, target_features: Tensor, targets: Tensor) -> AttentionTables:
        """Logits and values of a history with item features [B, L, d] for targets, ids [T] or [B, T], with features
        [T, d] or [B, T, d]."""

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        present, kept = context.presence(presence), context.kept.get(self) if targets is None else None
        scores: list[Callable[[Tensor], Tensor]] = kept if isinstance(kept, list) else []
        if scores:
            return torch.cat([score(present) for score in scores], dim=-1) * self.scale
        keep, pieces = targets is None and self._entries(context) * len(context.tables["features"]) <= _MAX_KEPT, []
        for tables in self._tables(context, targets):
            score = tables.score()
            pieces.append(score(present))
            if keep:
                scores.append(score)
        if keep:
            context.kept[self] = scores
        return torch.cat(pieces, dim=-1) * self.scale

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        own = context.history.presence
        return torch.cat([t.contributions(own) for t in self._tables(context, targets)], dim=-1) * self.scale

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """The mean over heads."""
        own = context.history.presence
        weights = [t.weights(own).mean(1).expand_as(t.value[:, 0]) for t in self._tables(context, targets)]
        return torch.cat(weights, dim=-1)

    def _entries(self, context: Context) -> int:
        """Of a table per target."""
        return max(1, context.history.item.numel() * self.n_heads)

    def _tables(self, context: Context, targets: Tensor | None) -> Iterator[AttentionTables]:
        """Those of the targets, or of the catalogue block by block."""
        wanted, features = target_features(context, targets), context.tables["features"][context.history.item]
        if targets is not None:
            yield self.tables(context.history, features, wanted, targets)
            return
        size, catalogue = (
            max(1, _MAX_ENTRIES // self._entries(context)),
            torch.arange(len(wanted), device=wanted.device),
        )
        for block, ids in zip(wanted.split(size), catalogue.split(size), strict=True):
            yield self.tables(context.history, features, block, ids)


def against(rows: Tensor, target_features: Tensor) -> Tensor:
    """Inner products of rows [B, H, L, d] with targets [T, d] or [B, T, d]: [B, H, L, T]."""
    targets = target_features.transpose(-1, -2)
    return rows @ (targets if targets.dim() == 2 else targets.unsqueeze(1))


def where_there(logits: Tensor, history: History) -> Tensor:
    """Logits [B, H, L, T], -inf where the history has padding."""
    return logits.masked_fill((history.presence == 0)[:, None, :, None], -math.inf)
