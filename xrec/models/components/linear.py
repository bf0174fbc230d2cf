"""The linear path: EASE's item-to-item weights on a learned mix of three views of the history."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.closed_form import Ease, dense_histories, fitted_weights, gathered, in_user_space, summed_rows
from xrec.models.component import Component
from xrec.models.history import History
from xrec.models.recommender import Capabilities, Context, FitData
from xrec.types import HALF_LIVES, Catalogue, HistoryTable

_SLOW, _FAST = HALF_LIVES.index(16.0), HALF_LIVES.index(4.0)


class Linear(Component):
    """sum_j r_j W_ji: EASE's weights W, with a learned mix r_j of three views of history item j.

    The views are presence, log(1 + baskets decayed at half-life 16) and at half-life 4. Training windows use an EASE
    fitted strictly before the window, so that no target takes part in its own fit; every later moment uses the one of
    all training periods. W is closed form, kept in the cache and rebuilt when missing: it is no part of the state_dict.

    Args:
        regularization: lambda of EASE's ridge.
    """

    capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True)
    linear = True
    group = "wide"

    def __init__(self, catalogue: Catalogue, embedding_size: int, regularization: float = 500.0) -> None:
        super().__init__()
        if regularization <= 0:
            raise SettingError(f"linear: regularization must be above 0, got {regularization}")
        self.regularization = regularization
        self.mix = nn.Parameter(torch.ones(3))
        self.weights: Tensor
        self._data: FitData | None = None
        self._windows: dict[int, Tensor] = {}  # by moment: views of users [U, 3, I], or weights [I, I]

    def attach(self, data: FitData) -> None:
        self._data, self._windows = data, {}
        weights = fitted_weights(data, self.regularization, data.dataset.train_end + 1)
        self.register_buffer("weights", weights, persistent=False)

    def amounts(self, history: History) -> Tensor:
        """r [B, L]; 0 for padding and for items without an event of a kind that is to be predicted."""
        views = (torch.ones_like(history.age), history.decayed[..., _SLOW].log1p(), history.decayed[..., _FAST].log1p())
        return torch.einsum("c,cbl->bl", self.mix, torch.stack(views)) * history.presence * history.positive

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        history = context.history
        if context.users is not None and presence is None and targets is not None:
            return self.window_total(history, context.users, targets).unsqueeze(1)
        if presence is None and targets is None and context.users is None:  # one copy: no [B, L, I] table is needed
            return summed_rows(self.weights, history.item, self.amounts(history)).unsqueeze(1)
        return context.presence(presence) @ self.contributions(context, targets)

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        history = context.history
        weights = self.weights if context.users is None else self._weights_before(history.moment)
        return self.amounts(history).unsqueeze(-1) * gathered(weights, history.item, targets)

    def _weights_before(self, moment: int) -> Tensor:
        """[I, I] fitted before a training window's moment."""
        assert self._data is not None, "attach comes first"
        return fitted_weights(self._data, self.regularization, moment)

    def window_total(self, history: History, users: Tensor, targets: Tensor) -> Tensor:
        """[B, T] the path at a training window's moment, from weights fitted before it."""
        assert self._data is not None, "attach comes first"
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
        assert self._data is not None, "attach comes first"
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
