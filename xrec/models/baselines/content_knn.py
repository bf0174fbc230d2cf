"""Content-kNN: cosine of the TF-IDF attributes of two items, to a power (Pazzani and Billsus, 2007); needs no training
event of the target, so it ranks cold items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.models.baselines.item_to_item import ItemToItem
from xrec.models.gram import blocks
from xrec.models.recommender import FitData
from xrec.models.tfidf import similarity_block, tfidf_attributes
from xrec.types import Catalogue, Floats


class ContentKNN(ItemToItem):
    """weights[j, i] = cos(a_i, a_j)^power, a the TF-IDF attributes; an item says nothing about itself.

    Args:
        power: larger lets only the nearest items speak.
        history_decay, half_life: recency of the history that is scored, see `ItemToItem`.
    Raises:
        SettingError: settings out of range; (on fitting) no attributes.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        power: float = 3.0,
        history_decay: float | None = None,
        half_life: float | None = None,
    ) -> None:
        super().__init__(catalogue, history_decay, half_life)
        if power <= 0:
            raise SettingError(f"content_knn: power must be above 0, got {power}")
        self.power = power
        self.attributes = tfidf_attributes(catalogue, "content_knn")
        self.capabilities = replace(self.capabilities, cold_items=True)

    def fitted(self, data: FitData) -> Tensor:
        key = {"data": data.dataset.fingerprint, "power": self.power}

        def solve() -> Floats:
            weights = np.empty((self.n_items, self.n_items), dtype=np.float32)
            for rows in blocks(self.n_items):
                weights[rows] = similarity_block(self.attributes, rows).clip(0, 1) ** np.float32(self.power)
            weights[np.diag_indices(self.n_items)] = 0.0
            return weights

        return torch.from_numpy(data.cache.array("content-knn", key, solve)).to(data.device)
