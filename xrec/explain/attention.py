"""What the model says of itself: raw attention weights, and its exact additive contributions."""

from __future__ import annotations

from xrec.explain.explainer import Explainer
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Doubles


class RawAttention(Explainer):
    """The attention weight of each player's items for the target, summed; never negative, so it cannot oppose."""

    requires = ("attention",)
    signed = False

    def values(self, game: Game, random: Keyed) -> Doubles:
        return game.attention()


class AdditiveContributions(Explainer):
    """The summands that players add to the value, read off the model. Complete when every component that sees the
    history is additive; otherwise the completeness error shows the share of those that are not (a VAE)."""

    requires = ("additive",)
    complete = True

    def values(self, game: Game, random: Keyed) -> Doubles:
        return game.contributions()
