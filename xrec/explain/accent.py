"""ACCENT, corrected: which few players, once gone, let another item replace the recommendation."""

from __future__ import annotations

import numpy as np

from xrec.errors import SettingError
from xrec.explain.counterfactual import Overtakes, answer, behind
from xrec.explain.explainer import Answer, Explainer
from xrec.explain.removal import leave_one_out
from xrec.games.game import Game
from xrec.games.keyed import Keyed


class Accent(Explainer):
    """The pairwise search of ACCENT (Tran, Ghazimatin & Saha Roy, SIGIR 2021, algorithm 1): for each of the first
    rivals behind the target, players are removed in order of their influence on the margin, I_j = margin(x) - margin(x
    without j), until the sum of the influences has taken the margin away; the smallest of these sets is the answer.

    ACCENT estimates influence on the fitted parameters of the user to first order, as if training were repeated without
    the interaction. Here a user has no parameters: the model makes the user's representation of the history anew at
    every forward, so that removing a player gives its influence exactly (as closed-form refitting of the user does in
    iALS). What a retraining would change of the items' parameters is left out, as it is by ACCENT. Sums of influences
    are first order still: hence every set is checked by a forward with all its members gone; the smallest that holds
    is taken, of several the one that turns the margin furthest; if none does, no set is returned.

    Corrected: the influence on the target is part of that on the margin. The published implementations multiply it into
    an empty dictionary, and so order by the rival alone.

    Values: the influences on the margin over the rival of the answer; over the next-ranked one where there is none.

    Args:
        n_rivals: candidates right behind the target that may replace it.
    """

    def __init__(self, n_rivals: int = 5) -> None:
        if n_rivals < 1:
            raise SettingError(f"explainer.accent.n_rivals must be at least 1, got {n_rivals}")
        self.n_rivals = n_rivals

    def values(self, game: Game, random: Keyed) -> Answer:
        goal, rows = Overtakes(game, behind(game, self.n_rivals)), np.arange(len(game))
        influence, margins = leave_one_out(game, goal.margins)  # [B, P, R], [B, R]
        real = np.arange(game.width)[:, None] < game.n_players[:, None, None]
        order = np.argsort(np.where(real, -influence, np.inf), axis=1, kind="stable")
        gone = np.cumsum(np.take_along_axis(np.where(real, influence, 0.0), order, axis=1), axis=1)
        flips = goal.overtaken(margins[:, None] - gone)
        size = np.where(flips.any(1), flips.argmax(1) + 1, game.width + 1)  # [B, R]
        removed = (np.argsort(order, axis=1) < size[:, None]) & real & flips.max(axis=1)[:, None]
        sets = removed.transpose(0, 2, 1)  # [B, R, P]
        left = np.diagonal(goal.margins(game.whole() & ~sets), axis1=1, axis2=2)  # of each rival without its set
        holds = goal.overtaken(left[:, None])[:, 0] & flips.any(1)
        best = np.lexsort((left, np.where(holds, size, game.width + 2)), axis=1)[:, 0]
        found = holds[rows, best]
        best = np.where(found, best, 0)
        return answer(goal, influence[rows, :, best], sets[rows, best], found)
