"""Control: every history item has the same weight."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from xrec.models.attention.history_attention import AttentionTables, HistoryAttention, where_there
from xrec.models.attention.normalisers.softmax import Softmax
from xrec.models.history import History
from xrec.types import Catalogue


class Mean(HistoryAttention):
    """v_j = V f_j, averaged over the history."""

    capabilities = replace(HistoryAttention.capabilities, weighted_means=True)

    def __init__(self, catalogue: Catalogue, embedding_size: int) -> None:
        super().__init__(catalogue, embedding_size)
        self.value = nn.Linear(embedding_size, embedding_size, bias=False)

    def tables(self, history: History, features: Tensor, target_features: Tensor, targets: Tensor) -> AttentionTables:
        logits = where_there(features.new_zeros(len(history), 1, features.shape[1]), history)
        return AttentionTables(logits, self.value(features).unsqueeze(1), target_features, Softmax())
