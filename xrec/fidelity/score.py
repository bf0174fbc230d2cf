"""Deletion and insertion of the score (RISE, BMVC 2018; LXR, WWW 2024), raw and normalised.

Normalised values are (f(S) - f(empty)) / (f(x) - f(empty)): the share of the history's effect that is there. Without
the offset a model's prior would decide the figure.
"""

from __future__ import annotations

import numpy as np

from xrec.fidelity.metric import FidelityMetric, Measured
from xrec.fidelity.removal import DISCRETE, FRACTIONS, Removal, mean_over, step_sizes
from xrec.types import Metric


class ScoreRemoval(FidelityMetric):
    metrics = (
        Metric(
            "deletion",
            "Deletion",
            "lower",
            ".3f",
            "Value left when the most supportive players are removed, mean over 10 ... 90 % removed; the value f(x) is "
            "the output of the whole history: by default the model's score of the recommended item.",
            family="scores",
            headline=True,
        ),
        Metric(
            "insertion",
            "Insertion",
            "higher",
            ".3f",
            "Value when only the most supportive players are kept, mean over 10 ... 90 % kept.",
            family="scores",
            headline=True,
        ),
    )

    def measure(self, removal: Removal) -> list[Measured]:
        sizes, fresh = step_sizes(removal.n_players, FRACTIONS)
        few, enough = removal.discrete()
        both, n = np.concatenate([sizes, few], axis=1), sizes.shape[1]
        scale, empty = removal.scale()[:, None], removal.empty[:, None]
        measured = []
        for name, masks in (("deletion", removal.without_top(both)), ("insertion", removal.only_top(both))):
            score = removal.game.values(masks)
            share = (score - empty) / scale
            measured.append(Measured(name, mean_over(score[:, :n], fresh)))
            measured.append(Measured(name, mean_over(share[:, :n], fresh), variant="normalised"))
            measured += [Measured(name, share[:, i], step=q, variant="curve") for i, q in enumerate(FRACTIONS)]
            for i, size in enumerate(DISCRETE):
                used = enough[:, i]
                for variant, values in (("discrete", score), ("discrete_normalised", share)):
                    measured.append(Measured(name, np.where(used, values[:, n + i], np.nan), None, size, variant))
        return measured
