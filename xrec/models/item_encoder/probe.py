"""Linear probes (Alain and Bengio, 2016, arXiv:1610.01644): how much of what users did a representation holds."""

from __future__ import annotations

import numpy as np

from xrec.models.item_encoder.attribute_codes import AttributeCodes
from xrec.models.singular import leading_axes
from xrec.types import Doubles

_FOLDS, _PENALTY = 5, 1.0


def probe(features: Doubles, target: Doubles) -> float:
    """R2 of a ridge regression (penalty 1) of target [N] or [N, K] on standardised features [N, d], predicted in five
    folds of rows and pooled over the K; 0 where there is nothing to predict. Fewer rows than folds: 0."""
    target = target.reshape(len(target), -1).astype(np.float64)
    total = np.square(target - target.mean(0)).sum() if len(target) >= _FOLDS else 0.0
    if total <= 0:
        return 0.0
    deviation = features.std(0)
    x = (features - features.mean(0)) / np.where(deviation > 0, deviation, 1.0)
    fold = np.random.default_rng(0).permutation(len(x)) % _FOLDS
    missed = 0.0
    for held in (fold == k for k in range(_FOLDS)):
        own, center, mean = x[~held], x[~held].mean(0), target[~held].mean(0)
        gram = (own - center).T @ (own - center) + _PENALTY * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, (own - center).T @ (target[~held] - mean))
        missed += np.square(target[held] - mean - (x[held] - center) @ weights).sum()
    return float(1 - missed / total)


def principal(codes: AttributeCodes, rows: np.ndarray, size: int) -> Doubles:
    """The first principal components [N, size] of the attributes x of items [N]."""
    from scipy import sparse

    columns, weights = codes.columns.cpu().numpy()[rows], codes.weights.cpu().numpy()[rows].astype(np.float64)
    row = np.repeat(np.arange(len(rows)), columns.shape[1])
    x = sparse.csr_matrix((weights.ravel(), (row, columns.ravel())), (len(rows), codes.n_columns))
    center = np.asarray(x.mean(0)).ravel()
    _, axes = leading_axes(x, size, center)
    return np.asarray(x @ axes.T) - center @ axes.T
