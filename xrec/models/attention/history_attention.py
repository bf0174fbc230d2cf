"""The arithmetic every attention shares. With gates G and values V over history items j and targets i:

unnormalised:  score_i = sum_j p_j G_ji V_ji                       (deleting j changes the score by exactly its term)
normalised:    score_i = sum_j p_j G_ji V_ji / sum_j p_j G_ji      (deleting j re-weighs the rest)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from xrec.models.history import History


@dataclass(frozen=True)
class AttentionTables:
    """gate, value [B, L, T], gate >= 0 and 0 for padding; gate may be [B, L, 1] when targets share it."""

    gate: Tensor
    value: Tensor
    normalised: bool

    def score(self, presence: Tensor) -> Tensor:
        """[B, M, T] for presence [B, M, L]; 0 for an empty history."""
        total = presence @ (self.gate * self.value)
        return total / (presence @ self.gate).clamp_min(1e-30) if self.normalised else total

    def weights(self, presence: Tensor) -> Tensor:
        """Attention weights [B, L, T] for presence [B, L]."""
        gate = self.gate * presence.unsqueeze(-1)
        return gate / gate.sum(1, keepdim=True).clamp_min(1e-30) if self.normalised else gate

    def contributions(self, presence: Tensor) -> Tensor:
        """Summands [B, L, T] of `score` at presence [B, L]."""
        return self.weights(presence) * self.value


class HistoryAttention(nn.Module, ABC):
    @abstractmethod
    def tables(self, history: History, features: Tensor, target_features: Tensor) -> AttentionTables:
        """Gates and values of a history with item features [B, L, d] for targets [T, d] or [B, T, d]."""


def against(rows: Tensor, target_features: Tensor) -> Tensor:
    """Inner products of rows [B, L, d] with targets [T, d] or [B, T, d]: [B, L, T]."""
    return rows @ target_features.transpose(-1, -2)
