"""Attention whose gates do not depend on presence: one table of gates, one of values. With gates G, values V over
history items j and targets i, and presence p:

unnormalised:  score_i = sum_j p_j G_ji V_ji                       (deleting j changes the score by exactly its term)
normalised:    score_i = sum_j p_j G_ji V_ji / sum_j p_j G_ji      (deleting j re-weighs the rest)

What depends on presence otherwise (stacked self-attention) is a `Component` of its own.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from xrec.models.component import Component, target_features
from xrec.models.history import History
from xrec.models.recommender import Capabilities, Context
from xrec.types import Catalogue


@dataclass(frozen=True)
class AttentionTables:
    """gate, value [B, L, T], gate >= 0 and 0 for padding; gate may be [B, L, 1] when targets share it."""

    gate: Tensor
    value: Tensor
    normalised: bool

    @cached_property
    def gated(self) -> Tensor:
        """[B, L, T]"""
        return self.gate * self.value

    def score(self, presence: Tensor) -> Tensor:
        """[B, M, T] for presence [B, M, L]; 0 for an empty history."""
        total = presence @ self.gated
        return total / (presence @ self.gate).clamp_min(1e-30) if self.normalised else total

    def weights(self, presence: Tensor) -> Tensor:
        """Attention weights [B, L, T] for presence [B, L]."""
        gate = self.gate * presence.unsqueeze(-1)
        return gate / gate.sum(1, keepdim=True).clamp_min(1e-30) if self.normalised else gate

    def contributions(self, presence: Tensor) -> Tensor:
        """Summands [B, L, T] of `score` at presence [B, L]."""
        return self.weights(presence) * self.value


class HistoryAttention(Component):
    """score = attention over values <v_j, f_i> / sqrt(d). With normalised gates contributions sum to the score of the
    whole history, but are no deletion effects."""

    capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True, attention=True)
    uses_features = True

    def __init__(self, catalogue: Catalogue, embedding_size: int) -> None:
        super().__init__()
        self.scale = 1.0 / math.sqrt(embedding_size)

    @abstractmethod
    def tables(self, history: History, features: Tensor, target_features: Tensor) -> AttentionTables:
        """Gates and values of a history with item features [B, L, d] for targets [T, d] or [B, T, d]."""

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        return self._tables(context, targets).score(context.presence(presence)) * self.scale

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        return self._tables(context, targets).contributions(context.history.presence) * self.scale

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        tables = self._tables(context, targets)
        return tables.weights(context.history.presence).expand_as(tables.value)

    def _tables(self, context: Context, targets: Tensor | None) -> AttentionTables:
        """Those of normalised gates over the whole catalogue are kept for further masked copies."""
        kept = context.kept.get(self) if targets is None else None
        if isinstance(kept, AttentionTables):
            return kept
        features, wanted = context.tables["features"], target_features(context, targets)
        tables = self.tables(context.history, features[context.history.item], wanted)
        if targets is None and tables.normalised:
            context.kept[self] = tables
        return tables


def against(rows: Tensor, target_features: Tensor) -> Tensor:
    """Inner products of rows [B, L, d] with targets [T, d] or [B, T, d]: [B, L, T]."""
    return rows @ target_features.transpose(-1, -2)
