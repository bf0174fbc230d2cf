"""Item-item Gram matrices beyond X'X, and EASE's weights from them, in one matrix of float32.

Only the lower triangle is filled, factorised and inverted, in place (LAPACK potrf, potri), so that one matrix [I, I]
is all that is needed: .58 GB for 12,000 items, whatever the number of users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from xrec.errors import SettingError
from xrec.models.sparse import interactions
from xrec.models.tfidf import similarity_block, tfidf_attributes
from xrec.types import Catalogue, Doubles, Floats, HistoryTable, Ints

if TYPE_CHECKING:
    from scipy import sparse

#: (user, item, item) triples that are counted together, and rows of a matrix
_PAIRS, _ROWS = 2**22, 1024
#: float32 up to this bound of the condition number: the inverse is then good to about 1e-7 times it
_SINGLE = 1e4


@dataclass(frozen=True)
class Gram:
    """What stands in the place of X'X.

    decay: a user's items i and j count decay^|age_i - age_j| (ages in periods; 1: plain co-occurrence).
    attribute_weight: so much times A A', A the TF-IDF attributes. diagonal_scale: factor of the diagonal of the sum.
    transition_weight: of what came before what, see `weights_of`; a user's item i counts decay^(age_j - age_i - 1) for
    an earlier item j.
    """

    decay: float = 1.0
    attribute_weight: float = 0.0
    diagonal_scale: float = 1.0
    transition_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise SettingError(f"ease: gram_decay must be above 0 and at most 1, or null, got {self.decay}")
        if self.attribute_weight < 0:
            raise SettingError(f"ease: attribute_weight must be 0 or more, got {self.attribute_weight}")
        if self.diagonal_scale < 1:
            raise SettingError(f"ease: diagonal_scale must be at least 1, got {self.diagonal_scale}")
        if self.transition_weight < 0:
            raise SettingError(f"ease: transition_weight must be 0 or more, got {self.transition_weight}")

    @property
    def plain(self) -> bool:
        return self == Gram()

    def key(self) -> dict[str, Any]:
        """What a cache must know of it: nothing of X'X."""
        return {} if self.plain else {"gram": asdict(self)}

    def weights(self, table: HistoryTable, catalogue: Catalogue, regularization: float) -> Floats:
        """EASE's weights [I, I] float32, see `weights_of`."""
        gram = self.lower(table, catalogue)
        if not self.transition_weight:
            return weights_of(gram, regularization)
        after = transitions(table, catalogue.n_items, self.decay)
        return weights_of(gram, regularization, self.transition_weight * after)

    def lower(self, table: HistoryTable, catalogue: Catalogue) -> Floats:
        """[I, I] float32 in C order; the lower triangle, and whatever above it."""
        gram = co_occurrences(table, catalogue.n_items, self.decay)
        if self.attribute_weight:
            attributes = tfidf_attributes(catalogue, "ease: attribute_weight")
            for rows in blocks(catalogue.n_items):
                gram[rows] += self.attribute_weight * similarity_block(attributes, rows)
        gram[np.diag_indices(catalogue.n_items)] *= self.diagonal_scale
        return gram


def blocks(n: int) -> Iterator[slice]:
    """0 .. n in pieces of rows."""
    return (slice(start, min(start + _ROWS, n)) for start in range(0, n, _ROWS))


def co_occurrences(table: HistoryTable, n_items: int, decay: float = 1.0) -> Floats:
    """sum over users of decay^|age_i - age_j| [I, I] float32, lower triangle: of positive entries only."""
    if decay == 1:
        matrix = interactions(table, n_items)
        return (matrix.T @ matrix).toarray()
    there = table.positive > 0
    user = table.user()[there]
    item, age = table.item[there], table.age[there].astype(np.float64)
    first = np.searchsorted(user, user)  # where each entry's user begins
    before = np.arange(len(user)) - first  # entries of the user before each; they are sorted by item
    gram = np.zeros((n_items, n_items), dtype=np.float32)
    gram[np.diag_indices(n_items)] = np.bincount(item, minlength=n_items)
    flat = gram.reshape(-1)
    powers = decay ** np.arange(int(age.max(initial=1)) + 1)
    for entries in _cut(before):
        n = before[entries]
        left = np.repeat(np.arange(entries.start, entries.stop), n)
        right = np.repeat(first[entries], n) + np.arange(len(left)) - np.repeat(np.cumsum(n) - n, n)
        gap = np.abs(age[left] - age[right]).astype(np.int64)
        np.add.at(flat, item[left] * n_items + item[right], powers[gap].astype(np.float32))
    return gram


