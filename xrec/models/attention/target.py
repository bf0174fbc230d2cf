"""Target attention (as in DIN, Zhou et al., KDD 2018): the query is the candidate item, keys are the history items."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.attention.history_attention import AttentionTables, HistoryAttention, against
from xrec.models.history import History
from xrec.types import Catalogue


class Target(HistoryAttention):
    """logit_ji = <q_i, k_j> / sqrt(d) - decay * log(1 + age_j) + kind bias; gate = normaliser(logit).

    Args:
        normaliser: 'sigmoid' (unnormalised gates: contributions are deletion effects) or 'softmax'.
    Raises:
        SettingError: another normaliser.
    """

    def __init__(
        self, catalogue: Catalogue, embedding_size: int, normaliser: Literal["sigmoid", "softmax"] = "sigmoid"
    ) -> None:
        super().__init__(catalogue, embedding_size)
        if normaliser not in ("sigmoid", "softmax"):
            raise SettingError(
                f"model.components.attention.normaliser must be 'sigmoid' or 'softmax', got {normaliser!r}"
            )
        self.normaliser = normaliser
        self.linear = normaliser == "sigmoid"
        self.query = nn.Linear(embedding_size, embedding_size, bias=False)
        self.key = nn.Linear(embedding_size, embedding_size, bias=False)
        self.value = nn.Linear(embedding_size, embedding_size, bias=False)
        self.decay = nn.Parameter(torch.tensor(0.5))
        self.kind_bias = nn.Parameter(torch.zeros(len(catalogue.event_kinds)))
        self.bias = nn.Parameter(torch.tensor(-1.0))

    def tables(self, history: History, features: Tensor, target_features: Tensor) -> AttentionTables:
        # the query map is folded into the keys: one product with the targets instead of two
        keys = self.key(features) @ self.query.weight / math.sqrt(features.shape[-1])
        offset = self.kind_bias[history.kind] - self.decay * history.age.log1p() + self.bias
        logits = against(keys, target_features) + offset.unsqueeze(-1)
        present = history.presence.unsqueeze(-1)
        if self.normaliser == "sigmoid":
            gate = logits.sigmoid() * present
        else:  # shifted by the largest logit of the whole history, which cancels in the quotient
            shift = (
                logits.new_zeros(())
                if logits.shape[1] == 0
                else logits.detach().masked_fill(present == 0, -math.inf).amax(1, keepdim=True)
            )
            gate = (logits - torch.nan_to_num(shift, neginf=0.0)).clamp(-60, 0).exp() * present
        return AttentionTables(gate, against(self.value(features), target_features), self.normaliser == "softmax")
