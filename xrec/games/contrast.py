"""A contrast of two games, which is a game: why one model (or output, or masker) values a case more than another."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from xrec.games.game import About, Game
from xrec.types import Doubles, Ints


class Contrast(Game):
    """Values of the first game minus values of the second, for the same cases and players. A mask counts once; forwards
    are those of both games. There is no ranking, and no attention.

    Raises:
        ValueError: the games are not of the same cases and players.
    """

    def __init__(self, first: Game, second: Game) -> None:
        if first.cases != second.cases or first.player_ids != second.player_ids:
            raise ValueError("a contrast needs two games of the same cases and players")
        self.first, self.second = first, second
        self.cases, self.players, self.history = first.cases, first.players, first.history
        self.candidates = first.candidates & second.candidates
        both = {n: _named(getattr(first.about, n), getattr(second.about, n)) for n in ("model", "players", "masker")}
        self.about = About(**both, output=f"{first.about.output}_less_{second.about.output}")
        shared = first.capabilities & second.capabilities
        self.capabilities = shared & {"gradients", "fractional_presence", "additive"}

    @property
    def masks(self) -> Ints:
        return self.first.masks

    @property
    def forwards(self) -> Ints:
        return self.first.forwards + self.second.forwards

    def values(self, masks: np.ndarray, uncounted: Ints | int = 0) -> Doubles:
        return self.first.values(masks, uncounted) - self.second.values(masks, uncounted)

    def differentiable(self, present: Tensor) -> Tensor:
        return self.first.differentiable(present) - self.second.differentiable(present)

    def contributions(self) -> Doubles:
        return self.first.contributions() - self.second.contributions()

    def single(self, row: int) -> Contrast:
        return Contrast(self.first.single(row), self.second.single(row))

    def spread(self) -> Doubles:
        return np.maximum(self.first.spread(), self.second.spread())


def _named(one: str, other: str) -> str:
    return one if one == other else f"{one}_less_{other}"
