"""What an item encoder is: the features of items that attentions and user encoders score with."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from xrec.models.component import Submodule
from xrec.models.settings import from_0_below_1
from xrec.types import Catalogue


class ItemEncoder(Submodule):
    """Features of all items, from (catalogue, embedding_size) and its own settings. No summand of the score.

    cold_items: an item that was never trained on gets a meaningful feature.
    """

    cold_items: bool = False

    @abstractmethod
    def features(self, generator: torch.Generator | None = None) -> Tensor:
        """[I, d]; a `generator` means training (dropping, sampling)."""


class FreeRows(nn.Module):
    """A free row per item beside what its attributes say, normal with deviation .05 at the start, 0 for cold items.

    Whole rows are dropped at random in training, so that what is left without one, as of a cold item, is a feature too
    (Volkovs et al., NeurIPS 2017); those that stay are divided by 1 - dropout, so that the mean is the row.

    Args:
        owner: whose, for messages. dropout: probability that a row is dropped.
    Raises:
        SettingError: a dropout outside [0, 1).
    """

    def __init__(self, catalogue: Catalogue, embedding_size: int, owner: str, dropout: float) -> None:
        super().__init__()
        from_0_below_1(owner, free_dropout=dropout)
        self.dropout = dropout
        self.table = nn.Embedding(catalogue.n_items, embedding_size)
        nn.init.normal_(self.table.weight, std=0.05)
        forget_cold(self.table, catalogue)

    def forward(self, generator: torch.Generator | None = None) -> Tensor:
        """[I, d]; a `generator` means training."""
        rows = self.table.weight
        if generator is None or self.dropout == 0:
            return rows
        kept = torch.rand(len(rows), 1, generator=generator, device=rows.device) >= self.dropout
        return rows * (kept / (1 - self.dropout))


def forget_cold(table: nn.Embedding, catalogue: Catalogue) -> None:
    """Rows of cold items are 0: they are never trained, and what they start with would be noise in their scores."""
    with torch.no_grad():
        table.weight[torch.from_numpy(catalogue.cold.astype(np.int64))] = 0.0
