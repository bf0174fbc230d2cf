"""Personal frequency: what a user buys often and lately, backfilled by recent popularity."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.models.baselines.own_item import OwnItem
from xrec.models.history import History
from xrec.models.item_statistics import recent_buyers
from xrec.models.recommender import Context, FitData
from xrec.types import HALF_LIVES, Catalogue, Dataset


class PersonalFrequency(OwnItem):
    """score(u, i) = baskets of u with item i, halved every `half_life` periods, + a share of recent popularity
    below any of them. Items without an event of a kind that is to be predicted (seen, not bought) have none.

    Args:
        half_life: in periods, one of `xrec.types.HALF_LIVES`.
        backfill_periods: popularity of the last so many periods before the scored moment orders items never bought.
    Raises:
        SettingError: a half-life that histories do not carry, or no period to backfill from.
    """

    def __init__(self, catalogue: Catalogue, half_life: float = 16.0, backfill_periods: int = 8) -> None:
        super().__init__()
        if half_life not in HALF_LIVES:
            raise SettingError(f"personal_frequency: half_life must be one of {HALF_LIVES}, got {half_life}")
        if backfill_periods < 1:
            raise SettingError(f"personal_frequency: backfill_periods must be at least 1, got {backfill_periods}")
        self.n_items = catalogue.n_items
        self.channel = HALF_LIVES.index(half_life)
        self.backfill_periods = backfill_periods
        self._dataset: Dataset | None = None
        self._backfill: dict[int, Tensor] = {}

    def attach(self, data: FitData) -> None:
        self._dataset, self._backfill = data.dataset, {}

    def prior(self, context: Context, targets: Tensor | None) -> Tensor:
        moment = context.history.moment
        if moment not in self._backfill:
            assert self._dataset is not None, "attach comes first"
            counts = recent_buyers(self._dataset, moment, self.backfill_periods)
            share = min(1e-6, 0.5 ** (moment / HALF_LIVES[self.channel]) / (self._dataset.catalogue.n_users + 1))
            self._backfill[moment] = torch.from_numpy((share * counts).astype(np.float32)).to(
                context.history.age.device
            )
        backfill = self._backfill[moment]
        return backfill.unsqueeze(0) if targets is None else backfill[targets]

    def own(self, history: History) -> Tensor:
        return history.decayed[..., self.channel] * history.positive
