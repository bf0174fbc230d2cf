"""Item-kNN (Deshpande and Karypis, TOIS 2004; shrinkage: Bell and Koren, ICDM 2007): cosine of the users of two items,
shrunk, of an item's nearest neighbours only."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.models.baselines.item_to_item import ItemToItem
from xrec.models.gram import blocks, co_occurrences, mirror
from xrec.models.recommender import FitData
from xrec.types import Catalogue, Floats


class ItemKNN(ItemToItem):
    """weights[j, i] = n_ij / (sqrt(n_i n_j) + shrinkage), where j is one of the k most similar items of i; else 0.

    n_ij: users of both in the training periods, each counting gram_decay^(periods between the two).

    Args:
        n_neighbours: how many history items may speak for a target; null: all. Of equally similar ones the lower ids.
        shrinkage: in users; weighs down similarities that few users stand for.
        history_decay, half_life: recency of the history that is scored, see `ItemToItem`.
        gram_decay: as in `EASE`.
    Raises:
        SettingError: settings out of range.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        n_neighbours: int | None = 100,
        shrinkage: float = 30.0,
        history_decay: float | None = None,
        half_life: float | None = None,
        gram_decay: float | None = None,
    ) -> None:
        super().__init__(catalogue, history_decay, half_life)
        if n_neighbours is not None and n_neighbours < 1:
            raise SettingError(f"item_knn: n_neighbours must be at least 1, or null, got {n_neighbours}")
        if shrinkage < 0:
            raise SettingError(f"item_knn: shrinkage must be 0 or more, got {shrinkage}")
        if gram_decay is not None and not 0 < gram_decay <= 1:
            raise SettingError(f"item_knn: gram_decay must be above 0 and at most 1, or null, got {gram_decay}")
        self.n_neighbours, self.shrinkage = n_neighbours, shrinkage
        self.gram_decay = 1.0 if gram_decay is None else gram_decay

    def fitted(self, data: FitData) -> Tensor:
        dataset = data.dataset
        settings = [self.n_neighbours, self.shrinkage, self.gram_decay]
        key = {"data": dataset.fingerprint, "before": dataset.train_end + 1, "settings": settings}

        def solve() -> Floats:
            counts = co_occurrences(dataset.histories(dataset.train_end + 1), self.n_items, self.gram_decay)
            mirror(counts)
            return similarities(counts, self.shrinkage, self.n_neighbours)

        return torch.from_numpy(data.cache.array("item-knn", key, solve)).to(data.device)


def similarities(counts: Floats, shrinkage: float, n_neighbours: int | None) -> Floats:
    """Symmetric counts [I, I], overwritten -> shrunk cosines; column i keeps its `n_neighbours` largest, the diagonal
    is 0."""
    root = np.sqrt(counts.diagonal())
    for rows in blocks(len(counts)):
        counts[rows] /= np.maximum(np.outer(root[rows], root) + shrinkage, 1e-9).astype(np.float32)
    counts[np.diag_indices(len(counts))] = 0.0
    if n_neighbours is not None and n_neighbours < len(counts):
        for columns in blocks(len(counts)):
            keep_largest(counts[:, columns], n_neighbours)
    return counts


def keep_largest(columns: Floats, n: int) -> None:
    """Set all but the n largest values of each column to 0, in place; of equal ones the first rows stay."""
    least = np.partition(columns, len(columns) - n, axis=0)[len(columns) - n]
    above = columns > least
    at = columns == least
    room = n - above.sum(0)
    columns[~(above | (at & (np.cumsum(at, axis=0) <= room)))] = 0.0
