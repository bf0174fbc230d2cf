"""Columns of an item-to-item matrix for items without a training event, in closed form from their attributes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xrec.errors import SettingError
from xrec.models.tfidf import similarity_block, tfidf_attributes
from xrec.types import Catalogue, Floats, HistoryTable, Ints

if TYPE_CHECKING:
    from scipy import sparse

#: columns that are made together
_COLUMNS = 512


@dataclass(frozen=True)
class ColdMap:
    """From the attributes of the items with a training event, which have columns, to the columns of the others."""

    def key(self) -> dict[str, Any]:
        """What a cache must know of it."""
        return {"map": type(self).__name__, **asdict(self)}

    def fill(self, weights: Floats, table: HistoryTable, catalogue: Catalogue) -> Floats:
        """`weights` [I, I] with the columns of items that `table` has no positive entry of replaced, in place.

        Raises:
            SettingError: no attributes.
        """
        attributes = tfidf_attributes(catalogue, "ease: cold_map")
        has = np.bincount(table.item[table.positive > 0], minlength=catalogue.n_items) > 0
        warm, cold = np.flatnonzero(has), np.flatnonzero(~has)
        if len(warm) and len(cold):
            columns_of = self.columns(weights, attributes, warm)
            for start in range(0, len(cold), _COLUMNS):
                some = cold[start : start + _COLUMNS]
                weights[:, some] = columns_of(some)
            weights[cold, cold] = 0.0
        return weights

    @abstractmethod
    def columns(self, weights: Floats, attributes: sparse.csr_matrix, warm: Ints) -> Callable[[Ints], Floats]:
        """A function that gives columns [I, n] of n cold items; `weights` [I, I] at `warm`, `attributes` [I, L]."""


@dataclass(frozen=True)
class RidgeColdMap(ColdMap):
    """Ridge regression of an item's column on its TF-IDF attributes: W_c = W_w A_w (A_w'A_w + lambda I)^-1 a_c.

    Args:
        regularization: lambda.
    """

    regularization: float = 1.0

    def __post_init__(self) -> None:
        if self.regularization <= 0:
            raise SettingError(f"ease: cold_map.regularization must be above 0, got {self.regularization}")

    def columns(self, weights: Floats, attributes: sparse.csr_matrix, warm: Ints) -> Callable[[Ints], Floats]:
        from scipy.linalg import cho_factor, cho_solve

        known = attributes[warm].astype(np.float64)
        gram = (known.T @ known).toarray()
        gram[np.diag_indices(len(gram))] += self.regularization
        spread = np.zeros((len(weights), len(gram)), dtype=np.float32)  # W_w A_w [I, L]
        for start in range(0, len(warm), _COLUMNS):
            some = warm[start : start + _COLUMNS]
            spread += (attributes[some].T @ weights[:, some].T).T
        factor = cho_factor(gram, overwrite_a=True)
        return lambda cold: spread @ cho_solve(factor, attributes[cold].T.toarray()).astype(np.float32)


@dataclass(frozen=True)
class SimilarColdMap(ColdMap):
    """The mean of the columns of similar items: W_c = sum_i s_i W_i / (sum_i s_i + shrinkage), s_i the cosine of TF-IDF
    attributes to a power (Nadaraya and Watson, 1964).

    Args:
        power: larger lets only the nearest items speak.
        shrinkage: in items of the same attributes; towards 0.
    """

    power: float = 3.0
    shrinkage: float = 1.0

    def __post_init__(self) -> None:
        if self.power <= 0:
            raise SettingError(f"ease: cold_map.power must be above 0, got {self.power}")
        if self.shrinkage <= 0:
            raise SettingError(f"ease: cold_map.shrinkage must be above 0, got {self.shrinkage}")

    def columns(self, weights: Floats, attributes: sparse.csr_matrix, warm: Ints) -> Callable[[Ints], Floats]:
        def found(cold: Ints) -> Floats:
            similar = similarity_block(attributes, cold)[:, warm].clip(0, 1) ** np.float32(self.power)  # [n, W]
            similar /= similar.sum(1, keepdims=True) + np.float32(self.shrinkage)
            total = np.zeros((len(weights), len(cold)), dtype=np.float32)
            for start in range(0, len(warm), _COLUMNS):
                total += weights[:, warm[start : start + _COLUMNS]] @ similar[:, start : start + _COLUMNS].T
            return total

        return found
