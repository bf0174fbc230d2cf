"""Histories as sparse matrices: scipy's, which is imported only where a table has to be built, and torch's."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xrec.types import HistoryTable

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def interactions(table: HistoryTable, n_items: int, values: np.ndarray | None = None) -> csr_matrix:
    """[U, I] of the positive entries, rows sorted by item; `values` [nnz] of the table's entries (None: ones)."""
    from scipy.sparse import csr_matrix

    values = table.positive if values is None else values * table.positive
    matrix = csr_matrix((values, table.item, table.indptr), shape=(table.n_users, n_items), copy=True)
    matrix.eliminate_zeros()  # in place: hence a copy of the table's arrays
    return matrix


def sparse_rows(
    row: np.ndarray, column: np.ndarray, value: np.ndarray, shape: tuple[int, int], device: torch.device
) -> Tensor:
    """A matrix of sparse rows (each place at most once)."""
    order = np.lexsort((column, row))
    start = torch.from_numpy(np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))]))
    columns, values = torch.from_numpy(column[order].astype(np.int64)), torch.from_numpy(value[order])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        matrix = torch.sparse_csr_tensor(start, columns, values, shape, check_invariants=False)
    return matrix.to(device)
