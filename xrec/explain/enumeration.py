"""Exact Shapley values by all coalitions, for games of few players."""

from __future__ import annotations

import math

import numpy as np

from xrec.errors import SettingError
from xrec.explain.explainer import Explainer
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Bools, Doubles, Ints

#: players whose 2^P coalitions are enumerated
MAX_PLAYERS = 16
#: masks of all cases that are asked for together: what bounds memory
_MAX_MASKS = 2**18


class ExactShapley(Explainer):
    """Shapley values (Shapley 1953) by all 2^P coalitions; a case of P players costs 2^P masks.

    Raises (values):
        SettingError: a case has more than 16 players.
    """

    complete = True

    def values(self, game: Game, random: Keyed) -> Doubles:
        if (most := game.width) > MAX_PLAYERS:
            raise SettingError(
                f"exact_shapley: takes up to {MAX_PLAYERS} players, and a case has {most}; choose larger groups, such "
                "as players=field, or explainer=[shapley]"
            )
        return enumerated(game)


def enumerated(game: Game) -> Doubles:
    """Shapley values [B, P] of a game of at most 16 players by its definition."""
    values = coalition_values(game)
    shapley = np.zeros((len(game), game.width))
    for n in np.unique(game.n_players[game.n_players > 0]).tolist():
        rows = game.n_players == n  # padded players come last: coalitions of the first n players are the first 2^n
        shapley[rows, :n] = shapley_of(values[rows, : 2**n], n)
    return shapley


def coalitions(n_players: int) -> Bools:
    """[2^P, P]; row r holds the bits of r, the first player's the lowest."""
    return (np.arange(2**n_players)[:, None] >> np.arange(n_players)) & 1 > 0


def coalition_values(game: Game) -> Doubles:
    """Values [B, 2^P] of all coalitions, in the order of `coalitions`."""
    masks = coalitions(game.width)
    step, pieces = max(1, _MAX_MASKS // len(game)), []
    for start in range(0, len(masks), step):
        piece = masks[start : start + step]
        beyond = np.clip(start + len(piece) - 2**game.n_players, 0, len(piece))
        pieces.append(game.values(np.broadcast_to(piece, (len(game), *piece.shape)), uncounted=beyond))
    return np.concatenate(pieces, axis=1)


def shapley_of(values: Doubles, n_players: int) -> Doubles:
    """phi_i = sum over S without i of |S|! (P - |S| - 1)! / P! [v(S + i) - v(S)], of values [..., 2^P]; [..., P]."""
    rows = np.arange(2**n_players)
    size: Ints = coalitions(n_players).sum(1)
    weight = np.array([1 / (n_players * math.comb(n_players - 1, s)) for s in range(n_players)])
    shapley = []
    for player in range(n_players):
        without = rows[(rows >> player) & 1 == 0]
        gain = values[..., without | (1 << player)] - values[..., without]
        shapley.append(gain @ weight[size[without]])
    return np.stack(shapley, axis=-1)
