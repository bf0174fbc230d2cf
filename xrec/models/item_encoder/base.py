"""What an item encoder is, and the embedding of coded attributes that several variants share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from xrec.types import Catalogue


class ItemEncoder(nn.Module, ABC):
    """Features of all items; `cold_items` says whether an item never trained on gets a meaningful one."""

    cold_items: bool = False

    @abstractmethod
    def features(self, generator: torch.Generator | None = None) -> Tensor:
        """[I, d]; a `generator` means training (dropping, sampling)."""

    def terms(self, wanted: set[str], generator: torch.Generator) -> dict[str, Tensor]:
        """The encoder's own unweighted loss terms, those of `wanted` only."""
        return {}

    def discriminator_loss(self, generator: torch.Generator) -> Tensor | None:
        """Loss of the alternating step, for parameters named `discriminator.*`; None: there is no such step."""
        return None


class AttributeCodes(nn.Module):
    """The catalogue's item attributes as one vocabulary: field f, level l -> column offset_f + l.

    Items without attributes are legal: every field then holds its "(missing)" level.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        sizes = [len(f.levels) for f in catalogue.item_fields]
        offsets = np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.int64)
        codes = [f.codes + o for f, o in zip(catalogue.item_fields, offsets, strict=True)]
        table = np.stack(codes, axis=1) if codes else np.zeros((catalogue.n_items, 0), dtype=np.int64)
        self.sizes = sizes
        self.n_columns = int(sum(sizes))
        self.columns: Tensor
        self.register_buffer("columns", torch.from_numpy(table.astype(np.int64)))

    def require_some(self, variant: str) -> None:
        """Raise `ValueError` when the dataset has no item attributes at all."""
        if not self.sizes:
            raise ValueError(
                f"model.item_encoder={variant} needs item attributes and this dataset has none; use "
                "model/item_encoder=embedding"
            )


class AttributeSum(nn.Module):
    """A linear layer on the one-hot attributes: the sum of one row per field, [N, F] codes -> [N, width]."""

    def __init__(self, n_columns: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(max(1, n_columns), width)
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.rows.weight, std=0.1)

    def forward(self, columns: Tensor) -> Tensor:
        return self.rows(columns).sum(-2) + self.bias

    def dense(self, shares: Tensor) -> Tensor:
        """The same layer on soft attributes [N, n_columns]."""
        return shares @ self.rows.weight + self.bias
