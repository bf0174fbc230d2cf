"""Target attention whose gates also know when an item was bought, how often and at what gaps: whether it is due again
(for repeat consumption: Anderson et al., WWW 2014; Hawkes-like in SLRC, Wang et al., WWW 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from xrec.models.attention.history_attention import AttentionTables
from xrec.models.attention.multi_head import MultiHead
from xrec.models.attention.normalisers.by_name import NormaliserName
from xrec.models.history import History
from xrec.types import Catalogue

#: width of the net's hidden layer
_HIDDEN = 16


class Temporal(MultiHead):
    """logit_hji = what multi_head has + u_h(t_j) + [j is i] w_h(t_j); gate = normaliser(logit).

    t_j holds the logs of 1 + age, 1 + mean gap and 1 + periods of a history item, and due = age / (gap + 1): of this
    item alone, so that a masked one is a removed one. u and w are outputs of one small net, w where the target is the
    history item itself. Both are 0 at the start, which is multi_head's.

    Args:
        n_heads, normaliser, maps: as of multi_head.
    Raises:
        SettingError: as multi_head.
    """

    sees_targets = "every target of a profile is an item of the history, which its own-item term is about"

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        n_heads: int = 1,
        normaliser: NormaliserName = "softmax",
        maps: Literal["random", "identity"] = "random",
    ) -> None:
        super().__init__(catalogue, embedding_size, n_heads, normaliser, maps=maps)
        last = nn.Linear(_HIDDEN, 2 * n_heads)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.time = nn.Sequential(nn.Linear(4, _HIDDEN), nn.SiLU(), last)

    def tables(self, history: History, features: Tensor, target_features: Tensor, targets: Tensor) -> AttentionTables:
        plain = super().tables(history, features, target_features, targets)
        gap, due = history.rhythm()
        times = torch.stack([history.age.log1p(), gap.log1p(), history.n_periods.log1p(), due], dim=-1)
        every, own = self.time(times).transpose(1, 2).unsqueeze(-1).chunk(2, dim=1)  # [B, H, L, 1] each
        logits = plain.logits + every + own * self.itself(history, targets)
        return AttentionTables(logits, plain.rows, plain.target_features, plain.normaliser)
