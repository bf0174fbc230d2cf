"""Rank removal (LXR, WWW 2024): where the target falls when the explanation's items go."""

from __future__ import annotations

import numpy as np

from xrec.errors import SettingError
from xrec.fidelity.base import DISCRETE, FRACTIONS, FidelityMetric, Measured, Removal, mean_over, step_sizes


class RankRemoval(FidelityMetric):
    """PosAtK, NegAtK: mean over steps of 1[rank <= K], most or least supportive first; CDCG: mean of 1 / log2(1 +
    rank).

    Args:
        cutoffs: K of PosAtK and NegAtK.
    """

    directions = {"pos_at_k": -1, "neg_at_k": 1, "cdcg": -1}

    def __init__(self, cutoffs: list[int]) -> None:
        if not cutoffs or min(cutoffs) < 1:
            raise SettingError(f"fidelity.removal.cutoffs must be positive ranks, got {list(cutoffs)}")
        self.cutoffs = list(cutoffs)

    def measure(self, removal: Removal) -> list[Measured]:
        sizes, fresh = step_sizes(removal.n_players, FRACTIONS)
        few, enough = removal.discrete()
        n = sizes.shape[1]
        both = np.concatenate([sizes, few], axis=1)
        top = removal.value.ranks(removal.without_top(both))
        bottom = removal.value.ranks(removal.without_bottom(both))
        gain = 1.0 / np.log2(1.0 + top)
        measured = [Measured("cdcg", mean_over(gain[:, :n], fresh))]
        measured += [Measured("pos_at_k", mean_over(top[:, :n] <= k, fresh), k=k) for k in self.cutoffs]
        measured += [Measured("neg_at_k", mean_over(bottom[:, :n] <= k, fresh), k=k) for k in self.cutoffs]
        for i, size in enumerate(DISCRETE):
            used = enough[:, i]
            measured.append(Measured("cdcg_discrete", np.where(used, gain[:, n + i], np.nan), step=size))
            for k in self.cutoffs:
                measured.append(Measured("pos_at_k_discrete", np.where(used, top[:, n + i] <= k, np.nan), k, size))
                measured.append(Measured("neg_at_k_discrete", np.where(used, bottom[:, n + i] <= k, np.nan), k, size))
        return measured
