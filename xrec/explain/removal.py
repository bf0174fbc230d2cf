"""Leave one out: what the value loses when one player goes."""

from __future__ import annotations

import numpy as np

from xrec.explain.explainer import Explainer
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Doubles


class LeaveOneOut(Explainer):
    """phi_j = f(x) - f(x without j), in P + 1 masks, batched over players and cases."""

    def values(self, game: Game, random: Keyed) -> Doubles:
        width = game.width
        masks = np.ones((len(game), width + 1, width), dtype=bool)
        masks[:, np.arange(width), np.arange(width)] = False
        values = game.values(masks, uncounted=width - game.n_players)
        return values[:, -1:] - values[:, :-1]
