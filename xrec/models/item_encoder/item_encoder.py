"""What an item encoder is: the features of items that attentions and user encoders score with."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from xrec.models.component import Submodule
from xrec.types import Catalogue


class ItemEncoder(Submodule):
    """Features of all items, from (catalogue, embedding_size) and its own settings. No summand of the score.

    cold_items: an item that was never trained on gets a meaningful feature.
    """

    cold_items: bool = False

    @abstractmethod
    def features(self, generator: torch.Generator | None = None) -> Tensor:
        """[I, d]; a `generator` means training (dropping, sampling)."""


def forget_cold(table: nn.Embedding, catalogue: Catalogue) -> None:
    """Rows of cold items are 0: they are never trained, and what they start with would be noise in their scores."""
    with torch.no_grad():
        table.weight[torch.from_numpy(catalogue.cold.astype(np.int64))] = 0.0
