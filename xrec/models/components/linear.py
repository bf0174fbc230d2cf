"""The linear path: EASE's item-to-item weights on a learned mix of three views of the history."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import SettingError
from xrec.models.closed_form import BY_USER, Ease, fitted_weights, gathered, in_user_space, summed_rows
from xrec.models.component import Component
from xrec.models.history import History, summed_at_items
from xrec.models.recommender import Capabilities, Context, FitData
from xrec.models.samples import drawn_users
from xrec.models.settings import above_0
from xrec.models.sparse import interactions
from xrec.types import HALF_LIVES, Catalogue

#: users that the start of the mix is fitted on
_FIT_USERS = 512
#: users whose path is computed together
_BLOCK = 512
#: of lambda, where users are left out in closed form: the error is about 3e-5 there, and 100 times that at .1
_LEAST = 1.0
_SLOW, _FAST = HALF_LIVES.index(16.0), HALF_LIVES.index(4.0)


class Linear(Component):
    """sum_j r_j W_ji: EASE's weights W, with a learned mix r_j of three views of history item j.

    The views are presence, log(1 + events decayed at half-life 16) and at half-life 4. No target takes part in the fit
    of its own weights. Where periods are a calendar, training windows use an EASE fitted strictly before the window.
    Where they count a user's own events, and on whole profiles, the weights are those fitted without the user's row,
    in closed form (`leave_one_out`). Everything else uses the weights of all training periods. W is closed form, kept
    in the cache and rebuilt when missing: it is no part of the state_dict.

    The mix is learned relative to `scale`, which is where a fit of that one number on training users starts it: EASE's
    scores are shares, and a likelihood wants them several times larger, further than a learning rate travels.

    Args:
        regularization: lambda of EASE's ridge.
    """

    capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True)
    linear = True
    group = "wide"
    in_mixture = "evidence"

    def __init__(self, catalogue: Catalogue, embedding_size: int, regularization: float = 500.0) -> None:
        super().__init__()
        above_0("linear", regularization=regularization)
        self.regularization = regularization
        self.mix = nn.Parameter(torch.ones(3))
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(()))
        self.weights: Tensor
        self._data: FitData | None = None
        self._windows: dict[int, Tensor] = {}  # by moment: views of users [U, 3, I]
        self._before: dict[int, Tensor] = {}  # by moment: weights [I, I]
        self._diagonal: Tensor | None = None

    def attach(self, data: FitData) -> None:
        self._data, self._windows, self._before, self._diagonal = data, {}, {}, None
        weights = fitted_weights(data, self.regularization, data.dataset.train_end + 1)
        self.register_buffer("weights", weights, persistent=False)

    def fit(self, data: FitData) -> None:
        """Start the mix at the scale that suits a softmax likelihood best, next to the items' popularity."""
        table = data.dataset.histories(data.dataset.train_end + 1)
        users = drawn_users(data, _FIT_USERS, data.generator)
        if len(users) == 0:
            return
        targets = torch.from_numpy(table.known(users, data.dataset.catalogue.n_items)).to(data.device)
        popularity = np.bincount(table.item, weights=table.positive, minlength=targets.shape[1])
        with torch.no_grad():
            history = History.from_table(table, users, data.device)
            self.scale.fill_(1.0)
            path = self.leave_one_out(history, torch.from_numpy(users).to(data.device))
            offset = torch.from_numpy(popularity).to(path).add(1.0).log()
            self.scale.copy_(best_scale(path, offset, targets.to(path.dtype)))

    def amounts(self, history: History) -> Tensor:
        """r [B, L]; 0 for padding and for items without an event of a kind that is to be predicted."""
        views = (torch.ones_like(history.age), history.decayed[..., _SLOW].log1p(), history.decayed[..., _FAST].log1p())
        mixed = torch.einsum("c,cbl->bl", self.mix * self.scale, torch.stack(views))
        return mixed * history.presence * history.positive

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        history = context.history
        if context.users is not None and presence is None:
            if self._leaves_one_out(context):
                return self.leave_one_out(history, context.users, targets).unsqueeze(1)
            return self.window_total(history, context.users, targets).unsqueeze(1)
        if presence is None and targets is None:  # one copy: no [B, L, I] table is needed
            return summed_rows(self.weights, history.item, self.amounts(history)).unsqueeze(1)
        return context.presence(presence) @ self.contributions(context, targets)

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        history = context.history
        if context.users is None:
            weights = gathered(self.weights, history.item, targets)
        elif self._leaves_one_out(context):
            weights = self._weights_without(history, context.users, targets)
        else:
            weights = gathered(self._weights_before(history.moment), history.item, targets)
        return self.amounts(history).unsqueeze(-1) * weights

    def _leaves_one_out(self, context: Context) -> bool:
        assert self._data is not None, "attach comes first"
        leaves = context.profile or self._data.dataset.own_periods
        if leaves and self.regularization < _LEAST:
            raise SettingError(
                f"linear: regularization={self.regularization} is too small to leave a user out of the fit in single "
                f"precision, which takes {_LEAST:g} or more; raise it"
            )
        return leaves

    def leave_one_out(self, history: History, users: Tensor, targets: Tensor | None = None) -> Tensor:
        """[B, T] the path by weights fitted without the training history of the user itself, exactly.

        With P = (X'X + lambda I)^-1, x the user's row, v = P x and h = x'v, the inverse without that row is
        P + v v' / (1 - h) (Sherman and Morrison), and W_ji = -P_ji / P_ii (Steck, WWW 2019, eq. 8).
        """
        diagonal, v, rest = self._without(users)
        amounts = self.amounts(history)
        path = summed_rows(self.weights, history.item, amounts) * diagonal
        at_history = v.gather(1, history.item)
        of_itself = summed_at_items(history.item, amounts, v.shape[1]) * v
        shift = ((amounts * at_history).sum(1, keepdim=True) - of_itself) * v / rest
        found = (path - shift) / (diagonal + v.square() / rest)
        return found if targets is None else found.gather(1, targets)

    def _weights_without(self, history: History, users: Tensor, targets: Tensor | None) -> Tensor:
        """[B, L, T] the weights of `leave_one_out`."""
        diagonal, v, rest = self._without(users)
        weights = gathered(self.weights, history.item, targets)
        at_targets = v if targets is None else v.gather(1, targets)
        of_targets = diagonal.expand_as(v) if targets is None else diagonal[targets]
        outer = v.gather(1, history.item).unsqueeze(-1) * (at_targets / rest).unsqueeze(1)
        found = (weights * of_targets.unsqueeze(1) - outer) / (of_targets + at_targets.square() / rest).unsqueeze(1)
        catalogue = torch.arange(v.shape[1], device=v.device).unsqueeze(0)
        itself = history.item.unsqueeze(-1) == (catalogue if targets is None else targets).unsqueeze(1)
        return found.masked_fill(itself, 0.0)

    def _without(self, users: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """diag(P) [I], v = P x [B, I] and 1 - x'v [B, 1] of users' whole training histories x."""
        assert self._data is not None, "attach comes first"
        if self._diagonal is None:
            self._diagonal = precision_diagonal(self._data, self.weights, self.regularization)
        table = self._data.dataset.histories(self._data.dataset.train_end + 1)
        row = History.from_table(table, users.cpu().numpy(), users.device)
        bought = row.presence * row.positive
        v = self._diagonal * (
            summed_at_items(row.item, bought, len(self._diagonal)) - summed_rows(self.weights, row.item, bought)
        )
        return self._diagonal, v, 1.0 - (bought * v.gather(1, row.item)).sum(1, keepdim=True)

    def _weights_before(self, moment: int) -> Tensor:
        """[I, I] fitted before a training window's moment."""
        assert self._data is not None, "attach comes first"
        if moment not in self._before:
            self._before[moment] = fitted_weights(self._data, self.regularization, moment)
        return self._before[moment]

    def window_total(self, history: History, users: Tensor, targets: Tensor | None) -> Tensor:
        """[B, T] the path at a training window's moment, from weights fitted before it."""
        assert self._data is not None, "attach comes first"
        moment, catalogue = history.moment, self._data.dataset.catalogue
        if not in_user_space(catalogue.n_users, catalogue.n_items):
            found = summed_rows(self._weights_before(moment), history.item, self.amounts(history))
            return found if targets is None else found.gather(1, targets)
        if moment not in self._windows:
            self._windows[moment] = torch.from_numpy(self._window(moment))
        views = self._windows[moment]
        if targets is None:  # [B, I, 3]
            chosen = views[users.cpu()].transpose(1, 2)
        else:  # [B, T, 3]
            chosen = views[users.unsqueeze(-1).cpu(), :, targets.cpu()]
        return chosen.to(users.device).float() @ (self.mix * self.scale)

    def _window(self, moment: int) -> np.ndarray:
        """[U, 3, I] float16 views applied to the weights fitted before `moment`, memory-mapped."""
        assert self._data is not None, "attach comes first"
        dataset, n_items = self._data.dataset, self._data.dataset.catalogue.n_items
        key = {"data": dataset.fingerprint, "regularization": self.regularization, "window": moment, **BY_USER}

        def build() -> np.ndarray:
            table = dataset.histories(moment)
            solved = Ease.solve(interactions(table, n_items), self.regularization)
            result = np.empty((table.n_users, 3, n_items), dtype=np.float16)
            for view, values in enumerate((None, *(np.log1p(table.decayed[:, c]) for c in (_SLOW, _FAST)))):
                result[:, view] = solved.apply(interactions(table, n_items, values))
            return result

        return self._data.cache.array("linear-window", key, build)


def precision_diagonal(data: FitData, weights: Tensor, regularization: float) -> Tensor:
    """diag(P) [I] of EASE's P = (X'X + lambda I)^-1 with the weights W [I, I] of all training periods: a column of
    (X'X + lambda I) P = I says P_ii = 1 / (lambda + n_i - sum over the item's users of (x W)_i)."""
    table = data.dataset.histories(data.dataset.train_end + 1)
    key = {"data": data.dataset.fingerprint, "regularization": regularization, "before": table.moment}

    def build() -> np.ndarray:
        bought = table.positive > 0
        rows = table.user()[bought]
        items = torch.from_numpy(table.item[bought])
        starts = np.searchsorted(rows, np.arange(table.n_users + 1))
        left = torch.zeros(weights.shape[0], dtype=torch.float64)
        for first in range(0, table.n_users, _BLOCK):
            ends = starts[first : first + _BLOCK + 1]
            of_block = items[ends[0] : ends[-1]]
            offsets = torch.from_numpy(ends[:-1] - ends[0])
            summed = functional.embedding_bag(
                of_block.to(weights.device), weights, offsets.to(weights.device), mode="sum"
            )
            row = torch.from_numpy(rows[ends[0] : ends[-1]] - first)
            explained = summed.cpu()[row, of_block].double()
            left.index_add_(0, of_block, 1.0 - explained)
        return (1.0 / (regularization + left)).float().numpy()

    return torch.from_numpy(data.cache.array("ease-precision", key, build)).to(data.device)


def best_scale(path: Tensor, offset: Tensor, targets: Tensor) -> Tensor:
    """The a that maximises the multinomial likelihood of targets [N, I] under softmax(a path + offset), with path
    [N, I] and offset [I]: Newton's method on a concave function of one number, kept between 1 and 100."""
    a, n_targets = path.new_ones(()), targets.sum(1)
    for _ in range(50):
        share = torch.softmax(a * path + offset, -1)
        mean = (share * path).sum(1)
        slope = ((targets * path).sum(1) - n_targets * mean).sum()
        curvature = (n_targets * ((share * path.square()).sum(1) - mean.square())).sum()
        step = slope / curvature.clamp_min(1e-12)
        new = (a + step.clamp(-0.5 * a, a)).clamp(1.0, 100.0)  # at most half or twice, so that it cannot overshoot far
        if (new - a).abs() <= 1e-4 * a:
            return new
        a = new
    return a
