"""The pairwise rule: Shapley values of games whose players interact in pairs at most, in 2P + 2 masks."""

from __future__ import annotations

import numpy as np

from xrec.explain.explainer import Explainer
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Doubles


class Pairwise(Explainer):
    """phi_i = 1/2 [v(i) - v(empty) + v(N) - v(N without i)], exact for pairwise interactions at most: each of them is
    shared by halves, and so is half in what i adds last and absent from what it adds first. Where the values do not sum
    to f(x) - f(empty) the game has higher ones; where they do, it still may.
    """

    complete = True

    def values(self, game: Game, random: Keyed) -> Doubles:
        width = game.width
        alone = np.broadcast_to(np.eye(width, dtype=bool), (len(game), width, width))
        values = game.values(np.concatenate([alone, ~alone], axis=1), uncounted=2 * (width - game.n_players))
        whole, empty = game.ends()
        return (values[:, :width] - empty[:, None] + whole[:, None] - values[:, width:]) / 2
