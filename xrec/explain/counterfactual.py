"""Removal sets: players without whom the recommendation would be another one. Every set is checked by a forward."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch

from xrec.errors import SettingError
from xrec.explain.explainer import Answer, Explainer
from xrec.explain.removal import leave_one_out
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Bools, Doubles, Ints, Outcome

#: how many of the candidates behind the first K a step looks at, as a multiple of K
_NEARBY = 4
#: prefixes that are scored together at first; doubled from block to block
_BLOCK = 8
#: a lead where there is no rival
_FAR = 1e30


class Goal(ABC):
    """What is to be reached by removing players, of every case of a game."""

    def __init__(self, game: Game) -> None:
        self.game = game

    @abstractmethod
    def reached(self, masks: Bools) -> Bools:
        """[B, M] whether it is, by the scores of the masked histories [B, M, P]."""

    @abstractmethod
    def lead(self, masks: Bools, now: Bools, uncounted: Ints | int) -> Doubles:
        """[B, M] how far the masked histories [B, M, P] are from it, in scores. now [B, P]: a mask near all of them,
        which says who the rivals are."""


class LeavesTop(Goal):
    """None of a case's targets is among the first k of its candidates. Lead: best target - k-th best rival, of the
    rivals that are ahead now."""

    def __init__(self, game: Game, k: int) -> None:
        super().__init__(game)
        self.k = k

    def reached(self, masks: Bools) -> Bools:
        ranks = self.game.ranks(masks)
        return np.where(ranks == 0, self.k + 1, ranks).min(axis=-1) > self.k

    def lead(self, masks: Bools, now: Bools, uncounted: Ints | int) -> Doubles:
        n_targets = self.game.targets.shape[1]
        best = self.game.top(now[:, None], self.k * (1 + _NEARBY) + n_targets)[:, 0]
        there = (best >= 0) & ~(best[:, :, None] == self.game.targets.cpu().numpy()[:, None]).any(-1)
        rivals = torch.from_numpy(np.where(there, best, 0)).to(self.game.targets.device)
        scores = self.game.scores(masks, torch.cat([self.game.targets, rivals], dim=1), uncounted)
        own = scores[..., :n_targets].max(-1)
        last = np.clip(there.sum(1) - 1, 0, self.k - 1)  # with fewer rivals than k it is the last of them
        ordered = -np.sort(np.where(there[:, None], -scores[..., n_targets:], np.inf), axis=-1)
        return own - np.take_along_axis(ordered, last[:, None, None], axis=-1)[..., 0]


class Overtakes(Goal):
    """One of some rivals [B, R] stands before all of a case's targets (-1: no rival). Lead: the smallest margin."""

    def __init__(self, game: Game, rivals: Ints) -> None:
        super().__init__(game)
        self.there = rivals >= 0
        self.rivals = torch.from_numpy(np.where(self.there, rivals, 0)).to(self.game.targets.device)
        lower_id = self.rivals.unsqueeze(2) < self.game.targets.unsqueeze(1)
        self.wins_ties = lower_id.all(2).cpu().numpy()
        self.items = torch.cat([self.game.targets, self.rivals], dim=1)

    def margins(self, masks: Bools, uncounted: Ints | int = 0) -> Doubles:
        """[B, M, R] best target - rival; very large where there is no rival."""
        scores = self.game.scores(masks, self.items, uncounted)
        n_targets = self.game.targets.shape[1]
        margins = scores[..., :n_targets].max(-1, keepdims=True) - scores[..., n_targets:]
        return np.where(self.there[:, None], margins, _FAR)

    def overtaken(self, margins: Doubles) -> Bools:
        """[B, M, R] whether the rival stands before the targets, at these margins."""
        return np.where(self.wins_ties[:, None], margins <= 0, margins < 0)

    def reached(self, masks: Bools) -> Bools:
        return self.overtaken(self.margins(masks)).max(axis=-1)

    def lead(self, masks: Bools, now: Bools, uncounted: Ints | int) -> Doubles:
        return self.margins(masks, uncounted).min(axis=-1)


def behind(game: Game, n: int) -> Ints:
    """[B, n] the candidates right behind a case's (last) target; -1: there are no more."""
    whole = game.whole()
    rank = game.ranks(whole)[:, 0].max(-1)
    best = game.top(whole, int(rank.max(initial=0)) + n)[:, 0]
    return np.take_along_axis(best, rank[:, None] + np.arange(n), axis=1)


def foils_of(game: Game) -> Ints:
    """[B, 1] the foil of each case; where it has none, the candidate right behind the target; -1: there is none."""
    given = np.array([-1 if case.foil is None else case.foil for case in game.cases], dtype=np.int64)[:, None]
    return given if (given >= 0).all() else np.where(given >= 0, given, behind(game, 1))


class RemovalSet(Explainer):
    """An explainer that answers with a set of players to be removed, and with what came of the search for it.

    Args:
        max_size: larger sets are not looked for; None: whatever is needed.
    """

    def __init__(self, max_size: int | None = None) -> None:
        _at_least_one(self, "max_size", max_size)
        self.max_size = max_size

    def size_limit(self, game: Game) -> int:
        return game.width if self.max_size is None else min(self.max_size, game.width)


class TopRemoval(RemovalSet):
    """...so that the target leaves the top k of its candidates.

    Args:
        k: of a target that is not in the top k to begin with, nothing is removed.
    """

    def __init__(self, k: int = 10, max_size: int | None = None) -> None:
        super().__init__(max_size)
        _at_least_one(self, "k", k)
        self.k = k


