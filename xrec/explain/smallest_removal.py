"""The smallest removal set of a model whose scores are sums over players, proved where it can be."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.explain.counterfactual import LeavesTop, TopRemoval, answer, positions, smallest_prefix
from xrec.explain.explainer import Answer
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Bools, Doubles, Ints

#: rivals that are looked at closely, those that are overtaken with fewest removals; and by whose order sets are tried
_RIVALS, _ORDERS = 512, 32
#: rivals that a greedy step looks at, as a multiple of k; a margin that is never the one to be lowered
_NEAR, _FAR = 16, 1e30
#: rivals whose contributions are in memory at once
_BLOCK = 1024
#: random subsets on which additivity is measured, and the largest error, as a share of the spread of scores, that is
#: rounding and no interaction
_SUBSETS, _ROUNDING = 4, 1e-4
#: subsets that brute force scores at once
_TOGETHER = 4096


class SmallestRemoval(TopRemoval):
    """The fewest players without whom the target leaves the top k.

    Where scores are sums over players, rival r overtakes the target when the players that go take the whole margin
    m_r = s(target) - s(r) = m_r(empty) + sum_j c_jr with them; alone that takes n_r players, those of the largest c_jr.
    The target has left the top k when k rivals have overtaken it, so the k-th smallest n_r is a lower bound on the size
    of any set. A set of that size is proved ('smallest'), and an infinite bound is a proof that there is none
    ('impossible'). Sets are searched by greedy removal on sums, and in the order of each near rival; they are checked
    by a forward like all others. Of what is not proved so, cases of few players are enumerated by size.

    That scores are sums is measured, on random subsets of the players and all candidates; where the error is more than
    rounding (a model that is additive in part only) contributions still guide the search, but the bound proves nothing.
    Nor does it for several targets. Values: the contributions to the explained number.

    Args:
        exhaustive: cases of up to so many players are enumerated.
    """

    requires = ("additive",)

    def __init__(self, k: int = 10, max_size: int | None = None, exhaustive: int = 16) -> None:
        super().__init__(k, max_size)
        if not 0 <= exhaustive <= 20:
            raise SettingError(f"SmallestRemoval: exhaustive must be from 0 to 20 players, got {exhaustive}")
        self.exhaustive = exhaustive

    def values(self, game: Game, random: Keyed) -> Answer:
        values, goal, limit = game.contributions(), LeavesTop(game, self.k), self.size_limit(game)
        real = game.whole()[:, 0]
        sums = _sums(game, self.k, random)
        guide = _order(sums, real, self.k, limit)
        position = positions(guide, game, random)
        sizes = smallest_prefix(goal, position, limit)
        chosen, found = (position < sizes[:, None]) & real, sizes >= 0
        bound = np.where(sums.additive & (game.n_targets == 1), _bound(sums, self.k, game.n_players), 0)
        proved = np.where(found, sizes <= bound, bound > game.n_players)
        for row in np.flatnonzero(~proved & (game.n_players <= self.exhaustive)).tolist():
            smaller = min(limit, game.width if sizes[row] < 0 else int(sizes[row]) - 1)
            best = enumerated(game.single(row), self.k, max(1, int(bound[row])), smaller)
            if best is not None:
                chosen[row], found[row] = False, True
                chosen[row, : len(best)] = best
            proved[row] = found[row] or smaller >= game.n_players[row]
        return answer(goal, values, chosen, found, proved)


@dataclass(frozen=True)
class _Sums:
    """Margins [B, R] of the best target over the R rivals that are overtaken most easily, what each player adds to them
    [B, P, R]; n_others [B]: no rival that is left out is overtaken with fewer removals. error: of scores as sums."""

    margins: Doubles
    added: Doubles
    n_others: Doubles
    error: Doubles
    additive: Bools


def _sums(game: Game, k: int, random: Keyed) -> _Sums:
    n_items, targets = game.candidates.shape[1], game.targets
    masks = np.concatenate([game.whole(), _subsets(game, random)], axis=1)
    scores = torch.from_numpy(game.scores(masks)).to(targets.device)
    rivals = game.candidates.scatter(1, targets, value=False)
    margins = scores[:, 0].gather(1, targets).amax(1, keepdim=True) - scores[:, 0]
    own = game.contributions_of(targets).double().mean(2, keepdim=True)
    absent = (~torch.from_numpy(masks[:, 1:])).to(targets.device) & game.players.real.unsqueeze(1)
    lost, needed = scores[:, :1] - scores[:, 1:], torch.full_like(margins, torch.inf)
    errors = margins.new_zeros(len(game))
    for block in torch.arange(n_items, device=targets.device).split(_BLOCK):
        added = game.contributions_of(block.expand(len(game), -1)).double()
        error = (absent.double() @ added - lost[..., block]).abs().amax(1)
        errors = torch.maximum(errors, error.masked_fill(~game.candidates[:, block], 0.0).amax(1))
        needed[:, block] = _at_least(margins[:, block], own - added)
    needed = needed.masked_fill(~rivals, torch.inf)
    nearest = needed.sort(dim=1, stable=True).indices[:, : max(_RIVALS, k)]
    added = own - game.contributions_of(nearest).double()
    there = rivals.gather(1, nearest)
    left = needed.scatter(1, nearest, torch.inf).amin(1)
    error = errors.cpu().numpy()
    margins = margins.gather(1, nearest).masked_fill(~there, torch.inf)
    found = (t.cpu().numpy() for t in (margins, added.masked_fill(~there.unsqueeze(1), 0.0), left))
    return _Sums(*found, error=error, additive=error <= _ROUNDING * game.spread())


def _subsets(game: Game, random: Keyed) -> Bools:
    """[B, S, P] drawn by the case."""
    masks = np.zeros((len(game), _SUBSETS, game.width), dtype=bool)
    for row, n in enumerate(game.n_players.tolist()):
        masks[row, :, :n] = random.generator(game.cases[row]).random((_SUBSETS, n)) < 0.5
    return masks


def _at_least(margins: Tensor, added: Tensor) -> Tensor:
    """[B, R] fewer removals than these do not take the margin away: the n largest summands are no more than n times the
    largest, nor than sqrt(n) times the root of all their squares (Cauchy and Schwarz)."""
    positive = added.clamp_min(0)
    by_largest = margins / positive.amax(1)
    by_squares = margins.square() / positive.square().sum(1)
    needed = torch.where(positive.sum(1) < margins, torch.inf, torch.maximum(by_largest, by_squares))
    return torch.where(margins <= 0, 0.0, needed).nan_to_num(nan=torch.inf, posinf=torch.inf)


def _bound(sums: _Sums, k: int, n_players: Ints) -> Ints:
    """[B] no set of fewer players lets k rivals overtake; more than all players: none does at all. What rounding may
    hide is in favour of the rivals."""
    slack = 4 * sums.error[:, None]
    alone = _alone(sums, slack)
    kth = np.partition(alone, k - 1, axis=1)[:, k - 1] if alone.shape[1] >= k else np.full(len(alone), np.inf)
    low = np.minimum(kth, np.ceil(sums.n_others - 1e-6))
    return np.where(np.isinf(low), n_players + 1, low).astype(np.int64)


def _alone(sums: _Sums, slack: Doubles | float) -> Doubles:
    """[B, R] how few players take the margin over a rival away, but for the slack."""
    gone = np.cumsum(-np.sort(-np.maximum(sums.added, 0), axis=1), axis=1)  # [B, n, R]
    enough = gone >= (sums.margins - slack)[:, None]
    alone = np.where(enough.any(1), enough.argmax(1) + 1.0, np.inf)
    return np.where(sums.margins <= slack, 0.0, alone)


def _order(sums: _Sums, real: Bools, k: int, limit: int) -> Doubles:
    """[B, P] the larger, the earlier to be removed: the members of the smallest set that was found on the sums, then
    the others by what they add to the nearest margin."""
    k = min(k, sums.margins.shape[1])
    chosen, sizes = _greedily(sums, real, k, limit)
    alone = np.argsort(_alone(sums, 0.0), axis=1, kind="stable")
    for anchor in alone[:, :_ORDERS].T:
        _in_order_of(anchor, sums, k, chosen, sizes)
    nearest = np.take_along_axis(sums.added, alone[:, None, :1], axis=2)[..., 0]
    return nearest.argsort(1, kind="stable").argsort(1) + chosen * sums.added.shape[1]


def _greedily(sums: _Sums, real: Bools, k: int, limit: int) -> tuple[Bools, Ints]:
    """Sets [B, P] and their sizes (infinite ones where k rivals do not overtake): again and again who takes most of
    what is left of the k smallest margins."""
    left, present, rows = sums.margins.copy(), real.copy(), np.arange(len(real))
    for _ in range(limit):
        active = ((left < 0).sum(1) < k) & present.any(1)
        if not active.any():
            break
        near = np.argpartition(left, min(_NEAR * k, left.shape[1]) - 1, axis=1)[:, : _NEAR * k]
        after = np.take_along_axis(left, near, 1)[:, None] - np.take_along_axis(sums.added, near[:, None], 2)
        cost = np.partition(after, k - 1, axis=2)[..., :k].clip(0, _FAR).sum(2)
        best = np.where(present, cost, np.inf).argmin(1)
        present[rows[active], best[active]] = False
        left = np.where(active[:, None], left - sums.added[rows, best], left)
    chosen = real & ~present
    return chosen, np.where((left < 0).sum(1) >= k, chosen.sum(1), real.shape[1] + 1)


def _in_order_of(rival: Ints, sums: _Sums, k: int, chosen: Bools, sizes: Ints) -> None:
    """Take over the first players in order of what they add to the margin over one rival [B], where fewer do."""
    longest = min(int(sizes.max(initial=0)) - 1, chosen.shape[1])
    if longest < 1:
        return
    added = np.take_along_axis(sums.added, rival[:, None, None], axis=2)[..., 0]
    order = np.argsort(-added, axis=1, kind="stable")[:, :longest]
    gone = np.cumsum(np.take_along_axis(sums.added, order[:, :, None], axis=1), axis=1)
    enough = (sums.margins[:, None] < gone).sum(2) >= k  # [B, n]
    size = np.where(enough.any(1), enough.argmax(1) + 1, chosen.shape[1] + 2)
    for row in np.flatnonzero(size < sizes):
        chosen[row] = False
        chosen[row, order[row, : size[row]]] = True
        sizes[row] = size[row]


def enumerated(game: Game, k: int, first: int, last: int) -> Bools | None:
    """[P] the first of the smallest sets of `first` to `last` players of a game of one case that does it, by size and
    then by the order of players; None: none does."""
    goal, n = LeavesTop(game, k), game.width
    for size in range(first, min(last, n) + 1):
        sets = itertools.combinations(range(n), size)
        while several := list(itertools.islice(sets, _TOGETHER)):
            masks = np.ones((1, len(several), n), dtype=bool)
            masks[0, np.arange(len(several))[:, None], np.array(several)] = False
            if (reached := goal.reached(masks)[0]).any():
                return ~masks[0, reached.argmax()]
    return None
