"""EASE (Steck, WWW 2019), solved in whichever of item or user space is smaller.

With X [U, I] binary and P = (X'X + lambda I)^-1, EASE's weights are B = I - P / diag(P), whose diagonal is 0. When
there
are fewer users than items, Woodbury gives P = (I - X'KX) / lambda with K = (XX' + lambda I)^-1, so that only a U x U
matrix is inverted and B can be applied to histories without being formed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xrec.types import HistoryTable


def dense_histories(table: HistoryTable, n_items: int, weights: Tensor | None = None) -> Tensor:
    """[U, I] float32 matrix of the histories; `weights` [nnz] per entry (None: ones)."""
    matrix = torch.zeros(table.n_users, n_items)
    rows = torch.repeat_interleave(torch.arange(table.n_users), torch.from_numpy(table.lengths().copy()))
    matrix[rows, torch.from_numpy(table.item)] = torch.ones(len(table.item)) if weights is None else weights
    return matrix


@dataclass(frozen=True)
class Ease:
    """A solved EASE that can be applied to histories, or written out as its weight matrix."""

    interactions: Tensor  # X [U, I]
    solved: Tensor  # K X [U, I]
    scale: Tensor  # lambda * diag(P) [I]

    @classmethod
    def solve(cls, interactions: Tensor, regularization: float) -> Ease:
        """Fit on a binary matrix X [U, I]; the U x U inverse is taken in float64."""
        gram = (interactions @ interactions.T).double()
        gram.diagonal().add_(regularization)
        solved = torch.linalg.inv(gram).float() @ interactions
        return cls(interactions, solved, 1.0 - (interactions * solved).sum(0))

    def apply(self, histories: Tensor) -> Tensor:
        """`histories` [N, I] @ B, in O(N U I) without forming B."""
        return histories - (histories - (histories @ self.interactions.T) @ self.solved) / self.scale

    def weights(self) -> Tensor:
        """B [I, I]; row j holds what item j adds to every target, the diagonal is exactly 0."""
        matrix = self.interactions.T @ self.solved
        matrix.div_(self.scale)  # B = I - (I - X'KX) / scale: off the diagonal X'KX / scale
        matrix.fill_diagonal_(0.0)
        return matrix
