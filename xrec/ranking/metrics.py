"""Ranking metrics, per user, on binary relevance. hits [U, N] says which of the first N recommendations are targets,
n_targets [U] >= 1 how many targets the user has in all."""

from __future__ import annotations

import numpy as np

from xrec.types import Bools, Doubles, Ints, Metric

#: What the numbers below mean; `ndcg`, `recall`, `map`, `coverage`, `gini` and `novelty` have a cut-off k.
METRICS = (
    Metric(
        "ndcg",
        "NDCG",
        "higher",
        ".4f",
        "Hits in the top k, discounted by 1/log2(1 + rank), over the best possible; full catalogue.",
        "ranking",
        headline=True,
    ),
    Metric(
        "recall",
        "Recall",
        "higher",
        ".4f",
        "Hits in the top k over min(k, number of targets).",
        "ranking",
        headline=True,
    ),
    Metric("mrr", "MRR", "higher", ".4f", "1 / rank of the first hit.", "ranking", headline=True),
    Metric(
        "map",
        "MAP",
        "higher",
        ".4f",
        "Mean of the precision at each hit in the top k, over min(k, targets).",
        "ranking",
    ),
    Metric(
        "coverage", "Coverage", "higher", ".4f", "Share of the catalogue that is recommended to anybody.", "ranking"
    ),
    Metric(
        "gini",
        "Gini",
        "lower",
        ".4f",
        "How unequally recommendations fall on items: 0 all alike, 1 all on one.",
        "ranking",
    ),
    Metric(
        "novelty",
        "Novelty",
        None,
        ".3f",
        "Mean of -log2(popularity share) of the recommended items, in bits.",
        "ranking",
    ),
)


def ndcg_at_k(hits: Bools, n_targets: Ints, k: int) -> Doubles:
    """DCG@k / the DCG of an ideal list of min(k, n_targets) hits."""
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(n_targets, k) - 1]
    return (hits[:, :k] * discount[: hits.shape[1]]).sum(1) / ideal


def recall_at_k(hits: Bools, n_targets: Ints, k: int) -> Doubles:
    """Hits in the first k / min(k, n_targets)."""
    return hits[:, :k].sum(1) / np.minimum(n_targets, k)


def map_at_k(hits: Bools, n_targets: Ints, k: int) -> Doubles:
    """Mean over min(k, n_targets) of the precision at each hit's position."""
    precision = np.cumsum(hits[:, :k], axis=1) / np.arange(1, min(k, hits.shape[1]) + 1)
    return (precision * hits[:, :k]).sum(1) / np.minimum(n_targets, k)


def reciprocal_rank(first_rank: Ints) -> Doubles:
    """1 / rank of the best-ranked target (1 = top)."""
    return 1.0 / first_rank


def coverage(items: Ints, n_items: int) -> float:
    """Share of the catalogue that is recommended to anybody; items [U, k], -1 for no recommendation."""
    return len(np.unique(items[items >= 0])) / n_items


def gini(items: Ints, n_items: int) -> float:
    """Gini coefficient of how often each item of the catalogue is recommended: 0 equal, 1 - 1/n_items all to one."""
    counts = np.sort(np.bincount(items[items >= 0], minlength=n_items)).astype(np.float64)
    position = np.arange(1, n_items + 1)
    return float(((2 * position - n_items - 1) * counts).sum() / (n_items * counts.sum()))


def novelty(items: Ints, popularity: Doubles) -> Doubles:
    """Mean -log2 of the popularity share of each user's recommended items, in bits; popularity [I] in (0, 1]."""
    surprise = -np.log2(popularity)[np.maximum(items, 0)]
    return np.nansum(np.where(items >= 0, surprise, np.nan), axis=1) / np.maximum((items >= 0).sum(1), 1)
