"""What explainers keep of the users of training: who had what, drawn from or counted on."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.explain.explainer import Explainer
from xrec.games.fitting import Fitting, fitted
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Floats, Ints


class OnTraining(Explainer, ABC):
    """An explainer that keeps the histories that training ended with. name: in errors."""

    name: str

    def __init__(self) -> None:
        self._indptr: Tensor | None = None
        self._item: Tensor | None = None

    def fit(self, fitting: Fitting) -> None:
        table = fitting.training()
        self._indptr = torch.from_numpy(table.indptr.copy())
        self._item = torch.from_numpy(table.item.astype(np.int32))

    def state(self) -> dict[str, Tensor]:
        indptr, item = (fitted(f"explainer {self.name}", kept, "explains") for kept in (self._indptr, self._item))
        return {"indptr": indptr, "item": item}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._indptr, self._item = state["indptr"], state["item"]

    def training(self) -> tuple[Ints, Ints]:
        """indptr [U + 1] and items [nnz] of the users' histories."""
        state = self.state()
        return state["indptr"].numpy(), state["item"].numpy()

    def presences(self, game: Game, random: Keyed, n: int) -> Floats:
        """[B, n, P] the case's players as n other users have them, drawn with replacement: of a group, the share of its
        items."""
        indptr, item = self.training()
        users = self._drawn(game, random, n, np.flatnonzero(np.diff(indptr) > 0)).ravel()
        lengths = indptr[users + 1] - indptr[users]
        row = np.repeat(np.arange(len(users)), lengths)  # of every item of a drawn history
        entry = np.arange(len(row)) + np.repeat(indptr[users] - np.cumsum(lengths) + lengths, lengths)
        own, member = game.history.item.cpu().numpy(), game.players.membership.cpu().numpy()
        player = np.full((len(game), game.candidates.shape[1]), -1)
        case, channel = np.nonzero(member >= 0)
        player[case, own[case, channel]] = member[case, channel]
        place = player[row // n, item[entry]]
        shared = place >= 0
        counts = np.bincount(row[shared] * game.width + place[shared], minlength=len(users) * game.width)
        sizes = game.players.pooled(torch.ones_like(game.history.presence)).cpu().numpy()
        return (counts.reshape(len(game), n, game.width) / np.maximum(sizes, 1)[:, None]).astype(np.float32)

    def _drawn(self, game: Game, random: Keyed, n: int, users: Ints) -> Ints:
        """[B, n] users other than the case's own."""
        drawn = np.zeros((len(game), n), dtype=np.int64)
        for row, case in enumerate(game.cases):
            own = int(np.searchsorted(users, case.user))
            among = own < len(users) and users[own] == case.user
            if len(users) <= among:
                raise SettingError(f"explainer {self.name}: no other user with a training history to draw")
            place = random.generator(case).integers(len(users) - among, size=n)
            drawn[row] = users[place + (place >= own) if among else place]
        return drawn
