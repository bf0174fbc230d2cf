"""Features that start as PureSVD's (Cremonesi et al., RecSys 2010): items of the same users are alike at once."""

from __future__ import annotations

import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.models.item_encoder.item_encoder import ItemEncoder, forget_cold
from xrec.models.recommender import FitData
from xrec.models.settings import above_0
from xrec.models.singular import start_as_factors
from xrec.types import Catalogue


class SVD(ItemEncoder):
    """A row per item, which starts as that of V, the right singular vectors of X with every column over n_i^power.

    X [U, I] holds the training histories, 1 for each item of a target kind, n_i its users. <f_j, f_i> is then V V',
    PureSVD's score of item i for one who has j; the popular have longer rows, the less so the larger the power. Rows
    beyond the rank of X are 0.

    Args:
        deviation: root of the mean square of the entries at the start.
        power: of n_i; 0: plain PureSVD.
        trained: False keeps the start.
    Raises:
        SettingError: a deviation of 0 or less, or a negative power.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        deviation: float = 1.0,
        power: float = 0.25,
        trained: bool = True,
    ) -> None:
        super().__init__()
        above_0("svd", deviation=deviation)
        if power < 0:
            raise SettingError(f"svd: power must be 0 or more, got {power}")
        self.deviation, self.power, self.catalogue = deviation, power, catalogue
        self.table = torch.nn.Embedding(catalogue.n_items, embedding_size)
        self.table.weight.requires_grad_(trained)

    def fit(self, data: FitData) -> None:
        start_as_factors(self.table, data.dataset, self.deviation, self.power)
        forget_cold(self.table, self.catalogue)

    def features(self, generator: torch.Generator | None = None) -> Tensor:
        return self.table.weight
