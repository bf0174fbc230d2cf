"""The players of a case in order of support, and masks that remove or keep some of them: what most metrics measure."""

from __future__ import annotations

import numpy as np

from xrec.games.game import Game
from xrec.types import Attribution, Bools, Doubles, Ints

FRACTIONS = tuple(round(0.1 * i, 1) for i in range(1, 10))
DISCRETE = (1, 2, 3, 4, 5)


def step_sizes(n_players: Ints, shares: tuple[float, ...]) -> tuple[Ints, Bools]:
    """Players removed at each share, n = floor(q P + 1/2) clipped to 1 .. P - 1: [B, S], and which are no
    repetition."""
    sizes = np.floor(np.asarray(shares) * n_players[:, None] + 0.5 + 1e-9).astype(np.int64)
    sizes = np.clip(sizes, 1, np.maximum(n_players[:, None] - 1, 1))
    fresh = np.ones(sizes.shape, dtype=bool)
    fresh[:, 1:] = sizes[:, 1:] != sizes[:, :-1]
    return sizes, fresh


def mean_over(values: np.ndarray, chosen: Bools) -> Doubles:
    """Mean of values [B, S] over the chosen steps of each row; every row has one."""
    return np.where(chosen, values, 0.0).sum(1) / chosen.sum(1)


class Removal:
    """The players of each case in order of support, and masks that remove or keep the first n of them.

    Signed, most supportive first; ties are broken by one seeded permutation per case. What masks say beyond a case's
    players is ignored.
    """

    def __init__(self, game: Game, attribution: Attribution, seeds: list[int]) -> None:
        self.game, self.attribution = game, attribution
        self.n_players = game.n_players
        self.position = np.zeros(attribution.values.shape, dtype=np.int64)
        for row, n in enumerate(self.n_players.tolist()):
            tie = np.random.default_rng(seeds[row]).permutation(n)
            order = np.lexsort((tie, -attribution.values[row, :n]))
            self.position[row, order] = np.arange(n)
        self.whole, self.empty = game.ends()

    def without_top(self, sizes: Ints) -> Bools:
        """Masks [B, S, P] with the `sizes` [B, S] most supportive players removed."""
        return self.position[:, None, :] >= sizes[:, :, None]

    def only_top(self, sizes: Ints) -> Bools:
        """Masks [B, S, P] with only the most supportive players there."""
        return self.position[:, None, :] < sizes[:, :, None]

    def without_bottom(self, sizes: Ints) -> Bools:
        """Masks [B, S, P] with the least supportive players removed."""
        return self.only_top(self.n_players[:, None] - sizes)

    def discrete(self) -> tuple[Ints, Bools]:
        """Exactly 1 .. 5 players [B, 5]; a case with no more players than that is left out of that size."""
        sizes = np.broadcast_to(np.asarray(DISCRETE), (len(self.n_players), len(DISCRETE)))
        return sizes, sizes < self.n_players[:, None]

    def scale(self) -> Doubles:
        """f(x) - f(empty) [B]; NaN for flagged cases."""
        return effect(self.game)


def effect(game: Game) -> Doubles:
    """f(x) - f(empty) [B]; NaN for flagged cases, where it is below 1e-6 of the score's spread over the candidates."""
    whole, empty = game.ends()
    return np.where(np.abs(whole - empty) <= 1e-6 * game.spread(), np.nan, whole - empty)
