"""Columns of an item-to-item matrix for items without a training event, in closed form from their attributes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from xrec.errors import SettingError
from xrec.models.gram import inverse
from xrec.models.sparse import interactions
from xrec.models.tfidf import similarity_block, tfidf_attributes
from xrec.types import Catalogue, Floats, HistoryTable, Ints

if TYPE_CHECKING:
    from scipy import sparse

#: columns that are made together, and users whose items say what similarities are worth
_COLUMNS, _USERS = 512, 1000
_WANTED = "ease: cold_map"

#: cold items [n] -> their columns [I, n]
ColumnsOf = Callable[[Ints], Floats]


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
        tfidf_attributes(catalogue, _WANTED)  # refuses a catalogue without any, with cold items or none
        matrix = interactions(table, catalogue.n_items)
        has = matrix.getnnz(0) > 0
        warm, cold = np.flatnonzero(has), np.flatnonzero(~has)
        if len(warm) and len(cold):
            columns_of = self.columns(weights, catalogue, matrix[:, warm], warm)
            for start in range(0, len(cold), _COLUMNS):
                some = cold[start : start + _COLUMNS]
                weights[:, some] = columns_of(some)
            weights[cold, cold] = 0.0
        return weights

    @abstractmethod
    def columns(self, weights: Floats, catalogue: Catalogue, known: sparse.csr_matrix, warm: Ints) -> ColumnsOf:
        """A function that gives columns [I, n] of n cold items; `weights` [I, I] at `warm`, `known` [U, W] who has
        which warm item."""


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

    def columns(self, weights: Floats, catalogue: Catalogue, known: sparse.csr_matrix, warm: Ints) -> ColumnsOf:
        from scipy.linalg import cho_factor, cho_solve

        attributes = tfidf_attributes(catalogue, _WANTED)
        described = attributes[warm].astype(np.float64)
        gram = (described.T @ described).toarray()
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

    def columns(self, weights: Floats, catalogue: Catalogue, known: sparse.csr_matrix, warm: Ints) -> ColumnsOf:
        attributes = tfidf_attributes(catalogue, _WANTED)

        def found(cold: Ints) -> Floats:
            similar = _similar(attributes, cold, warm, self.power)  # [n, W]
            similar /= similar.sum(1, keepdims=True) + np.float32(self.shrinkage)
            total = np.zeros((len(weights), len(cold)), dtype=np.float32)
            for start in range(0, len(warm), _COLUMNS):
                total += weights[:, warm[start : start + _COLUMNS]] @ similar[:, start : start + _COLUMNS].T
            return total

        return found


@dataclass(frozen=True)
class AlignedColdMap(ColdMap):
    """MARec with EASE's linear model (Monteil et al., RecSys 2024): what history items say of a cold item is to agree
    with its similarity to them, W_c = argmin |X w - X g_c|^2 + lambda |w|^2 = (X'X + lambda I)^-1 X'X g_c.

    G = sum_k mu_k G_k, where G_k are the cosines of a field's TF-IDF attributes, to a power, and the products of two of
    them (items that agree in both fields); mu is the least squares fit of X by sum_k mu_k X G_k over the items with an
    event, of which each says nothing about itself.

    The paper adds alpha d_i |X w_i - X g_i|^2 to EASE's loss, d_i falling to 0 with an item's users. Here only items
    without any are aligned, so that the others' columns are EASE's; the paper's lambda is this one times
    1 + alpha d, and its factor alpha d / (1 + alpha d) changes no ranking of cold items among themselves.

    Args:
        regularization: lambda; towards 0 the columns become G's, towards infinity those of X'X G.
        power: of the cosines; larger lets only the nearest items speak.
    """

    regularization: float = 10.0
    power: float = 1.0

    def __post_init__(self) -> None:
        if self.regularization <= 0:
            raise SettingError(f"ease: cold_map.regularization must be above 0, got {self.regularization}")
        if self.power <= 0:
            raise SettingError(f"ease: cold_map.power must be above 0, got {self.power}")

    def columns(self, weights: Floats, catalogue: Catalogue, known: sparse.csr_matrix, warm: Ints) -> ColumnsOf:
        fields = [f for f in catalogue.item_fields if f.kind != "numeric"]
        attributes = [tfidf_attributes(replace(catalogue, item_fields=(f,)), _WANTED) for f in fields]
        shares = self._shares(attributes, known, warm)
        solved = inverse((known.T @ known).toarray(), self.regularization)  # [W, W]

        def found(cold: Ints) -> Floats:
            similar = sum(mu * g for mu, g in zip(shares, self._similar(attributes, warm, cold), strict=True))
            columns = np.zeros((len(weights), len(cold)), dtype=np.float32)
            columns[warm] = solved @ (known.T @ (known @ similar))
            return columns

        return found

    def _similar(self, attributes: list[sparse.csr_matrix], warm: Ints, items: Ints) -> Iterator[Floats]:
        """G_k [W, n] between warm items and some, by field, then of two fields."""
        single = [_similar(a, items, warm, self.power).T for a in attributes]
        yield from single
        yield from (one * other for one, other in combinations(single, 2))

    def _shares(self, attributes: list[sparse.csr_matrix], known: sparse.csr_matrix, warm: Ints) -> Floats:
        """mu [K], by the normal equations, over `_USERS` users at most."""
        some = known[:: -(-len(known.indptr) // _USERS)]
        n = len(attributes) * (len(attributes) + 1) // 2
        gram, own = np.zeros((n, n)), np.zeros(n)
        for start in range(0, len(warm), _COLUMNS):
            place = np.arange(start, min(start + _COLUMNS, len(warm)))
            taken = some[:, place].toarray().ravel()
            said = []
            for similar in self._similar(attributes, warm, warm[place]):
                others = np.array(similar)
                others[place, np.arange(len(place))] = 0.0
                said.append((some @ others).ravel())
            gram += [[float(a @ b) for b in said] for a in said]
            own += [float(a @ taken) for a in said]
        return np.linalg.lstsq(gram, own, rcond=1e-10)[0].astype(np.float32)


def _similar(attributes: sparse.csr_matrix, some: Ints, warm: Ints, power: float) -> Floats:
    """Cosines of attributes to a power: [n, W]."""
    return similarity_block(attributes, some)[:, warm].clip(0, 1) ** np.float32(power)
