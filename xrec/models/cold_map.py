"""Weights for items without a training event, from their attributes: a map in closed form from the attributes of trained
items to the columns of an item-to-item matrix."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xrec.errors import SettingError
from xrec.models.gram import Gram, blocks
from xrec.models.tfidf import similarity_block, tfidf_attributes
from xrec.types import Catalogue, Floats, HistoryTable


@dataclass(frozen=True)
class ColdMap:
    """TODO"""

    def key(self) -> dict[str, Any]:
        return asdict(self)

    def fill(self, weights: Floats, table: HistoryTable, catalogue: Catalogue) -> Floats:
        return weights
