"""Histories as sparse matrices (scipy, which is imported only where a table has to be built)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
