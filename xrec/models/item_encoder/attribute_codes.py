"""The catalogue's item attributes as one vocabulary, and the linear layer on it that several encoders share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.types import Catalogue

#: numbers are scaled by the middle half of the items; what lies this far out is cut off, so that one price does not
#: decide a loss
LARGEST = 5.0


class AttributeCodes(nn.Module):
    """The catalogue's item attributes as one vocabulary: field f, level l -> column offset_f + l.

    `columns`, `weights` [I, M]: which columns an item has, and how much of each; the places of field f are
    `places[f]`. Items without attributes are legal: every field then holds its "(missing)" level.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        fields = catalogue.item_fields
        sizes = [len(f.levels) for f in fields]
        offsets = np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.int64)
        ends = np.cumsum([f.codes.shape[1] for f in fields], dtype=np.int64).tolist()
        self.sizes = sizes
        self.offsets: list[int] = offsets.tolist()
        self.places = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        self.numeric = [f.kind == "numeric" for f in fields]
        self.n_columns = int(sum(sizes))
        columns = [f.codes.astype(np.int64) + o for f, o in zip(fields, offsets, strict=True)]
        weights = [np.clip(f.weights, -LARGEST, LARGEST).astype(np.float32) for f in fields]
        empty = np.zeros((catalogue.n_items, 0))
        self.columns: Tensor
        self.weights: Tensor
        self.register_buffer("columns", torch.from_numpy(np.concatenate([empty.astype(np.int64), *columns], axis=1)))
        # made from the catalogue, so no part of a saved model
        weight = torch.from_numpy(np.concatenate([empty.astype(np.float32), *weights], axis=1))
        self.register_buffer("weights", weight, persistent=False)

    def require_some(self, variant: str) -> None:
        """Raise `SettingError` when the dataset has no item attributes at all."""
        if not self.sizes:
            raise SettingError(
                f"model.item_encoder={variant} needs item attributes and this dataset has none; use "
                "model/item_encoder=embedding"
            )

    def dense(self, rows: Tensor) -> Tensor:
        """Items [N] -> one weight for each column [N, n_columns]."""
        x = self.weights.new_zeros(len(rows), self.n_columns)
        return x.scatter_add_(1, self.columns[rows], self.weights[rows])


class AttributeSum(nn.Module):
    """A linear layer on the attributes: columns and their weights [N, M] -> the weighted sum of rows [N, width]."""

    def __init__(self, n_columns: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(max(1, n_columns), width)
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.rows.weight, std=0.1)

    def forward(self, columns: Tensor, weights: Tensor) -> Tensor:
        """columns, weights [..., M] -> [..., width]"""
        return (self.rows(columns) * weights.unsqueeze(-1)).sum(-2) + self.bias

    def dense(self, shares: Tensor) -> Tensor:
        """The same layer on one weight per column [N, n_columns]."""
        return shares @ self.rows.weight + self.bias
