"""Baselines that score own items by how likely they are to be bought again (a question of Bhagat et al., KDD 2018)."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.models.baselines.own_item import OwnItem
from xrec.models.history import History
from xrec.models.item_statistics import N_STATISTICS, recent_buyers
from xrec.models.recommender import Context, FitData
from xrec.models.settings import above_0, at_least
from xrec.types import HALF_LIVES, Catalogue, Dataset, Floats, HistoryTable, membership

#: pairs whose labels are looked up together: users of a block
_USERS = 512


class RepeatProbability(OwnItem):
    """score(u, i) = P(u buys i again within the next `horizon` periods) of the own items, and for all others the share
    of all users that bought them in the last `backfill_periods`, times `backfill_weight`.

    The probability depends on the pair's own channels, on the item, and on nothing else of the history, so the score is
    exactly additive: an own item's contribution is its probability less its backfill. Learned at the last `n_windows`
    moments that lie `horizon` periods apart and end with the training.

    Args:
        horizon: periods that a label looks ahead. n_windows: moments that examples are taken from.
        backfill_periods: popularity of the last so many periods before the scored moment. backfill_weight: see above.
    Raises:
        SettingError: settings out of range; (on fitting) training periods without repeats.
    """

    #: of messages
    owner: str

    def __init__(
        self,
        catalogue: Catalogue,
        horizon: int = 4,
        n_windows: int = 3,
        backfill_periods: int = 8,
        backfill_weight: float = 0.001,
    ) -> None:
        super().__init__()
        at_least(1, self.owner, horizon=horizon, n_windows=n_windows, backfill_periods=backfill_periods)
        above_0(self.owner, backfill_weight=backfill_weight)
        self.n_items = catalogue.n_items
        self.horizon, self.n_windows = horizon, n_windows
        self.backfill_periods, self.backfill_weight = backfill_periods, backfill_weight
        self._dataset: Dataset | None = None
        self._backfill: dict[int, Tensor] = {}
        self._items: dict[int, Tensor] = {}

    @abstractmethod
    def learn(self, features: Floats, labels: Floats, generator: torch.Generator) -> None:
        """Fit the classifier to features [n, N_FEATURES] of pairs and whether each was bought again [n]."""

    @abstractmethod
    def log_odds(self, features: Tensor) -> Tensor:
        """[n] of being bought again, of features [n, N_FEATURES]."""

    def attach(self, data: FitData) -> None:
        self._dataset, self._backfill, self._items = data.dataset, {}, {}

    def fit(self, data: FitData) -> None:
        self.attach(data)
        features, labels = self.examples(data.dataset)
        if not 0 < labels.sum() < len(labels):
            raise SettingError(
                f"{self.owner}: no item was bought again in the training windows; take another baseline, or "
                "a larger model.horizon"
            )
        self.learn(features, labels, data.generator)

    def examples(self, dataset: Dataset) -> tuple[Floats, Floats]:
        """Features [n, N_FEATURES] of the (user, own item) pairs of all windows, and whether each was bought again
        [n]."""
        features, labels = [], []
        for number in range(self.n_windows):
            moment = dataset.train_end + 1 - self.horizon * (number + 1)
            if moment < 1:
                break
            table = dataset.histories(moment)
            there = table.positive > 0
            channels = (table.age, table.first_age, table.n_periods, table.strength, table.decayed)
            age, first_age, n_periods, strength, decayed = (torch.from_numpy(c) for c in channels)
            pairs = pair_features(age, first_age, n_periods, strength, decayed)
            items = dataset.item_statistics(moment)[table.item[there]]
            features.append(np.concatenate([pairs.numpy()[there], items], axis=1))
            labels.append(bought_again(table, dataset, moment, moment + self.horizon - 1)[there])
        if not features:
            raise SettingError(
                f"{self.owner}: the training ends before {self.horizon + 1} periods; lower model.horizon"
            )
        return np.concatenate(features), np.concatenate(labels)

    def probability(self, history: History) -> Tensor:
        """[B, L] of being bought again; 0 for padding."""
        there = history.presence > 0
        channels = (history.age, history.first_age, history.n_periods, history.strength, history.decayed)
        pairs = pair_features(*(channel[there] for channel in channels))
        features = torch.cat([pairs, self._statistics(history)[history.item[there]]], -1)
        probability = torch.zeros_like(history.age)
        probability[there] = torch.sigmoid(self.log_odds(features)).to(probability.dtype)
        return probability

    def prior(self, context: Context, targets: Tensor | None) -> Tensor:
        backfill = self._shares(context.history)
        return backfill.unsqueeze(0) if targets is None else backfill[targets]

    def own(self, history: History) -> Tensor:
        gain = self.probability(history) - self._shares(history)[history.item]
        return gain * history.positive * (history.presence > 0)

    def _statistics(self, history: History) -> Tensor:
        """[I, S] of the items at a moment."""
        moment = history.moment
        if moment not in self._items:
            assert self._dataset is not None, "attach comes first"
            self._items[moment] = torch.from_numpy(self._dataset.item_statistics(moment)).to(history.age.device)
        return self._items[moment]

    def _shares(self, history: History) -> Tensor:
        """[I] the backfill at a moment."""
        moment = history.moment
        if moment not in self._backfill:
            assert self._dataset is not None, "attach comes first"
            buyers = recent_buyers(self._dataset, moment, self.backfill_periods)
            share = buyers / max(1, self._dataset.catalogue.n_users)
            backfill = torch.from_numpy((self.backfill_weight * share).astype(np.float32))
            self._backfill[moment] = backfill.to(history.age.device)
        return self._backfill[moment]


def bought_again(table: HistoryTable, dataset: Dataset, start: int, end: int) -> Floats:
    """[nnz] 1 where the user of an entry has a target event of its item in periods start .. end."""
    targets = dataset.targets(start, end)
    label = np.zeros(len(table.item), dtype=np.float32)
    for first in range(0, table.n_users, _USERS):
        users = np.arange(first, min(first + _USERS, table.n_users))
        entries = slice(int(table.indptr[users[0]]), int(table.indptr[users[-1] + 1]))
        wanted = membership(targets.indptr, targets.item, users, dataset.catalogue.n_items)
        row = np.repeat(np.arange(len(users)), table.lengths()[users])
        label[entries] = wanted[row, table.item[entries]]
    return label


N_PAIR_FEATURES = 10 + len(HALF_LIVES)
#: of a pair, and then of its item
N_FEATURES = N_PAIR_FEATURES + N_STATISTICS


def pair_features(age: Tensor, first_age: Tensor, n_periods: Tensor, strength: Tensor, decayed: Tensor) -> Tensor:
    """[..., 16] of a (user, item) pair's channels: logs of events, periods, age, first age, mean gap; 1 / age; rate;
    single purchase; due = age / (mean gap + 1) and its distance from 1; log decayed events."""
    gap = torch.where(n_periods > 1, (first_age - age) / (n_periods - 1).clamp_min(1), first_age)
    due = (age / (gap + 1)).clamp_max(5)
    columns = [
        strength.log1p(), n_periods.log1p(), age.log1p(), first_age.log1p(), gap.log1p(), 1 / age.clamp_min(1),
        n_periods / first_age.clamp_min(1), (n_periods <= 1).to(age.dtype), due, (due - 1).abs(),
    ]  # fmt: skip
    return torch.cat([torch.stack(columns, -1), decayed.log1p()], -1)
