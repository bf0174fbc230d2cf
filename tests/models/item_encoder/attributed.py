"""Catalogues with attributes of every kind, planted ones too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from xrec.models.item_encoder.attribute_codes import AttributeCodes
from xrec.types import Catalogue, Field


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rich_catalogue(catalogue: Catalogue) -> Catalogue:
    """A catalogue with an attribute of several values, a number and a text beside its own."""
    n, rng = catalogue.n_items, np.random.default_rng(0)
    several = rng.integers(2, 6, (n, 3)).astype(np.int32)
    weights = np.full((n, 3), 1 / 3, dtype=np.float32)
    several[0], weights[0] = 0, [1, 0, 0]
    there = (rng.random((n, 1)) < 0.8).astype(np.int32)
    price = np.where(there, rng.normal(size=(n, 1)) * 4, 1.0).astype(np.float32)
    price[1], there[1] = 1000.0, 1
    fields = (
        Field("tags", "categorical", tuple("abcdef"), several, weights),
        Field("price", "numeric", ("(missing)", "value"), there, price),
        Field("words", "text", tuple("abcdef"), several, weights),
    )
    return replace(catalogue, item_fields=(*catalogue.item_fields, *fields))


def planted_catalogue(n: int = 600, seed: int = 0) -> Catalogue:
    """Three fields: a kind of 5 levels with shares .4, .3, .15, .1, .05; a brand that the kind decides; a free coin."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(5, n, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    brand, coin = kind % 3, rng.integers(0, 2, n)
    fields = tuple(
        Field(
            name, "categorical", tuple(f"{name}{level}" for level in range(size)), codes[:, None].astype(np.int32), one
        )
        for name, size, codes, one in (
            ("kind", 5, kind, np.ones((n, 1), dtype=np.float32)),
            ("brand", 3, brand, np.ones((n, 1), dtype=np.float32)),
            ("coin", 2, coin, np.ones((n, 1), dtype=np.float32)),
        )
    )
    names = [f"{item}" for item in range(n)]
    return Catalogue(names, names, fields, ["user"])


def dense(codes: AttributeCodes) -> torch.Tensor:
    """x of every item, as one weight per column."""
    result = torch.zeros(len(codes.columns), codes.n_columns)
    return result.scatter_add_(1, codes.columns, codes.weights)
