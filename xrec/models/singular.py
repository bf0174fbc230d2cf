"""Item factors of the training histories (PureSVD, Cremonesi et al., RecSys 2010), for tables to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from xrec.types import Dataset, Doubles, Floats, HistoryTable

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@torch.no_grad()
def start_as_factors(table: nn.Embedding, dataset: Dataset, deviation: float, power: float) -> None:
    """Overwrite a table of items with their `scaled_factors`."""
    table.weight.copy_(scaled_factors(dataset, table.num_embeddings, table.embedding_dim, deviation, power))


def scaled_factors(dataset: Dataset, n_items: int, size: int, deviation: float, power: float) -> Tensor:
    """`singular_vectors` [I, size] of the training histories, scaled to a root mean square of `deviation`."""
    axes = singular_vectors(dataset.histories(dataset.train_end + 1), n_items, size, power)
    mean_square = float(np.square(axes, dtype=np.float64).mean())
    return torch.from_numpy(axes * np.float32(deviation / np.sqrt(max(1e-12, mean_square))))


def singular_vectors(table: HistoryTable, n_items: int, size: int, power: float) -> Floats:
    """The first `size` right singular vectors [I, size] of the histories with columns over n_i^power; the largest entry
    of each is positive, and those beyond the rank are 0."""
    from scipy import sparse

    there = table.positive > 0
    user, item = table.user()[there], table.item[there]
    count = np.bincount(item, minlength=n_items).astype(np.float64)
    x = sparse.csr_matrix((count[item] ** -power, (user, item)), shape=(table.n_users, n_items))
    scales, axes = leading_axes(x, size)
    axes = axes[scales > 1e-6 * scales.max(initial=1e-12)]
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(1)]
    result = np.zeros((n_items, size), dtype=np.float32)
    result[:, : len(axes)] = (axes * np.sign(largest)[:, None]).T
    return result


def leading_axes(x: csr_matrix, size: int, center: Doubles | None = None) -> tuple[Doubles, Doubles]:
    """Singular values [k <= size] of x [N, C], the largest first, and its right singular vectors [k, C]; with a center
    [C], those of x minus it in every row. Where fewer are asked for than there are, no dense x is made."""
    from scipy.sparse.linalg import aslinearoperator, svds

    shape: Any = x.shape
    least = min(shape)
    if size >= least:
        _, scales, axes = np.linalg.svd(x.toarray() - (0.0 if center is None else center), full_matrices=False)
        return scales, axes
    operator: Any = x
    if center is not None:
        operator = aslinearoperator(x) - aslinearoperator(np.ones((shape[0], 1))) @ aslinearoperator(center[None])
    found: Any = svds(operator, k=size, v0=np.random.default_rng(0).normal(size=least))
    return found[1][::-1], found[2][::-1]
