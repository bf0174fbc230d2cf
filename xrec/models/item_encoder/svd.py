"""Features that start as PureSVD's (Cremonesi et al., RecSys 2010): items of the same users are alike at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.models.item_encoder.item_encoder import ItemEncoder, forget_cold
from xrec.models.recommender import FitData
from xrec.types import Catalogue, Floats, HistoryTable


class SVD(ItemEncoder):
    """A row per item, which starts as that of V, the right singular vectors of X with every column over n_i^power.

    X [U, I] holds the training histories, 1 for each item of a target kind, n_i its users. <f_j, f_i> is then V V',
    PureSVD's score of item i for one who has j; the popular have longer rows, the less so the larger the power. Rows
    beyond the rank of X are 0.

    Args:
        deviation: root of the mean square of the entries at the start.
        power: of n_i; 0: plain PureSVD.
        trained: False keeps the start.
    Raises:
        SettingError: a deviation of 0 or less, or a negative power.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        deviation: float = 1.0,
        power: float = 0.25,
        trained: bool = True,
    ) -> None:
        super().__init__()
        if deviation <= 0:
            raise SettingError(f"svd: deviation must be above 0, got {deviation}")
        if power < 0:
            raise SettingError(f"svd: power must be 0 or more, got {power}")
        self.deviation, self.power, self.catalogue = deviation, power, catalogue
        self.table = torch.nn.Embedding(catalogue.n_items, embedding_size)
        self.table.weight.requires_grad_(trained)

    def fit(self, data: FitData) -> None:
        n_items, size = self.table.weight.shape
        axes = singular_vectors(data.dataset.histories(data.dataset.train_end + 1), n_items, size, self.power)
        axes *= self.deviation * np.sqrt(n_items * size / max(1e-12, float(np.square(axes, dtype=np.float64).sum())))
        with torch.no_grad():
            self.table.weight.copy_(torch.from_numpy(axes))
        forget_cold(self.table, self.catalogue)

    def features(self, generator: torch.Generator | None = None) -> Tensor:
        return self.table.weight


def singular_vectors(table: HistoryTable, n_items: int, size: int, power: float) -> Floats:
    """The first `size` right singular vectors [I, size] of the histories with columns over n_i^power; the largest entry
    of each is positive, and those beyond the rank are 0."""
    from scipy import sparse
    from scipy.sparse.linalg import svds

    there = table.positive > 0
    user, item = table.user()[there], table.item[there]
    count = np.bincount(item, minlength=n_items).astype(np.float64)
    x = sparse.csr_matrix((count[item] ** -power, (user, item)), shape=(table.n_users, n_items))
    least = min(x.shape)
    if size < least // 2:
        start = np.random.default_rng(0).normal(size=least)
        found: Any = svds(x, k=size, v0=start)
        scales, axes = found[1][::-1], found[2][::-1]
    else:
        _, scales, axes = np.linalg.svd(x.toarray(), full_matrices=False)
        scales, axes = scales[:size], axes[:size]
    axes = axes[scales > 1e-6 * scales.max(initial=1e-12)]
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(1)]
    result = np.zeros((n_items, size), dtype=np.float32)
    result[:, : len(axes)] = (axes * np.sign(largest)[:, None]).T
    return result