class LeaveOneOutSet(TopRemoval):
    """The smallest prefix of the players in order of their leave-one-out effects, most supportive first, without which
    the target leaves the top k. Values: those effects, f(x) - f(x without j)."""

    def values(self, game: Game, random: Keyed) -> Answer:
        (values, _), goal = leave_one_out(game), LeavesTop(game, self.k)
        sizes = smallest_prefix(goal, position := positions(values, game, random), self.size_limit(game))
        return answer(goal, values, position < sizes[:, None], sizes >= 0)


class GreedyRemoval(TopRemoval):
    """Removes the player without whom the lead of the target over the k-th best rival is smallest, again and again,
    until the target has left the top k; then puts back whoever is not needed, so that no member can be spared.

    Values: what the lead lost with the player when it was last there: when it was removed, or in the last step.
    """

    def __init__(self, k: int = 10, max_size: int | None = 20) -> None:
        super().__init__(k, max_size)

    def values(self, game: Game, random: Keyed) -> Answer:
        return greedy(LeavesTop(game, self.k), self.size_limit(game))


class BringIn(RemovalSet):
    """The same greedy search until the foil stands before the target: what keeps this before that. Without a foil
    (outputs other than margin), the candidate right behind the target. Values: as there, of the lead over the foil."""

    def __init__(self, max_size: int | None = 20) -> None:
        super().__init__(max_size)

    def values(self, game: Game, random: Keyed) -> Answer:
        return greedy(Overtakes(game, foils_of(game)), self.size_limit(game))


def positions(values: Doubles, game: Game, random: Keyed) -> Ints:
    """[B, P] where each player stands, largest value first, ties by a permutation keyed by the case, padding last."""
    tie = np.zeros(values.shape)
    for row, n in enumerate(game.n_players.tolist()):
        tie[row, :n] = random.generator(game.cases[row]).permutation(n)
    order = np.lexsort((tie, -values, ~game.whole()[:, 0]))
    return np.argsort(order, axis=1)


def smallest_prefix(goal: Goal, position: Ints, max_size: int) -> Ints:
    """[B] the fewest players, in order of their positions [B, P], whose removal reaches the goal; -1: none of up to
    max_size does. Prefixes are scored in blocks, until all cases are done."""
    sizes, size, n = np.full(len(position), -1), 0, _BLOCK
    while size <= max_size and (sizes < 0).any():
        block = np.arange(size, min(size + n, max_size + 1))
        reached = goal.reached(position[:, None, :] >= block[:, None]) & (block <= goal.game.n_players[:, None])
        first = np.where(reached.any(1), block[reached.argmax(1)], -1)
        sizes = np.where(sizes < 0, first, sizes)
        size, n = size + n, 2 * n
    return sizes


def greedy(goal: Goal, max_size: int) -> Answer:
    """Greedy removal, batched over cases; a case that is done only has its rank asked for."""
    game, rows = goal.game, np.arange(len(goal.game))
    present, values = game.whole()[:, 0].copy(), np.zeros((len(game), game.width))
    done = goal.reached(present[:, None])[:, 0]
    alone = ~np.eye(game.width, dtype=bool)
    for _ in range(max_size):
        active = ~done & present.any(1)
        if not active.any():
            break
        masks = np.concatenate([present[:, None] & alone, present[:, None]], axis=1)
        lead = goal.lead(masks, present, np.where(active, game.width - present.sum(1), game.width + 1))
        values = np.where(present & active[:, None], lead[:, -1:] - lead[:, :-1], values)
        best = np.where(present, values, -np.inf).argmax(1)
        present[rows[active], best[active]] = False
        done |= goal.reached(present[:, None])[:, 0]
    return answer(goal, values, _irreducible(goal, game.whole()[:, 0] & ~present, done), done)


def _irreducible(goal: Goal, chosen: Bools, done: Bools) -> Bools:
    """The sets [B, P] without those members that can be put back; one after the other, while any can."""
    real = goal.game.whole()[:, 0]
    while True:
        n = int(chosen[done].sum(1).max(initial=0))
        if n < 2:
            return chosen
        member = np.argsort(~chosen, axis=1, kind="stable")[:, :n]
        smaller = np.repeat(chosen[:, None], n, axis=1)
        np.put_along_axis(smaller, member[:, :, None], False, axis=2)
        spared = goal.reached(real[:, None] & ~smaller) & np.take_along_axis(chosen, member, axis=1) & done[:, None]
        if not spared.any():
            return chosen
        rows = np.flatnonzero(spared.any(1))
        chosen[rows] = smaller[rows, spared.argmax(1)[rows]]


def answer(goal: Goal, values: Doubles, chosen: Bools, found: Bools, proved: Bools | None = None) -> Answer:
    """chosen [B, P], with what is said of it. found [B]: the goal is reached without them. proved [B]: no smaller set
    does it or, where none was found, none at all; a single player is always as few as can be."""
    sizes = (chosen & goal.game.whole()[:, 0]).sum(1)
    smallest = (sizes == 1) if proved is None else (sizes == 1) | proved
    emptied = goal.reached(np.zeros_like(goal.game.whole()))[:, 0] if not found.all() else found
    impossible = np.zeros_like(found) if proved is None else proved
    kinds = np.select(
        [found & (sizes == 0), found & smallest, found, impossible, ~emptied],
        np.array(["already", "smallest", "found", "impossible", "stays"]),
        "not_found",
    )
    outcome: list[Outcome] = kinds.tolist()
    return Answer(values, selected=chosen & found[:, None], outcome=outcome)


def _at_least_one(explainer: Explainer, setting: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise SettingError(f"{type(explainer).__name__}: {setting} must be at least 1, got {value}")
