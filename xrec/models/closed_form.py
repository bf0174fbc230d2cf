"""EASE (Steck, WWW 2019), solved in whichever of item or user space is smaller.

With X [U, I] binary and P = (X'X + lambda I)^-1, EASE's weights are B = I - P / diag(P), whose diagonal is 0. When
there are fewer users than items, Woodbury gives P = (I - X'KX) / lambda with K = (XX' + lambda I)^-1, so that only a
U x U matrix is inverted and B can be applied to histories without being formed (`Ease`). Otherwise P is taken from the
sparse X'X, in place (`ease_weights`). Any other Gram matrix is solved in item space (`xrec.models.gram`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xrec.models.cold_map import ColdMap
from xrec.models.gram import Gram, co_occurrences, weights_of
from xrec.models.recommender import FitData
from xrec.types import HistoryTable


def dense_histories(table: HistoryTable, n_items: int, weights: Tensor | None = None) -> Tensor:
    """[U, I] float32 matrix of the positive entries; `weights` [nnz] per entry (None: ones)."""
    matrix = torch.zeros(table.n_users, n_items)
    rows = torch.from_numpy(table.user())
    positive = torch.from_numpy(table.positive)
    matrix[rows, torch.from_numpy(table.item)] = positive if weights is None else weights * positive
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

    def matrix(self) -> Tensor:
        """B [I, I]; row j holds what item j adds to every target, the diagonal is exactly 0."""
        matrix = self.interactions.T @ self.solved
        matrix.div_(self.scale)  # B = I - (I - X'KX) / scale: off the diagonal X'KX / scale
        matrix.fill_diagonal_(0.0)
        return matrix


def in_user_space(n_users: int, n_items: int) -> bool:
    """Whether the U x U problem is the smaller one."""
    return n_users < n_items


def ease_weights(table: HistoryTable, n_items: int, regularization: float) -> Tensor:
    """B [I, I] float32 of the positive entries, in whichever space is smaller; the inverse is taken in float64, in item
    space in float32 where that is accurate enough (`weights_of`)."""
    if in_user_space(table.n_users, n_items):
        return Ease.solve(dense_histories(table, n_items), regularization).matrix()
    return torch.from_numpy(weights_of(co_occurrences(table, n_items), regularization))


_PLAIN = Gram()


def fitted_weights(
    data: FitData, regularization: float, moment: int, gram: Gram = _PLAIN, cold_map: ColdMap | None = None
) -> Tensor:
    """B [I, I] fitted on the histories at `moment`; cached, and memory-mapped when it is. With a `cold_map`, the
    columns of items without an event by then are its."""
    dataset, catalogue = data.dataset, data.dataset.catalogue
    key = {"data": dataset.fingerprint, "regularization": regularization, "before": moment, **gram.key()}
    if gram.plain and not in_user_space(catalogue.n_users, catalogue.n_items):
        key["precision"] = "single"  # earlier versions solved it in float64: tables that they left are others
    if cold_map is not None:
        key |= {"cold": cold_map.key()}

    def solve() -> np.ndarray:
        table = dataset.histories(moment)
        if gram.plain:
            weights = ease_weights(table, catalogue.n_items, regularization).numpy()
        else:
            weights = gram.weights(table, catalogue, regularization)
        return weights if cold_map is None else cold_map.fill(weights, table, catalogue)

    return torch.from_numpy(data.cache.array("ease", key, solve)).to(data.device)


def gathered(weights: Tensor, items: Tensor, targets: Tensor | None) -> Tensor:
    """weights [I, I] at rows items [B, L] and columns targets [B, T] -> [B, L, T] (None: all columns)."""
    return weights[items] if targets is None else weights[items.unsqueeze(-1), targets.unsqueeze(1)]


def summed_rows(weights: Tensor, items: Tensor, amounts: Tensor) -> Tensor:
    """sum_j amounts[b, j] * weights[items[b, j]] -> [B, I], without gathering the rows."""
    if items.shape[1] == 0:  # embedding_bag refuses bags without a column
        return weights.new_zeros(len(items), weights.shape[1])
    return functional.embedding_bag(items, weights, mode="sum", per_sample_weights=amounts)
