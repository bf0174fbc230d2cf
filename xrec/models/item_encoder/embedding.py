"""Control: a free table, one row per item (0 for cold ones); knows nothing of attributes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xrec.models.item_encoder.item_encoder import ItemEncoder, forget_cold
from xrec.types import Catalogue


class Embedding(ItemEncoder):
    """A free row per item, normal with deviation .1 at the start; rows of cold items are 0."""

    def __init__(self, catalogue: Catalogue, embedding_size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(catalogue.n_items, embedding_size)
        nn.init.normal_(self.table.weight, std=0.1)
        forget_cold(self.table, catalogue)

    def features(self, generator: torch.Generator | None = None) -> Tensor:
        return self.table.weight
