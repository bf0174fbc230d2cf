"""Dot-product attention (Luong et al., EMNLP 2015, 'dot') with a learned query: a history item is rated by its features
alone, whatever the target, so that one read-out serves the whole catalogue."""

from __future__ import annotations

import math

from torch import Tensor, nn

from xrec.models.attention.history_attention import AttentionTables, HeadedAttention
from xrec.models.attention.normalisers.by_name import NormaliserName
from xrec.models.history import History
from xrec.types import Catalogue


class DotProduct(HeadedAttention):
    """logit_hj = <q_h, f_j> sqrt(d) - decay_h * log(1 + age_j) + kind bias_h; gate = normaliser(logit).

    The keys are the features themselves: a map of theirs would be a part of the query. The factor makes up for features
    of about length 1.

    Args:
        n_heads: H; each has its own query, value map, decay and biases of kinds.
        normaliser: of each head: 'sigmoid', 'softmax', 'sparsemax' or 'entmax15'.
    Raises:
        SettingError: another normaliser, or no head.
    """

    def __init__(
        self, catalogue: Catalogue, embedding_size: int, n_heads: int = 1, normaliser: NormaliserName = "softmax"
    ) -> None:
        super().__init__(catalogue, embedding_size, n_heads, normaliser)
        self.query = nn.Linear(embedding_size, n_heads, bias=False)
        self.value = nn.Linear(embedding_size, n_heads * embedding_size, bias=False)

    def tables(self, history: History, features: Tensor, target_features: Tensor, targets: Tensor) -> AttentionTables:
        rated = self.query(features * math.sqrt(features.shape[-1]))  # [B, L, H]
        logits = rated.transpose(1, 2).unsqueeze(-1) + self.offset(history)
        return AttentionTables(logits, self.heads(self.value(features)), target_features, self.normaliser)
