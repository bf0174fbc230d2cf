"""Completeness error of methods that promise completeness, and how many players carry the explanation."""

from __future__ import annotations

import numpy as np

from xrec.fidelity.base import FidelityMetric, Measured, Removal


class Axiomatic(FidelityMetric):
    """completeness_error = |sum of values - (f(x) - f(empty))| / |f(x) - f(empty)|;
    sparsity = exp(entropy of |values| / sum) / P, the effective share of players."""

    directions = {"completeness_error": -1, "sparsity": -1}

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
