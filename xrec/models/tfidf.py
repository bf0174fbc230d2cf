"""Item attributes as TF-IDF vectors of length 1 (Salton and Buckley, 1988); their products are cosine similarities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xrec.errors import SettingError
from xrec.types import Catalogue, Ints

if TYPE_CHECKING:
    from scipy import sparse

#: codes below are of levels that say nothing: "(missing)" and "(rare)"
_N_SILENT = 2


def tfidf_attributes(catalogue: Catalogue, wanted_by: str) -> sparse.csr_matrix:
    """A [I, n_levels] float32 of the categorical and text fields, rows of length 1 (all 0 without any level).

    A category counts 1, a text's word its share of the text, each times log(I / items that have it). Numeric fields,
    missing and pooled rare levels are left out.

    Raises:
        SettingError: the catalogue has no such field.
    """
    from scipy import sparse  # here: a table that the cache has needs no scipy

    parts = []
    for field in catalogue.item_fields:
        if field.kind == "numeric":
            continue
        there = (field.weights > 0) & (field.codes >= _N_SILENT)
        rows = np.nonzero(there)[0]
        values = np.ones(len(rows)) if field.kind == "categorical" else field.weights[there].astype(np.float64)
        shape = (catalogue.n_items, len(field.levels))
        parts.append(sparse.csr_matrix((values, (rows, field.codes[there])), shape=shape))
    if not parts:
        raise SettingError(f"{wanted_by} needs item attributes, categories or texts, and this dataset has none")
    counts = sparse.hstack(parts, format="csr")
    n_with = np.bincount(counts.indices, minlength=counts.shape[1])
    weighted = counts @ sparse.diags(np.log(catalogue.n_items / np.maximum(n_with, 1)))
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1))[:, 0])
    return (sparse.diags(1.0 / np.where(length > 0, length, 1.0)) @ weighted).astype(np.float32).tocsr()


def similarity_block(attributes: sparse.csr_matrix, rows: slice | Ints) -> np.ndarray:
    """Cosine similarities [n, I] float32 of some items with all."""
    return (attributes[rows] @ attributes.T).toarray()
