"""Completeness error of methods that promise completeness, and how many players carry the explanation."""

from __future__ import annotations

import numpy as np

from xrec.fidelity.metric import FidelityMetric, Measured
from xrec.fidelity.removal import Removal
from xrec.types import Metric


class Axiomatic(FidelityMetric):
    """completeness_error = |sum of values - (f(x) - f(empty))| / |f(x) - f(empty)|;
    sparsity = exp(entropy of |values| / sum) / P, the effective share of players."""

    metrics = (
        Metric(
            "completeness_error",
            "Completeness error",
            "lower",
            ".2g",
            "|sum of values - (f(x) - f(empty))| / |f(x) - f(empty)|, for methods that promise a sum.",
            family="properties",
        ),
        Metric(
            "sparsity",
            "Sparsity",
            None,
            ".3f",
            "exp(entropy of |values|) / P: the share of the players that carries the explanation.",
            family="properties",
        ),
    )

    def measure(self, removal: Removal) -> list[Measured]:
        values = np.nan_to_num(removal.attribution.values)
        weight = np.abs(values)
        total = weight.sum(1, keepdims=True)
        share = weight / np.where(total > 0, total, 1.0)
        entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(1)
        sparsity = np.where(total[:, 0] > 0, np.exp(entropy) / removal.n_players, np.nan)
        measured = [Measured("sparsity", sparsity)]
        if removal.attribution.complete:
            scale = removal.scale()
            measured.append(Measured("completeness_error", np.abs(values.sum(1) - scale) / np.abs(scale)))
        return measured
