"""EASE (Steck, WWW 2019), solved in whichever of item or user space is smaller.

With X [U, I] binary and P = (X'X + lambda I)^-1, EASE's weights are B = I - P / diag(P), whose diagonal is 0. When
there are fewer users than items, Woodbury gives P = (I - X'KX) / lambda with K = (XX' + lambda I)^-1, so that only a
U x U matrix is inverted and B can be applied to histories without being formed (`Ease`). Otherwise P is taken from the
sparse X'X, in place (`ease_weights`). Any other Gram matrix is solved in item space (`xrec.models.gram`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xrec.errors import SettingError
from xrec.models.cold_map import ColdMap
from xrec.models.gram import Gram, co_occurrences, weights_of
from xrec.models.recommender import FitData
from xrec.models.sparse import interactions
from xrec.types import HistoryTable

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


#: users of an item by lambda, up to which float32 is accurate to about 1e-5
_SINGLE = 10.0


@dataclass(frozen=True)
class Ease:
    """A solved EASE that can be applied to histories, or written out as its weight matrix."""

    interactions: csr_matrix  # X [U, I]
    inverse: np.ndarray  # K [U, U]
    scale: np.ndarray  # lambda * diag(P) [I]

    @classmethod
    def solve(cls, interactions: csr_matrix, regularization: float) -> Ease:
        """Fit on a binary matrix X [U, I]; K is taken in float64. So is what follows from it where an item has more
        than 10 lambda users: a weight is then what is left of a sum of so many times its size.

        Raises:
            SettingError: lambda is so small that the matrix cannot be inverted.
        """
        gram = torch.from_numpy((interactions @ interactions.T).toarray()).double()
        gram.diagonal().add_(regularization)
        factor, failed = torch.linalg.cholesky_ex(gram)
        if failed:
            raise SettingError(f"ease: X X' + {regularization} I cannot be inverted; raise the regularization")
        inverse = torch.cholesky_inverse(factor).numpy()
        if interactions.getnnz(0).max(initial=0) <= _SINGLE * regularization:
            inverse = inverse.astype(np.float32)
        explained = interactions.multiply(inverse @ interactions)  # K is symmetric: rows of K X
        return cls(interactions, inverse, 1.0 - np.asarray(explained.sum(0)).ravel())

    def apply(self, histories: csr_matrix) -> np.ndarray:
        """`histories` [N, I] @ B, without forming B: two sparse products and one of [N, U] with K."""
        by_user = (histories @ self.interactions.T).toarray() @ self.inverse
        found = by_user @ self.interactions
        own = histories.tocoo()
        found[own.row, own.col] += (self.scale[own.col] - 1) * own.data
        found /= self.scale
        return found

    def matrix(self) -> np.ndarray:
        """B [I, I] float32; row j holds what item j adds to every target, the diagonal is exactly 0."""
        matrix = self.interactions.T @ (self.inverse @ self.interactions)
        matrix /= self.scale  # B = I - (I - X'KX) / scale: off the diagonal X'KX / scale
        np.fill_diagonal(matrix, 0.0)
        return matrix.astype(np.float32, copy=False)


def in_user_space(n_users: int, n_items: int) -> bool:
    """Whether the U x U problem is the smaller one."""
    return n_users < n_items


def ease_weights(table: HistoryTable, n_items: int, regularization: float) -> np.ndarray:
    """B [I, I] float32 of the positive entries, in whichever space is smaller; the inverse is taken in float64, in item
    space in float32 where that is accurate enough (`weights_of`)."""
    if in_user_space(table.n_users, n_items):
        return Ease.solve(interactions(table, n_items), regularization).matrix()
    return weights_of(co_occurrences(table, n_items), regularization)


_PLAIN = Gram()
#: what the cache's key says of a table solved in user space
BY_USER = {"solver": "cholesky"}


def fitted_weights(
    data: FitData, regularization: float, moment: int, gram: Gram = _PLAIN, cold_map: ColdMap | None = None
) -> Tensor:
    """B [I, I] fitted on the histories at `moment`; cached, and memory-mapped when it is. With a `cold_map`, the
    columns of items without an event by then are its."""
    dataset, catalogue = data.dataset, data.dataset.catalogue
    key = {"data": dataset.fingerprint, "regularization": regularization, "before": moment, **gram.key()}
    if gram.plain:  # tables that earlier versions left differ in the last bits
        key |= BY_USER if in_user_space(catalogue.n_users, catalogue.n_items) else {"precision": "single"}
    if cold_map is not None:
        key |= {"cold": cold_map.key()}

    def solve() -> np.ndarray:
        table = dataset.histories(moment)
        if gram.plain:
            weights = ease_weights(table, catalogue.n_items, regularization)
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
