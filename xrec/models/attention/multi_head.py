"""Target attention with several heads: the query is the candidate item (as in DIN, Zhou et al., KDD 2018), keys are the
history items, heads as in Vaswani et al. (NeurIPS 2017)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.attention.history_attention import AttentionTables, HeadedAttention, against
from xrec.models.attention.normalisers.by_name import NormaliserName
from xrec.models.history import History
from xrec.types import Catalogue


class MultiHead(HeadedAttention):
    """logit_hji = <q_hi, k_hj> / sqrt(d / H) - decay_h * log(1 + age_j) + kind bias_h; gate = normaliser(logit).

    Args:
        n_heads: H; each has a query and key map to d / H, a value map, a decay and biases of kinds of its own.
        exclude_target: the target itself is no key (as in FISM and NAIS, He et al., TKDE 2018): what training on whole
            profiles needs, where a model that may look the target up in the history learns nothing else.
        normaliser: of each head: 'sigmoid' (contributions are deletion effects), 'softmax', 'sparsemax' or 'entmax15'.
        maps: where the query, key and value maps start. 'random', or 'identity': heads compare blocks of the features,
            and values are inner products of features, so that the attention starts as an item-to-item model of them.
    Raises:
        SettingError: another normaliser or start, or heads that do not divide the embedding.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        n_heads: int = 1,
        normaliser: NormaliserName = "sigmoid",
        exclude_target: bool = False,
        maps: Literal["random", "identity"] = "random",
    ) -> None:
        super().__init__(catalogue, embedding_size, n_heads, normaliser)
        if maps not in ("random", "identity"):
            raise SettingError(f"model.components.attention.maps must be 'random' or 'identity', got {maps!r}")
        if embedding_size % n_heads:
            raise SettingError(
                f"model.components.attention.n_heads must be at least 1 and divide "
                f"model.embedding_size={embedding_size}, got {n_heads}"
            )
        self.exclude_target = exclude_target
        self.query = nn.Linear(embedding_size, embedding_size, bias=False)
        self.key = nn.Linear(embedding_size, embedding_size, bias=False)
        self.value = nn.Linear(embedding_size, n_heads * embedding_size, bias=False)
        if maps == "identity":
            for layer in (self.query, self.key, self.value):
                with torch.no_grad():
                    layer.weight.copy_(torch.eye(embedding_size).repeat(layer.out_features // embedding_size, 1))

    def tables(self, history: History, features: Tensor, target_features: Tensor, targets: Tensor) -> AttentionTables:
        # the query maps are folded into the keys: one product with the targets instead of two
        keys = self.heads(self.key(features)) @ self.query.weight.unflatten(0, (self.n_heads, -1))
        keys = keys * math.sqrt(self.n_heads / features.shape[-1])
        logits = against(keys, target_features).add_(self.offset(history))
        if self.exclude_target:
            logits = logits.masked_fill(self.itself(history, targets), -math.inf)
        rows = self.heads(self.value(features))
        return AttentionTables(logits, rows, target_features, self.normaliser)

    @staticmethod
    def itself(history: History, targets: Tensor) -> Tensor:
        """[B, 1, L, T] where a history item is the target, of ids [T] or [B, T]."""
        return (history.item.unsqueeze(-1) == (targets if targets.dim() == 1 else targets.unsqueeze(1))).unsqueeze(1)
