"""Rank removal (LXR, WWW 2024): where the target falls when the explanation's items go."""

from __future__ import annotations

import numpy as np

from xrec.errors import SettingError
from xrec.fidelity.metric import FidelityMetric, Measured
from xrec.fidelity.removal import DISCRETE, FRACTIONS, Removal, mean_over, step_sizes
from xrec.types import Doubles, Ints, Metric


class RankRemoval(FidelityMetric):
    """PosAtK, NegAtK: mean over steps of 1[rank <= K], most or least supportive first; CDCG: mean of 1 / log2(1 +
    rank). Of a case with several targets, the mean over these.

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
        top = removal.game.ranks(removal.without_top(both))
        bottom = removal.game.ranks(removal.without_bottom(both))
        stay = {"pos_at_k": top, "neg_at_k": bottom}
        gain = _over_targets(1.0 / np.log2(1.0 + np.maximum(top, 1)), top)
        kept = {(name, k): _over_targets(ranks <= k, ranks) for name, ranks in stay.items() for k in self.cutoffs}
        measured = [Measured("cdcg", mean_over(gain[:, :n], fresh))]
        measured += [Measured(name, mean_over(share[:, :n], fresh), k=k) for (name, k), share in kept.items()]
        for i, size in enumerate(DISCRETE):
            used = enough[:, i]
            measured.append(Measured("cdcg", np.where(used, gain[:, n + i], np.nan), None, size, "discrete"))
            for (name, k), share in kept.items():
                measured.append(Measured(name, np.where(used, share[:, n + i], np.nan), k, size, "discrete"))
        return measured


def _over_targets(values: np.ndarray, ranks: Ints) -> Doubles:
    """[B, S] means of values [B, S, T] over the targets that a case has, those with a rank."""
    there = ranks > 0
    return np.where(there, values, 0.0).sum(2) / there.sum(2)
