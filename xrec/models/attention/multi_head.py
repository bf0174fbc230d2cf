"""Target attention with several heads: the query is the candidate item (as in DIN, Zhou et al., KDD 2018), keys are the
history items, heads as in Vaswani et al. (NeurIPS 2017)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.attention.history_attention import AttentionTables, HistoryAttention, against, where_there
from xrec.models.history import History
from xrec.types import Catalogue


class MultiHead(HistoryAttention):
    """logit_hji = <q_hi, k_hj> / sqrt(d / H) - decay_h * log(1 + age_j) + kind bias_h; gate = normaliser(logit).

    Args:
        n_heads: H; each has a query and key map to d / H, a value map, a decay and biases of kinds of its own.
        exclude_target: the target itself is no key (as in FISM and NAIS, He et al., TKDE 2018): what training on whole
            profiles needs, where a model that may look the target up in the history learns nothing else.
        normaliser: 'sigmoid' (unnormalised gates: contributions are deletion effects) or 'softmax', in each head.
    Raises:
        SettingError: another normaliser, or heads that do not divide the embedding.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        n_heads: int = 1,
        normaliser: Literal["sigmoid", "softmax"] = "sigmoid",
        exclude_target: bool = False,
    ) -> None:
        super().__init__(catalogue, embedding_size)
        if normaliser not in ("sigmoid", "softmax"):
            raise SettingError(
                f"model.components.attention.normaliser must be 'sigmoid' or 'softmax', got {normaliser!r}"
            )
        if n_heads < 1 or embedding_size % n_heads:
            raise SettingError(
                f"model.components.attention.n_heads must be at least 1 and divide "
                f"model.embedding_size={embedding_size}, got {n_heads}"
            )
        self.n_heads, self.normaliser, self.exclude_target = n_heads, normaliser, exclude_target
        self.linear = normaliser == "sigmoid"
        self.query = nn.Linear(embedding_size, embedding_size, bias=False)
        self.key = nn.Linear(embedding_size, embedding_size, bias=False)
        self.value = nn.Linear(embedding_size, n_heads * embedding_size, bias=False)
        self.decay = nn.Parameter(torch.full((n_heads,), 0.5))
        self.kind_bias = nn.Parameter(torch.zeros(n_heads, len(catalogue.event_kinds)))
        self.bias = nn.Parameter(torch.full((n_heads,), -1.0))

    def tables(self, history: History, features: Tensor, target_features: Tensor, targets: Tensor) -> AttentionTables:
        # the query maps are folded into the keys: one product with the targets instead of two
        keys = self._heads(self.key(features)) @ self.query.weight.unflatten(0, (self.n_heads, -1))
        keys = keys * math.sqrt(self.n_heads / features.shape[-1])
        age = self.decay[:, None] * history.age.log1p().unsqueeze(1)
        offset = self.kind_bias[:, history.kind].transpose(0, 1) - age + self.bias[:, None]
        logits = where_there(against(keys, target_features) + offset.unsqueeze(-1), history)
        if self.exclude_target:
            itself = history.item.unsqueeze(-1) == (targets if targets.dim() == 1 else targets.unsqueeze(1))
            logits = logits.masked_fill(itself.unsqueeze(1), -math.inf)
        value = against(self._heads(self.value(features)), target_features)
        return AttentionTables(logits, value, self.normaliser == "softmax")

    def _heads(self, rows: Tensor) -> Tensor:
        """[B, L, H * s] -> [B, H, L, s]"""
        return rows.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
