"""What every item looks like just before a moment, standardised: shared by the components that look at it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrec.types import Dataset, Ints

#: columns of `Dataset.item_statistics`
N_STATISTICS = 9


class ItemStatistics:
    """Standardised item statistics as of any moment; means and deviations come from the end of training."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.dataset, self.device = dataset, device
        reference = dataset.item_statistics(dataset.train_end + 1)
        self.mean, self.deviation = reference.mean(0), reference.std(0) + 1e-6
        self._tables: dict[int, Tensor] = {}

    def at(self, moment: int) -> Tensor:
        """[I, S] statistics just before `moment`."""
        if moment not in self._tables:
            table = (self.dataset.item_statistics(moment) - self.mean) / self.deviation
            self._tables[moment] = torch.from_numpy(table.astype(np.float32)).to(self.device)
        return self._tables[moment]


def recent_buyers(dataset: Dataset, moment: int, n_periods: int) -> Ints:
    """[I] users of each item in the last `n_periods` that are known at `moment`."""
    until = dataset.others_until(moment)
    recent = dataset.targets(until - n_periods, until - 1)
    return np.bincount(recent.item, minlength=dataset.catalogue.n_items)
