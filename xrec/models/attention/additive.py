"""Additive attention (Bahdanau et al., ICLR 2015; over histories in NARM, Li et al., CIKM 2017): a small net rates each
history item by itself, whatever the target, so that one read-out serves the whole catalogue."""

from __future__ import annotations

import math

from torch import Tensor, nn

from xrec.models.attention.history_attention import AttentionTables, HeadedAttention
from xrec.models.attention.normalisers.by_name import NormaliserName
from xrec.models.history import History
from xrec.types import Catalogue


class Additive(HeadedAttention):
    """logit_hj = w_h . tanh(U f_j + c) - decay_h * log(1 + age_j) + kind bias_h; gate = normaliser(logit).

    Args:
        n_heads: H; each has its own w, value map, decay and biases of kinds.
        normaliser: of each head: 'sigmoid', 'softmax', 'sparsemax' or 'entmax15'.
    Raises:
        SettingError: another normaliser, or no head.
    """

    def __init__(
        self, catalogue: Catalogue, embedding_size: int, n_heads: int = 1, normaliser: NormaliserName = "softmax"
    ) -> None:
        super().__init__(catalogue, embedding_size, n_heads, normaliser)
        self.hidden = nn.Linear(embedding_size, embedding_size)
        self.rating = nn.Linear(embedding_size, n_heads, bias=False)
        self.value = nn.Linear(embedding_size, n_heads * embedding_size, bias=False)

    def tables(self, history: History, features: Tensor, target_features: Tensor, targets: Tensor) -> AttentionTables:
        rated = self.rating(self.hidden(features * math.sqrt(features.shape[-1])).tanh())  # [B, L, H]
        logits = rated.transpose(1, 2).unsqueeze(-1) + self.offset(history)
        rows = self.heads(self.value(features))
        return AttentionTables(logits, rows, target_features, self.normaliser)
