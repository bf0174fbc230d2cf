"""The wide parts of the composed model: item prior, linear item-to-item path, repeat features. All exactly additive."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.baselines.ease import fitted_weights, gathered, summed_rows
from xrec.models.baselines.personal_frequency import at_own_item
from xrec.models.closed_form import Ease, dense_histories, in_user_space
from xrec.models.history import History
from xrec.models.recommender import FitData
from xrec.types import HALF_LIVES, Dataset, HistoryTable

_SLOW, _FAST = HALF_LIVES.index(16.0), HALF_LIVES.index(4.0)


class ItemStatistics:
    """Standardised item statistics as of any moment; means and deviations come from the end of training."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.dataset, self.device = dataset, device
        reference = dataset.item_statistics(dataset.train_end + 1)
        self.mean, self.deviation = reference.mean(0), reference.std(0) + 1e-6
        self._tables: dict[int, Tensor] = {}

    @property
    def n_statistics(self) -> int:
        return len(self.mean)

    def at(self, moment: int) -> Tensor:
        """[I, S] statistics just before `moment`."""
        if moment not in self._tables:
            table = (self.dataset.item_statistics(moment) - self.mean) / self.deviation
            self._tables[moment] = torch.from_numpy(table.astype(np.float32)).to(self.device)
        return self._tables[moment]


