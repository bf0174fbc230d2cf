"""Controls: explanations that know nothing of the model. Whatever does not beat them explains nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.explain.explainer import Explainer
from xrec.games.fitting import Fitting, fitted, shares_of_users
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Doubles


class Random(Explainer):
    """Uniform random values; fidelity is the mean over `n_draws` draws."""

    role = "control"
    reference = True
    signed = False

    def __init__(self, n_draws: int = 10) -> None:
        if not 1 <= n_draws <= 10_000:
            raise SettingError(f"explainer.random.n_draws must be from 1 to 10000, got {n_draws}")
        self.n_draws = n_draws

    def values(self, game: Game, random: Keyed) -> Doubles:
        values = np.zeros((len(game), game.width))
        for row, n in enumerate(game.n_players.tolist()):
            values[row, :n] = random.generator(game.cases[row]).random(n)
        return values


class Popularity(Explainer):
    """A player is as important as its items are popular: the sum of their shares of users in training (at least that of
    one user)."""

    role = "control"
    signed = False

    def __init__(self) -> None:
        self.share: Tensor | None = None

    def fit(self, fitting: Fitting) -> None:
        self.share = torch.from_numpy(shares_of_users(fitting.dataset))

    def state(self) -> dict[str, Tensor]:
        return {"share": fitted("explainer popularity", self.share, "explains")}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.share = state["share"]

    def values(self, game: Game, random: Keyed) -> Doubles:
        share = fitted("explainer popularity", self.share, "explains")
        return game.players.pooled(share.to(game.history.item.device)[game.history.item]).cpu().numpy()


class Recency(Explainer):
    """The latest event matters most: phi = -age, of a group its youngest item's."""

    role = "control"
    signed = False

    def values(self, game: Game, random: Keyed) -> Doubles:
        return -game.players.least(game.history.age).double().cpu().numpy()
