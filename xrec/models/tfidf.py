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

    fields = [f for f in catalogue.item_fields if f.kind != "numeric"]
    if not fields:
        raise SettingError(f"{wanted_by} needs item attributes, categories or texts, and this dataset has none")
    ends = np.cumsum([len(f.levels) for f in fields])
    rows, columns, values = [], [], []
    for field, end in zip(fields, ends, strict=True):
        there = (field.weights > 0) & (field.codes >= _N_SILENT)
        rows.append(np.nonzero(there)[0])
        columns.append(field.codes[there].astype(np.int64) + end - len(field.levels))
        values.append(np.ones(len(rows[-1])) if field.kind == "categorical" else field.weights[there].astype(float))
    row, column, value = np.concatenate(rows), np.concatenate(columns), np.concatenate(values)
    value = value * np.log(catalogue.n_items / np.maximum(np.bincount(column, minlength=1), 1))[column]
    length = np.sqrt(np.bincount(row, weights=value**2, minlength=catalogue.n_items))
    value = value / np.where(length > 0, length, 1.0)[row]
    return sparse.csr_matrix((value.astype(np.float32), (row, column)), shape=(catalogue.n_items, int(ends[-1])))


def similarity_block(attributes: sparse.csr_matrix, rows: slice | Ints) -> np.ndarray:
    """Cosine similarities [n, I] float32 of some items with all."""
    return (attributes[rows] @ attributes.T).toarray()
