"""Rank removal (LXR, WWW 2024): where the target falls when the explanation's items go."""

from __future__ import annotations

import numpy as np

from xrec.errors import SettingError
from xrec.fidelity.metric import DISCRETE, FRACTIONS, FidelityMetric, Measured, Removal, mean_over, step_sizes
from xrec.types import Metric


class RankRemoval(FidelityMetric):
    """PosAtK, NegAtK: mean over steps of 1[rank <= K], most or least supportive first; CDCG: mean of 1 / log2(1 +
    rank).

    Args:
        cutoffs: K of PosAtK and NegAtK.
    """

    metrics = (
        Metric(
            "cdcg",
            "CDCG",
            "lower",
            ".3f",
            "1/log2(1 + rank) of the recommended item while supportive players are removed, mean over steps.",
            family="ranks",
        ),
        Metric(
            "pos_at_k",
            "Pos",
            "lower",
            ".3f",
            "Share of removal steps, most supportive players first, at which the item still stands in the top K.",
            family="ranks",
        ),
        Metric(
            "neg_at_k",
            "Neg",
            "higher",
            ".3f",
            "The same with the least supportive players removed first: the item should stay.",
            family="ranks",
        ),
    )

    def __init__(self, cutoffs: list[int]) -> None:
        if not cutoffs or min(cutoffs) < 1 or max(cutoffs) > 10_000 or len(set(cutoffs)) < len(cutoffs):
            raise SettingError(f"fidelity.removal.cutoffs must be different ranks from 1 to 10000, got {list(cutoffs)}")
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
            measured.append(Measured("cdcg", np.where(used, gain[:, n + i], np.nan), None, size, "discrete"))
            for k in self.cutoffs:
                stays = {"pos_at_k": top[:, n + i] <= k, "neg_at_k": bottom[:, n + i] <= k}
                measured += [Measured(m, np.where(used, s, np.nan), k, size, "discrete") for m, s in stays.items()]
        return measured
