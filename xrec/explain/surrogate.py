"""A linear model fitted to the value around the whole history, whose weights are the explanation."""

from __future__ import annotations

import numpy as np

from xrec.errors import SettingError
from xrec.explain.explainer import Budget, Explainer, checked_budget
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Bools, Doubles, Ints

#: entries of the normal equations that are solved together: what bounds memory
_MAX_ENTRIES = 8_000_000


class LimeRS(Explainer):
    """LIME-RS (Nobrega & Marinho, SAC 2019; LIME: Ribeiro et al., KDD 2016), over players: with masks z, |z| of P
    players there,

        phi = argmin_w min_c sum_z pi(z) (f(z) - c - w z)^2 + ridge |w|^2,   pi(z) = exp(-D^2 / width^2)

    and D the cosine distance of z to the whole history, 1 - sqrt(|z| / P). The first mask is the whole history; of the
    others, the number of players is uniform on 0 .. P, and which they are at random. Solved in closed form, in float64.
    The ridge shrinks: values need not sum to anything.

    Args:
        budget: masks per case; 'auto' is 4 P + 2 for P players.
        width: of the locality kernel. ridge: penalty on the squares of weights; not on the intercept.
    """

    def __init__(self, budget: Budget = "auto", width: float = 0.25, ridge: float = 1.0) -> None:
        if not width > 0:
            raise SettingError(f"explainer.lime_rs.width must be above 0, got {width}")
        if not ridge > 0:
            raise SettingError(
                f"explainer.lime_rs.ridge must be above 0, got {ridge}; without it there may be several answers"
            )
        self.budget, self.width, self.ridge = checked_budget("explainer.lime_rs.budget", budget, 2), width, ridge

    def values(self, game: Game, random: Keyed) -> Doubles:
        n = game.n_players
        budgets = 4 * n + 2 if self.budget == "auto" else np.full_like(n, int(self.budget))
        masks = self._masks(game, random, budgets)
        values = game.values(masks, uncounted=masks.shape[1] - budgets)
        distance = 1 - np.sqrt(masks.sum(2) / n[:, None])
        near = np.exp(-((distance / self.width) ** 2)) * (np.arange(masks.shape[1]) < budgets[:, None])
        size = max(1, _MAX_ENTRIES // (game.width * (game.width + masks.shape[1])))
        pieces = [slice(start, start + size) for start in range(0, len(game), size)]
        return np.concatenate([weighted_ridge(masks[p], values[p], near[p], self.ridge) for p in pieces])

    @staticmethod
    def _masks(game: Game, random: Keyed, budgets: Ints) -> Bools:
        """[B, M, P], M the largest budget."""
        masks = np.zeros((len(game), int(budgets.max()), game.width), dtype=bool)
        for row, (n, budget) in enumerate(zip(game.n_players.tolist(), budgets.tolist(), strict=True)):
            generator = random.generator(game.cases[row])
            share = generator.random((budget, 1))  # of players there: their number is then uniform on 0 .. n
            masks[row, :budget, :n] = generator.random((budget, n)) < share
            masks[row, 0, :n] = True
        return masks


def weighted_ridge(masks: np.ndarray, values: Doubles, weights: Doubles, ridge: float) -> Doubles:
    """[B, P] slopes of values [B, M] on masks [B, M, P] with weights [B, M] of the squared errors, and `ridge` of the
    squared slopes; the intercept is free."""
    share = (weights / weights.sum(1, keepdims=True))[:, None]  # [B, 1, M]
    centred, effect = masks - share @ masks, values - (share[:, 0] * values).sum(1, keepdims=True)
    weighted = (centred * weights[..., None]).transpose(0, 2, 1)
    normal = weighted @ centred + ridge * np.eye(masks.shape[2])
    return np.linalg.solve(normal, weighted @ effect[..., None])[..., 0]