def transitions(table: HistoryTable, n_items: int, decay: float) -> sparse.csr_matrix:
    """C [I, I] float32: sum over users of decay^(age_j - age_i - 1) in row j, column i, where i came after j; of
    positive entries only."""
    from scipy import sparse

    there = table.positive > 0
    user = table.user()[there]
    item, age = table.item[there], table.age[there].astype(np.float64)
    order = np.lexsort((-age, user))  # a user's items from the oldest to the latest
    user, item, age = user[order], item[order], age[order]
    total = sparse.csr_matrix((n_items, n_items), dtype=np.float32)
    after = np.searchsorted(user, user, side="right") - np.arange(len(user)) - 1  # of the same user
    for entries in _cut(after):
        n = after[entries]
        left = np.repeat(np.arange(entries.start, entries.stop), n)
        right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(n) - n, n)
        gap = age[left] - age[right]
        later = gap > 0  # at the same time is no order
        pairs = (item[left][later], item[right][later])
        value = (decay ** (gap[later] - 1)).astype(np.float32)
        total += sparse.csr_matrix((value, pairs), shape=total.shape)
    return total


def _cut(n_pairs: Ints) -> Iterator[slice]:
    """Entries in pieces of about `_PAIRS` pairs."""
    total = np.cumsum(n_pairs)
    edges = np.searchsorted(total, np.arange(_PAIRS, int(total[-1]) + 1 if len(total) else 0, _PAIRS)) + 1
    edges = np.unique([0, *edges.tolist(), len(n_pairs)])
    return (slice(a, b) for a, b in pairwise(edges.tolist()))


def weights_of(gram: Floats, regularization: float, after: sparse.csr_matrix | None = None) -> Floats:
    """EASE's weights [I, I] float32: B = I - P / diag(P) with P = (gram + regularization I)^-1.

    With `after` = C, what the items are regressed on is not gram but gram + C: the minimum of
    tr B'(gram + lambda I)B / 2 - tr B'(gram + C) with a diagonal of 0, which is
    B = I + P C - P diag((1 + diag(P C)) / diag(P)). (The form of SLIST, Choi et al., WWW 2021, with one Gram matrix.)

    float32, unless the condition number may be above 10^4 (its bound: largest row sum of the gram over lambda).

    Args:
        gram: [I, I], lower triangle, C order; overwritten.
    Raises:
        SettingError: the matrix cannot be inverted.
    """
    solved = inverse(gram, regularization)
    diagonal = solved.diagonal().astype(np.float32)
    ahead = None
    if after is not None:
        ahead = np.empty(solved.shape, dtype=np.float32)
        transposed = after.T.tocsr()
        for rows in blocks(len(solved)):  # P is symmetric: rows of P C are (C' P)' of columns of P
            ahead[rows] = (transposed @ solved[rows].T).T
    weights = solved if solved.dtype == np.float32 else solved.astype(np.float32)
    if ahead is None:
        weights /= -diagonal
    else:
        weights *= -(1 + ahead.diagonal()) / diagonal
        weights += ahead
    weights[np.diag_indices(len(weights))] = 0.0
    return weights


def inverse(gram: np.ndarray, regularization: float) -> np.ndarray:
    """(gram + regularization I)^-1, in the memory of `gram` where float32 is accurate enough; see `weights_of`."""
    from scipy.linalg import get_lapack_funcs

    n_items = len(gram)
    if _row_sums(gram).max(initial=0) / regularization > _SINGLE:
        gram = gram.astype(np.float64)
    gram[np.diag_indices(n_items)] += regularization
    matrix = gram.T  # the same memory in LAPACK's order: what was the lower triangle is the upper one
    potrf, potri = get_lapack_funcs(("potrf", "potri"), (matrix,))
    factor, failed = potrf(matrix, lower=0, overwrite_a=1, clean=0)
    solved, singular = potri(factor, lower=0, overwrite_c=1)
    if failed or singular:
        raise SettingError(f"ease: the Gram matrix + {regularization} I cannot be inverted; raise the regularization")
    solved = solved.T
    mirror(solved)
    return solved


def _row_sums(lower: np.ndarray) -> Doubles:
    """Row sums of the absolute values of a symmetric matrix, from its lower triangle."""
    sums = np.zeros(len(lower))
    for rows in blocks(len(lower)):
        part = np.tril(np.abs(lower[rows, : rows.stop]), rows.start)
        sums[rows] += part.sum(1, dtype=np.float64)
        sums[: rows.stop] += part.sum(0, dtype=np.float64)
    return sums  # the diagonal counts twice, which bounds all the same


def mirror(lower: np.ndarray) -> None:
    """Copy the lower triangle of a square matrix to the upper one, in place."""
    for rows in blocks(len(lower)):
        lower[: rows.start, rows] = lower[rows, : rows.start].T
        own = np.tril(lower[rows, rows])
        lower[rows, rows] = own + np.tril(own, -1).T
