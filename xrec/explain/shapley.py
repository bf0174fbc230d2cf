"""Shapley values of a game: exact where the model's structure allows, sampled otherwise, over cases and masks at once.

Coalitions are drawn once for all cases of a user, whose masked copies are then scored together.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from xrec.errors import SettingError
from xrec.explain.explainer import Answer, Budget, Explainer, checked_budget
from xrec.explain.weighted_mean import weighted_mean_shapley
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Bools, Doubles, Ints
from xrec.words import did_you_mean, listed

#: masks a player that are the most a case may cost, where a target error decides and no budget is given
_MOST_PER_PLAYER = 64
#: masks of a case that are asked for together: what bounds memory
_MASKS_TOGETHER = 1024
#: added to the diagonal of a Gram matrix, whose eigenvalues are about 1 / (2 log P)
_JITTER = 1e-10


class Sampled(Explainer):
    """Args:
        budget: masks per case, f(x) and f(empty) among them; 'auto' is `per_player` * P + 2 for P players.
        target_error: draw on, round by round, until the estimated relative error of a case, the L2 norm of its standard
            errors over that of its values, is at most this; the budget is then the most that is spent, 'auto' 64 P + 2.
    Raises:
        SettingError: a budget outside 1 to 1000000, or a target that is not above 0.
    """

    complete = True
    per_player = 2

    def __init__(self, budget: Budget = "auto", target_error: float | None = None) -> None:
        called = type(self).__name__
        if target_error is not None and not target_error > 0:
            raise SettingError(f"{called}: target_error must be above 0 (or null), got {target_error!r}")
        self.budget, self.target_error = checked_budget(f"{called}: budget", budget), target_error

    def values(self, game: Game, random: Keyed) -> Answer:
        n = game.n_players
        factor = self.per_player if self.target_error is None else _MOST_PER_PLAYER
        allowed = factor * n if self.budget == "auto" else np.full(len(game), int(self.budget) - 2)
        self._check_budget(n, allowed)
        return self.sampled(game, [random.shared(case) for case in game.cases], allowed)

    def _check_budget(self, n_players: Ints, allowed: Ints) -> None:
        short = allowed < self.fewest(n_players)
        if short.any():
            n = n_players[short].max(keepdims=True)
            raise SettingError(
                f"{type(self).__name__}: a case with {int(n[0])} players needs a budget of at least "
                f"{int(self.fewest(n)[0]) + 2}, got {self.budget}"
            )

    def reached(self, values: Doubles, error: Doubles) -> Bools:
        if self.target_error is None:
            return np.zeros(len(values), dtype=bool)
        return relative_error(values, error) <= self.target_error

    @abstractmethod
    def fewest(self, n_players: Ints) -> Ints:
        """[B] the fewest masks beside f(x) and f(empty) that cases of so many players [B] need."""

    @abstractmethod
    def sampled(self, game: Game, generators: list[np.random.Generator], allowed: Ints) -> Answer:
        """Estimates by at most so many masks [B] beside f(x) and f(empty); what a case gets does not depend on the
        others of its game."""


def relative_error(values: Doubles, standard_error: Doubles) -> Doubles:
    """[B] L2 norm of standard errors over that of values, both [B, P]; nan where one is not known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((standard_error**2).sum(1)) / np.sqrt((values**2).sum(1))