class ItemPrior(nn.Module):
    """b_i + theta . statistics_i(moment): what an item gets from an empty history."""

    def __init__(self, n_items: int, n_statistics: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.statistics = nn.Parameter(torch.zeros(n_statistics))
        self.level = nn.Parameter(torch.tensor(-6.0))  # the share of items a user buys is about exp(-6)

    def forward(self, statistics: Tensor, targets: Tensor | None) -> Tensor:
        """[1, I], or [B, T] at the targets."""
        prior = self.bias + statistics @ self.statistics + self.level
        return prior.unsqueeze(0) if targets is None else prior[targets]

    def penalty(self) -> Tensor:
        """Sum of squared item biases; shrinking them matters for new items."""
        return self.bias.square().sum()


class LinearPath(nn.Module):
    """sum_j r_j W_ji: EASE's weights W, with a learned mix r_j of three views of history item j.

    The views are presence, log(1 + baskets decayed at half-life 16) and at half-life 4. Training windows use an EASE
    fitted strictly before the window, so that no target takes part in its own fit; every later moment uses the one of
    all training periods. W is closed form, kept in the cache and rebuilt when missing: it is no part of the state_dict.
    """

    def __init__(self, regularization: float) -> None:
        super().__init__()
        if regularization <= 0:
            raise SettingError(f"linear path: regularization must be above 0, got {regularization}")
        self.regularization = regularization
        self.mix = nn.Parameter(torch.ones(3))
        self.weights: Tensor
        self._data: FitData | None = None
        self._windows: dict[int, Tensor] = {}  # by moment: views of users [U, 3, I], or weights [I, I]

    def fit(self, data: FitData) -> None:
        self._data, self._windows = data, {}
        weights = fitted_weights(data, self.regularization, data.dataset.train_end + 1)
        self.register_buffer("weights", weights, persistent=False)

    def amounts(self, history: History) -> Tensor:
        """r [B, L]; 0 for padding and for items without an event of a kind that is to be predicted."""
        views = (torch.ones_like(history.age), history.decayed[..., _SLOW].log1p(), history.decayed[..., _FAST].log1p())
        return torch.einsum("c,cbl->bl", self.mix, torch.stack(views)) * history.presence * history.positive

    def contributions(self, history: History, targets: Tensor | None) -> Tensor:
        return self.amounts(history).unsqueeze(-1) * gathered(self.weights, history.item, targets)

    def total(self, history: History) -> Tensor:
        """The whole path for the whole history and catalogue: [B, I]."""
        return summed_rows(self.weights, history.item, self.amounts(history))

    def window_total(self, history: History, users: Tensor, targets: Tensor) -> Tensor:
        """[B, T] the path at a training window's moment, from weights fitted before it."""
        assert self._data is not None, "fit comes first"
        moment, catalogue = history.moment, self._data.dataset.catalogue
        if not in_user_space(catalogue.n_users, catalogue.n_items):
            if moment not in self._windows:
                self._windows[moment] = fitted_weights(self._data, self.regularization, moment)
            return summed_rows(self._windows[moment], history.item, self.amounts(history)).gather(1, targets)
        if moment not in self._windows:
            self._windows[moment] = torch.from_numpy(self._window(moment))
        views = self._windows[moment][users.unsqueeze(-1).cpu(), :, targets.cpu()]  # [B, T, 3]
        return views.to(targets.device).float() @ self.mix

    def _window(self, moment: int) -> np.ndarray:
        """[U, 3, I] float16 views applied to the weights fitted before `moment`, memory-mapped."""
        assert self._data is not None, "fit comes first"
        dataset, n_items = self._data.dataset, self._data.dataset.catalogue.n_items
        key = {"data": dataset.fingerprint, "regularization": self.regularization, "window": moment}

        def build() -> np.ndarray:
            table = dataset.histories(moment)
            binary = dense_histories(table, n_items)
            solved = Ease.solve(binary, self.regularization)
            result = np.empty((table.n_users, 3, n_items), dtype=np.float16)
            for view, matrix in enumerate((binary, _decayed(table, n_items, _SLOW), _decayed(table, n_items, _FAST))):
                result[:, view] = solved.apply(matrix).half().numpy()
            return result

        return self._data.cache.array("linear-window", key, build)


def _decayed(table: HistoryTable, n_items: int, channel: int) -> Tensor:
    return dense_histories(table, n_items, torch.from_numpy(np.log1p(table.decayed[:, channel])))


class RepeatFeatures(nn.Module):
    """What a history item adds to its own score: a linear map and a small net on recency and frequency of the pair.

    Depends on nothing but the pair's own channels and the item's statistics, so it is exactly additive.
    """

    def __init__(self, n_statistics: int, hidden: tuple[int, int] = (48, 24)) -> None:
        super().__init__()
        n_inputs = _N_PAIR_FEATURES + n_statistics
        self.linear = nn.Linear(n_inputs, 1)
        self.net = nn.Sequential(
            nn.Linear(n_inputs, hidden[0]),
            nn.SiLU(),
            nn.Linear(hidden[0], hidden[1]),
            nn.SiLU(),
            nn.Linear(hidden[1], 1),
        )
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(_N_PAIR_FEATURES))
        self.register_buffer("deviation", torch.ones(_N_PAIR_FEATURES))

    def fit(self, table: HistoryTable) -> None:
        """Standardise on the histories at the end of training."""
        if len(table.item):
            history = History.from_table(table, np.arange(table.n_users))
            features = pair_features(history)[history.presence > 0]
            self.mean.copy_(features.mean(0))
            self.deviation.copy_(features.std(0) + 1e-6)

    def own(self, history: History, statistics: Tensor) -> Tensor:
        """[B, L] contribution of each history item to itself as a target; 0 for padding."""
        pair = (pair_features(history) - self.mean) / self.deviation
        inputs = torch.cat([pair, statistics[history.item]], dim=-1)
        return (self.linear(inputs) + self.net(inputs)).squeeze(-1) * history.presence

    def contributions(self, history: History, statistics: Tensor, targets: Tensor | None, n_items: int) -> Tensor:
        return at_own_item(history.item, self.own(history, statistics), targets, n_items)


_N_PAIR_FEATURES = 10 + len(HALF_LIVES)


def pair_features(history: History) -> Tensor:
    """[B, L, 16] recency and frequency of each (user, item): logs of baskets, periods, age, first age and mean gap;
    due = age / (mean gap + 1); rate; single purchase; two recency kernels; log decayed baskets."""
    age, first, times = history.age, history.first_age, history.n_periods
    gap = torch.where(times > 1, (first - age) / (times - 1).clamp_min(1), 0.0)
    due = torch.where(times > 1, age / (gap + 1), 0.0).clamp(0, 5)
    columns = [
        history.strength.log1p(),
        times.log1p(),
        age.log1p(),
        first.log1p(),
        gap.log1p(),
        due,
        times / first.clamp_min(1),
        (times == 1).to(age.dtype),
        torch.exp(-age / 4),
        torch.exp(-age / 16),
    ]
    return torch.cat([torch.stack(columns, dim=-1), history.decayed.log1p()], dim=-1)
