"""Control: a plain MLP on the item's attributes; two items with the same attributes share their feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.item_encoder.attribute_codes import AttributeCodes, AttributeSum
from xrec.models.item_encoder.item_encoder import ItemEncoder
from xrec.types import Catalogue


class Attributes(ItemEncoder):
    """Raises: SettingError, when the dataset has no item attributes, or for a size below 1."""

    cold_items = True

    def __init__(self, catalogue: Catalogue, embedding_size: int, hidden_size: int = 64) -> None:
        super().__init__()
        if hidden_size < 1:
            raise SettingError(f"attributes: hidden_size must be at least 1, got {hidden_size}")
        self.codes = AttributeCodes(catalogue)
        self.codes.require_some("attributes")
        self.first = AttributeSum(self.codes.n_columns, hidden_size)
        self.second = nn.Linear(hidden_size, embedding_size)

    def features(self, generator: torch.Generator | None = None) -> Tensor:
        hidden = self.first(self.codes.columns, self.codes.weights)
        return self.second(torch.nn.functional.leaky_relu(hidden, 0.2))