class PermutationShap(Sampled):
    """Antithetic permutation sampling (Castro et al. 2009; Mitchell et al., JMLR 2022): players come in a random order
    and go in it again, and a value is the mean of what a player adds when it comes and takes when it goes. Such a pair
    of walks is 2 (P - 1) masks, and exact for a game of pairwise interactions at most. Standard errors are those of a
    mean of pairs, nan for a single one.
    """

    def fewest(self, n_players: Ints) -> Ints:
        return 2 * np.maximum(0, n_players - 1)

    def sampled(self, game: Game, generators: list[np.random.Generator], allowed: Ints) -> Answer:
        per_pair = np.maximum(1, self.fewest(game.n_players))
        left = np.maximum(1, allowed // per_pair)
        together = np.maximum(1, _MASKS_TOGETHER // per_pair) if self.target_error is None else np.full_like(left, 2)
        mean, squares, drawn = (
            np.zeros((len(game), game.width)),
            np.zeros((len(game), game.width)),
            np.zeros((len(game), 1)),
        )
        error, active = np.full_like(mean, np.nan), game.n_players > 0
        while active.any():
            n_pairs = np.where(active, np.minimum(left, together), 0)
            for number, pairs in enumerate(_walks(game, generators, n_pairs).swapaxes(0, 1)):
                there = (number < n_pairs)[:, None]
                drawn += there
                step = np.where(there, pairs - mean, 0.0)
                mean += step / np.maximum(drawn, 1)
                squares += step * (pairs - mean)
            left = left - n_pairs
            if self.target_error is not None:
                together = np.minimum(2 * together, np.maximum(2, _MASKS_TOGETHER // per_pair))
            with np.errstate(divide="ignore", invalid="ignore"):
                error = np.sqrt(squares / (drawn * (drawn - 1)))
            active &= (left > 0) & ~self.reached(mean, error)
        return Answer(mean, error)


def _walks(game: Game, generators: list[np.random.Generator], n_pairs: Ints) -> Doubles:
    """[B, K, P] what players add on each of n pairs [B] of walks."""
    n, width, most = game.n_players, game.width, int(n_pairs.max())
    keys = np.full((len(n), most, width), np.inf)
    for row, (generator, pairs, players) in enumerate(zip(generators, n_pairs, n, strict=True)):
        keys[row, :pairs, :players] = generator.random((pairs, players))
    rank = keys.argsort(2).argsort(2)
    whole, empty = (np.broadcast_to(end[:, None, None], (len(n), most, 1)) for end in game.ends())
    steps = np.arange(1, width)
    inside = rank[:, :, None, :] < steps[:, None]  # [B, K, P - 1, P]
    masks = np.concatenate([inside, ~inside], axis=2).reshape(len(n), -1, width)
    if width == 1:
        return (whole - empty).repeat(width, 2)
    values = game.values(masks, uncounted=masks.shape[1] - n_pairs * 2 * np.maximum(0, n - 1))
    values = values.reshape(len(n), most, 2, width - 1)
    beyond = (steps >= n[:, None])[:, None, :]
    there, back = np.where(beyond, whole, values[:, :, 0]), np.where(beyond, empty, values[:, :, 1])
    comes = np.diff(np.concatenate([empty, there, whole], axis=2), axis=2)
    goes = -np.diff(np.concatenate([whole, back, empty], axis=2), axis=2)
    return np.take_along_axis((comes + goes) / 2, rank, axis=2)


class Regression(Sampled):
    """Shapley values as weighted least squares over coalitions, whose values sum to f(x) - f(empty) (Charnes et al.
    1988; Lundberg & Lee, NeurIPS 2017, theorem 2), in pairs of a coalition and its complement (Covert & Lee, AISTATS
    2021). A size of which more would be drawn than there are is taken whole. Standard errors are those of least squares
    whose residuals have any variance, nan with no more pairs than players; what is taken whole has none.
    """

    per_player = 4

    def fewest(self, n_players: Ints) -> Ints:
        return np.minimum(2 * np.maximum(0, n_players - 1), 2 ** np.minimum(n_players, 60) - 2)

    @abstractmethod
    def share(self, mass: Doubles) -> Doubles:
        """How often pairs are drawn by size, up to a factor, of their kernel weights by size."""

    def sampled(self, game: Game, generators: list[np.random.Generator], allowed: Ints) -> Answer:
        """With a target error as many pairs are drawn again as there are, until it is reached."""
        n, left = game.n_players, allowed // 2
        ask = left if self.target_error is None else np.minimum(left, 2 * n)
        values, error = np.zeros((len(game), game.width)), np.zeros((len(game), game.width))
        active, sample, first = n > 0, None, ask
        while active.any():
            ask = np.where(active, np.minimum(ask, left), 0)
            drawn = [
                drawn_pairs(
                    int(players), int(pairs), generator, self.share, n_before=0 if sample is None else int(before)
                )
                for players, pairs, before, generator in zip(n, ask, first, generators, strict=True)
            ]
            new = _asked(game, Pairs(*(_stacked(parts, game.width) for parts in zip(*drawn, strict=True))))
            sample = new if sample is None else sample.joined(new)
            found, variance = self.solved(sample, n)
            keep = active[:, None]
            values, error = np.where(keep, found, values), np.where(keep, np.sqrt(variance), error)
            used = sample.n_pairs
            left, ask = left - ask, used
            active &= (left > 0) & ~self.reached(values, error) & sample.random.any(1)
        effect = np.subtract(*game.ends()) / np.maximum(1, n)
        return Answer(values + effect[:, None], error)

    def solved(self, sample: Sample, n_players: Ints) -> tuple[Doubles, Doubles]:
        """What is left of values [B, P] when each has the same share of the effect, and variances."""
        return least_squares(sample, n_players)


class Pairs(NamedTuple):
    """Pairs of a coalition and its complement: masks [m, P] of the coalitions, weights [m] as the Shapley kernel has
    them, 0 for what only fills up; random [m]: what was drawn, and not taken with all others of its size."""

    masks: Bools
    weight: Doubles
    random: Bools


@dataclass(frozen=True)
class Sample:
    """Equations of pairs: rows [B, m, P], which sum to 0, times values are half of what a coalition is worth more than
    its complement, beyond the share that players have in the effect by their number: halves [B, m]."""

    rows: Doubles
    halves: Doubles
    weight: Doubles
    random: Bools

    @property
    def n_pairs(self) -> Ints:
        """[B]"""
        return (self.weight > 0).sum(1)

    @property
    def share(self) -> Doubles:
        """[B, m] weights that sum to 1."""
        return self.weight / np.maximum(self.weight.sum(1, keepdims=True), 1e-300)

    def joined(self, new: Sample) -> Sample:
        """With further random pairs, which share the weight of those that are there."""
        old, more = self.random.sum(1, keepdims=True), new.random.sum(1, keepdims=True)
        share = old / np.maximum(1, old + more)
        mine = np.where(self.random, self.weight * np.where(more > 0, share, 1.0), self.weight)
        parts = [(self.rows, new.rows), (self.halves, new.halves), (mine, new.weight * (1 - share))]
        return Sample(*(np.concatenate(p, axis=1) for p in [*parts, (self.random, new.random)]))


def _stacked(parts: tuple[np.ndarray, ...], width: int) -> np.ndarray:
    """[B, m, ...] of parts [m, ...], or of masks [m, P], filled up."""
    most = max(1, *map(len, parts))
    whole = np.zeros((len(parts), most, *((width,) if parts[0].ndim == 2 else ())), dtype=parts[0].dtype)
    for row, part in enumerate(parts):
        whole[(row, slice(len(part)), *(slice(n) for n in part.shape[1:]))] = part
    return whole


def _asked(game: Game, pairs: Pairs) -> Sample:
    n, there, most = game.n_players[:, None], pairs.weight > 0, pairs.masks.shape[1]
    both = np.concatenate([pairs.masks, ~pairs.masks], axis=1)
    values = game.values(both, uncounted=2 * (most - there.sum(1)))
    size, effect = pairs.masks.sum(2), np.subtract(*game.ends())[:, None] / np.maximum(1, n)
    halves = (values[:, :most] - values[:, most:] - (2 * size - n) * effect) / 2 * there
    real = np.arange(game.width) < n
    rows = (pairs.masks - (size / np.maximum(1, n))[:, :, None]) * real[:, None, :]
    return Sample(rows, halves, pairs.weight, pairs.random)


def drawn_pairs(
    n_players: int,
    n_pairs: int,
    generator: np.random.Generator,
    share: Callable[[Doubles], Doubles],
    n_before: int = 0,
) -> Pairs:
    """So many pairs, or all there are. n_before: that a first call asked for; what it took whole is not drawn again."""
    sizes = np.arange(1, n_players // 2 + 1)
    count = np.array([math.comb(n_players, s) / (2 if 2 * s == n_players else 1) for s in sizes.tolist()])
    mass = 1.0 / (sizes * (n_players - sizes)) * np.where(2 * sizes == n_players, 0.5, 1.0)
    mass, often, left, n_whole = mass / (mass.sum() or 1.0), share(mass), n_before or n_pairs, 0
    if left >= count.sum():
        left, n_whole = 0, len(sizes)
    while n_whole < len(sizes) and left * often[n_whole] / often[n_whole:].sum() >= count[n_whole] * (1 - 1e-9):
        left, n_whole = left - int(count[n_whole]), n_whole + 1
    masks, weights = [np.zeros((0, n_players), dtype=bool)], [np.zeros(0)]
    left = n_pairs if n_before else left
    for size, of_size in zip([] if n_before else sizes[:n_whole].tolist(), mass, strict=False):
        chosen = np.array(list(itertools.combinations(range(n_players), size)))[: int(count[size - 1])]
        layer = np.zeros((len(chosen), n_players), dtype=bool)
        np.put_along_axis(layer, chosen, True, axis=1)
        masks.append(layer)
        weights.append(np.full(len(layer), of_size / len(layer)))
    n_taken = sum(map(len, weights))
    if n_whole < len(sizes) and left > 0:
        often = often[n_whole:] / often[n_whole:].sum()
        size = generator.choice(sizes[n_whole:], left, p=often)
        keys = generator.random((left, n_players))
        masks.append(keys <= np.take_along_axis(np.sort(keys, axis=1), size[:, None] - 1, axis=1))
        weights.append((mass[n_whole:] / often)[size - n_whole - 1] / left)
    weight = np.concatenate(weights)
    return Pairs(np.concatenate(masks), weight, np.arange(len(weight)) >= n_taken)


def least_squares(sample: Sample, n_players: Ints) -> tuple[Doubles, Doubles]:
    """Coefficients [B, P], which sum to 0, and their variances by the residuals of what was drawn at random, with the
    kernel's own Gram matrix in place of an inverted one, and as many fewer pairs as there are unknowns."""
    values = coefficients(sample, n_players, np.full((len(n_players), 1), _JITTER))
    residuals = (sample.halves - _times(sample.rows, values)) * sample.share * sample.random
    squares = _times(sample.rows.transpose(0, 2, 1) ** 2, residuals**2)
    freedom = sample.n_pairs - n_players + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(freedom > 0, (sample.n_pairs / freedom) ** 2.0, np.nan)
    variance = squares / eigenvalues(n_players) ** 2 * factor[:, None]
    return values, np.where(sample.random.any(1, keepdims=True), variance, 0.0)


def eigenvalues(n_players: Ints) -> Doubles:
    """[B, 1] of the Gram matrix of coalitions as the Shapley kernel weighs them: 1 / (2 H_(P - 1)), but for the sum."""
    harmonic = np.cumsum(1 / np.arange(1, max(3, int(n_players.max(initial=0)) + 1)))
    return 1 / (2 * harmonic[np.maximum(n_players - 2, 0)])[:, None]


def coefficients(sample: Sample, n_players: Ints, ridge: Doubles) -> Doubles:
    """[B, P] of weighted least squares with a ridge [B, 1]; they sum to 0."""
    weight = sample.share
    scaled = torch.from_numpy(sample.rows * np.sqrt(weight)[:, :, None])
    gram = scaled.mT @ scaled
    there = np.arange(scaled.shape[2]) < n_players[:, None]
    share = torch.from_numpy(there / np.maximum(1, n_players)[:, None])
    gram += share.unsqueeze(2) * torch.from_numpy(there).unsqueeze(1)  # the sum, which the rows say nothing of
    gram.diagonal(dim1=1, dim2=2).add_(torch.from_numpy(np.where(there, ridge, 1.0)))
    moment = scaled.mT @ torch.from_numpy(np.sqrt(weight) * sample.halves).unsqueeze(2)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if failed.any():  # fewer equations than unknowns
        return torch.linalg.lstsq(gram, moment, driver="gelsd").solution[..., 0].numpy()
    return torch.cholesky_solve(moment, factor)[..., 0].numpy()


def _times(matrix: Doubles, vector: Doubles) -> Doubles:
    """[B, m] of [B, m, P] and [B, P]."""
    return (torch.from_numpy(matrix) @ torch.from_numpy(vector).unsqueeze(2))[..., 0].numpy()


class KernelShap(Regression):
    """Coalitions drawn by their kernel weight (Lundberg & Lee, NeurIPS 2017)."""

    def share(self, mass: Doubles) -> Doubles:
        return mass


class LeverageShap(Regression):
    """Coalitions drawn by their leverage in the regression, which is the same for every size (Musco & Witter, ICLR
    2025), and weighted for it."""

    def share(self, mass: Doubles) -> Doubles:
        return np.ones_like(mass)


class AdjustedShap(Regression):
    """Regression-adjusted Monte Carlo (Witter et al., NeurIPS 2025): ridge regression on three quarters of the pairs
    takes away what is additive, and the mean over the last quarter, with the kernel's own Gram matrix instead of an
    inverted one, corrects it without bias; each quarter in turn. It has an estimate for any number of pairs.
    """

    n_folds = 4
    #: of the ridge, in units of the eigenvalue 1 / (2 H_(P - 1)) that the kernel's Gram matrix has throughout
    ridge = 1.0

    def fewest(self, n_players: Ints) -> Ints:
        return np.minimum(2 * self.n_folds, super().fewest(n_players))

    def share(self, mass: Doubles) -> Doubles:
        return mass

    def solved(self, sample: Sample, n_players: Ints) -> tuple[Doubles, Doubles]:
        eigenvalue, n_folds = eigenvalues(n_players), self.n_folds
        fold = (sample.weight > 0).cumsum(1) % n_folds
        values, variance = np.zeros_like(sample.rows[:, 0]), np.zeros_like(sample.rows[:, 0])
        for number in range(n_folds):
            fitted, held = (replace(sample, weight=sample.weight * side) for side in (fold != number, fold == number))
            beta = coefficients(fitted, n_players, self.ridge * eigenvalue)
            residuals = held.share * (held.halves - _times(held.rows, beta))
            transposed = held.rows.transpose(0, 2, 1)
            values += (beta + _times(transposed, residuals) / eigenvalue) / n_folds
            variance += _times(transposed**2, (residuals * sample.random) ** 2) / eigenvalue**2 / n_folds**2
        everything = ~sample.random.any(1, keepdims=True)
        if everything.any():
            values = np.where(everything, least_squares(sample, n_players)[0], values)
        return values, np.where(everything, 0.0, variance)


ESTIMATORS: dict[str, type[Sampled]] = {
    "permutation": PermutationShap,
    "kernel": KernelShap,
    "leverage": LeverageShap,
    "adjusted": AdjustedShap,
}


class Shapley(Explainer):
    """Shapley values of a sum are sums of Shapley values: each component's own, exact where it is linear in presence
    (the contributions) or a weighted mean (softmax attention, `xrec.explain.weighted_mean`), in one forward each; what
    is left is sampled as one game, and standard errors are of that. Zero throughout where nothing is left.

    Args:
        estimator: of what is left: 'permutation', 'kernel', 'leverage' or 'adjusted'.
        budget, target_error: of the estimator. The error is relative to the values of what is left.
    Raises:
        SettingError: another estimator, or settings that it does not take.
    """

    complete = True

    def __init__(
        self, estimator: str = "permutation", budget: Budget = "auto", target_error: float | None = None
    ) -> None:
        if estimator not in ESTIMATORS:
            raise SettingError(
                f"shapley: estimator must be one of {listed(ESTIMATORS)}; got {estimator!r}"
                f"{did_you_mean(estimator, ESTIMATORS)}"
            )
        self.estimator, self.target_error = ESTIMATORS[estimator](budget, target_error), target_error

    def values(self, game: Game, random: Keyed) -> Answer:
        values, left = np.zeros((len(game), game.width)), []
        parts = game.components() if "components" in game.capabilities else {"": game}
        for name, part in parts.items():
            exact = exact_values(part)
            if exact is None:
                left.append(name)
            else:
                values += exact
        if not left:
            return Answer(values, np.zeros_like(values))
        sampled = self.estimator.values(game if len(left) == len(parts) else game.only(*left), random)
        return Answer(values + sampled.values, sampled.standard_error)


def exact_values(game: Game) -> Doubles | None:
    """Shapley values [B, P] of a game with a closed form; None: it has none."""
    if "linear" in game.capabilities:
        return game.contributions()
    if "weighted_means" not in game.capabilities:
        return None
    means = game.weighted_means()
    rows = (part.flatten(0, 1) for part in (means.weight, means.weighted, means.base_weight, means.base_weighted))
    of_means = weighted_mean_shapley(*rows).unflatten(0, means.weight.shape[:2])
    return means.value(of_means).double().cpu().numpy()
