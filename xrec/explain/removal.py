"""Leave one out: what the value loses when one player goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xrec.explain.explainer import Explainer
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Bools, Doubles, Ints


class LeaveOneOut(Explainer):
    """phi_j = f(x) - f(x without j), in P + 1 masks, batched over players and cases."""

    def values(self, game: Game, random: Keyed) -> Doubles:
        return leave_one_out(game)[0]


def leave_one_out(game: Game, of: Callable[[Bools, Ints], Doubles] | None = None) -> tuple[Doubles, Doubles]:
    """[B, P, ...] what `of` (masks [B, M, P], how many of them fill up [B]) -> [B, M, ...] loses without each player,
    and what it is with all of them [B, ...]; None: the game's value."""
    width = game.width
    masks = np.ones((len(game), width + 1, width), dtype=bool)
    masks[:, np.arange(width), np.arange(width)] = False
    values = (of or game.values)(masks, width - game.n_players)
    return values[:, -1:] - values[:, :-1], values[:, -1]
