"""Deletion and insertion of the score (RISE, BMVC 2018; LXR, WWW 2024), raw and normalised.

Normalised values are (f(S) - f(empty)) / (f(x) - f(empty)): the share of the history's effect that is there. Without
the offset a model's prior would decide the figure.
"""

from __future__ import annotations

import numpy as np

from xrec.fidelity.base import DISCRETE, FRACTIONS, FidelityMetric, Measured, Removal, mean_over, step_sizes


class ScoreRemoval(FidelityMetric):
    directions = {"deletion": -1, "insertion": 1, "deletion_normalised": -1, "insertion_normalised": 1}

    def measure(self, removal: Removal) -> list[Measured]:
        sizes, fresh = step_sizes(removal.n_players, FRACTIONS)
        few, enough = removal.discrete()
        both, n = np.concatenate([sizes, few], axis=1), sizes.shape[1]
        scale, empty = removal.scale()[:, None], removal.empty[:, None]
        measured = []
        for name, masks in (("deletion", removal.without_top(both)), ("insertion", removal.only_top(both))):
            score = removal.value.values(masks)
            share = (score - empty) / scale
            measured.append(Measured(name, mean_over(score[:, :n], fresh)))
            measured.append(Measured(f"{name}_normalised", mean_over(share[:, :n], fresh)))
            measured += [Measured(f"{name}_curve", share[:, i], step=q) for i, q in enumerate(FRACTIONS)]
            for i, size in enumerate(DISCRETE):
                used = enough[:, i]
                measured.append(Measured(f"{name}_discrete", np.where(used, score[:, n + i], np.nan), step=size))
                measured.append(
                    Measured(f"{name}_normalised_discrete", np.where(used, share[:, n + i], np.nan), step=size)
                )
        return measured
