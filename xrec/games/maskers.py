"""What 'absent' means, and with it the value of the empty history: presence of the channels of absent players."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.games.fitting import Fitting, Learner, fitted
from xrec.games.keyed import Keyed
from xrec.models.history import History
from xrec.types import Case, Dataset, HistoryTable, Ints

#: channels present [B, M, L] in [0, 1] -> presence [B, M, V, L] in V views of each masked copy, differentiable
Views = Callable[[Tensor], Tensor]


class Masker(Learner, ABC):
    """The value of a masked history is that of the model's scores averaged over the views.

    requires: capabilities of the model that it needs. n_views: V, forwards that a mask costs.
    """

    name: str
    requires: tuple[str, ...] = ()
    n_views: int = 1

    def check(self, dataset: Dataset) -> None:
        """Raises: SettingError, when settings do not fit the data; known before anything is fitted."""

    @abstractmethod
    def bind(self, history: History, cases: Sequence[Case], seed: int) -> Views:
        """The views of these cases' histories; random ones are keyed by the case (`xrec.games.keyed`)."""


class Zero(Masker):
    """An absent item has presence 0: as if it had never been bought."""

    name = "zero"

    def bind(self, history: History, cases: Sequence[Case], seed: int) -> Views:
        return lambda present: present.unsqueeze(2)


class Popularity(Masker):
    """An absent item keeps presence equal to its share of users: those with a training history who have it there, by
    an event of any kind. The mean of `SampledUser` over all users, for models that are linear in presence."""

    name = "popularity"
    requires = ("fractional_presence",)

    def __init__(self) -> None:
        self.share: Tensor | None = None

    def fit(self, fitting: Fitting) -> None:
        table = fitting.training()
        counts = np.bincount(table.item, minlength=fitting.dataset.catalogue.n_items)
        self.share = torch.from_numpy((counts / max(1, len(_with_history(table)))).astype(np.float32))

    def state(self) -> dict[str, Tensor]:
        return {"share": _fitted(self.name, self.share)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.share = state["share"]

    def bind(self, history: History, cases: Sequence[Case], seed: int) -> Views:
        share = _fitted(self.name, self.share).to(history.item.device)[history.item] * history.presence
        return lambda present: (present + (1 - present) * share.unsqueeze(1)).unsqueeze(2)


class SampledUser(Masker):
    """An absent item is there or not as it is in the training history of each of some other users, drawn once per case
    without replacement; views of binary masks are binary (marginal imputation, as in Lundberg & Lee, NeurIPS 2017).

    Args:
        n_users: how many; each is one forward.
    Raises (fit):
        SettingError: not so many other users have a training history.
    """

    name = "sampled_user"

    def __init__(self, n_users: int = 10) -> None:
        if not 1 <= n_users <= 1000:
            raise SettingError(f"masker.n_users must be from 1 to 1000, got {n_users}")
        self.n_views = n_users
        self.indptr: Tensor | None = None
        self.item: Tensor | None = None

    def check(self, dataset: Dataset) -> None:
        others = len(_with_history(dataset.histories(dataset.train_end + 1))) - 1
        if others < self.n_views:
            raise SettingError(
                f"masker.n_users: got {self.n_views}, but only {max(0, others)} other users have a training history"
            )

    def fit(self, fitting: Fitting) -> None:
        self.check(fitting.dataset)
        table = fitting.training()
        self.indptr, self.item = torch.from_numpy(table.indptr.copy()), torch.from_numpy(table.item.astype(np.int32))

    def state(self) -> dict[str, Tensor]:
        return {"indptr": _fitted(self.name, self.indptr), "item": _fitted(self.name, self.item)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.indptr, self.item = state["indptr"], state["item"]

    def bind(self, history: History, cases: Sequence[Case], seed: int) -> Views:
        own = history.item.cpu().numpy()
        theirs = np.zeros((len(cases), self.n_views, own.shape[1]), dtype=np.float32)
        indptr, item = (_fitted(self.name, t).numpy() for t in (self.indptr, self.item))
        for row, case in enumerate(cases):
            for view, user in enumerate(self.drawn(case, seed)):
                theirs[row, view] = np.isin(own[row], item[indptr[user] : indptr[user + 1]])
        there = torch.from_numpy(theirs).to(history.item.device) * history.presence.unsqueeze(1)
        return lambda present: present.unsqueeze(2) + (1 - present).unsqueeze(2) * there.unsqueeze(1)

    def drawn(self, case: Case, seed: int) -> Ints:
        """[V] the users drawn for a case."""
        users = np.flatnonzero(np.diff(_fitted(self.name, self.indptr).numpy()) > 0)
        generator = Keyed(seed, self.name).generator(case)
        return generator.choice(users[users != case.user], self.n_views, replace=False)


def _with_history(table: HistoryTable) -> Ints:
    return np.flatnonzero(table.lengths() > 0)


def _fitted(name: str, learned: Tensor | None) -> Tensor:
    return fitted(f"masker {name}", learned, "masks")
