"""Attributes straight in the item feature: the scaled sum of the embeddings of its levels, plus a free row."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from xrec.models.item_encoder.attribute_codes import AttributeCodes
from xrec.models.item_encoder.item_encoder import FreeRows, ItemEncoder
from xrec.types import Catalogue


class EmbeddingAttributes(ItemEncoder):
    """feature_i = 1 / sqrt(F) sum_f sum_l w_ifl e_fl + free_i.

    w are the weights of the item's levels (1 for a category of one value, shares of several, a number's value), F the
    number of fields: the attribute part has the scale of one embedding however many fields there are. As item features
    of sequential recommenders: FDSA (Zhang et al., IJCAI 2019), S3-Rec (Zhou et al., CIKM 2020), LightFM (Kula, 2015).

    Args:
        free_dropout: probability that an item's free row is dropped in a training step; the others are divided by
            1 - free_dropout. Above 0, attributes alone (a cold item) learn to be a feature.
    Raises:
        SettingError: the dataset has no item attributes, or a probability outside [0, 1).
    """

    cold_items = True

    def __init__(self, catalogue: Catalogue, embedding_size: int, free_dropout: float = 0.2) -> None:
        super().__init__()
        self.codes = AttributeCodes(catalogue)
        self.codes.require_some("embedding_attributes")
        self.levels = nn.Embedding(self.codes.n_columns, embedding_size)
        nn.init.normal_(self.levels.weight, std=0.1)
        self.free = FreeRows(catalogue, embedding_size, "embedding_attributes", free_dropout)

    def features(self, generator: torch.Generator | None = None) -> Tensor:
        return self.of_attributes() + self.free(generator)

    def of_attributes(self) -> Tensor:
        """[I, d] what the attributes alone say: a cold item's feature."""
        summed = nn.functional.embedding_bag(
            self.codes.columns, self.levels.weight, per_sample_weights=self.codes.weights, mode="sum"
        )
        return summed / math.sqrt(len(self.codes.sizes))
