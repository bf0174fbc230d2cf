"""Gradients of the value with respect to the presence of players, which is 1 for those that are there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.explain.explainer import Answer, Explainer
from xrec.explain.others import OnTraining
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Doubles, Floats, Ints

NEEDS = ("gradients", "fractional_presence")
#: points of a case whose gradients are taken together: what bounds memory
_TOGETHER = 16


def gradients(game: Game, points: np.ndarray) -> Doubles:
    """df/dp [B, n, P] at n points p [B, n, P] in [0, 1] of each case, a mask and a backward each; 0 in padding."""
    found = []
    for start in range(0, points.shape[1], _TOGETHER):
        piece = np.ascontiguousarray(points[:, start : start + _TOGETHER], dtype=np.float32)
        present = torch.from_numpy(piece).to(game.history.item.device).requires_grad_()
        (gradient,) = torch.autograd.grad(game.differentiable(present).sum(), present)
        found.append(gradient.double().cpu().numpy())
    return np.concatenate(found, axis=1)


class Saliency(Explainer):
    """|df/dp_j| at the whole history (Simonyan et al., ICLR workshop 2014). A large value may oppose the target."""

    requires = NEEDS
    signed = False

    def values(self, game: Game, random: Keyed) -> Doubles:
        return np.abs(gradients(game, game.whole())[:, 0])


class InputXGradient(Explainer):
    """p_j df/dp_j at the whole history (Shrikumar et al., 2016), which is the gradient with its sign, p being 1."""

    requires = NEEDS

    def values(self, game: Game, random: Keyed) -> Doubles:
        return gradients(game, game.whole())[:, 0]


class IntegratedGradients(Explainer):
    """Integrated gradients (Sundararajan et al., ICML 2017) from no player to all of them, Gauss-Legendre, by Captum,
    which is imported when it first explains.

    Args:
        n_steps: points on the path, each one mask and one backward.
    """

    requires = NEEDS
    complete = True

    def __init__(self, n_steps: int = 32) -> None:
        self.n_steps = _number("integrated_gradients", "n_steps", n_steps)

    def values(self, game: Game, random: Keyed) -> Floats:
        from captum.attr import IntegratedGradients as CaptumIntegratedGradients

        n_cases = len(game)

        def forward(present: Tensor) -> Tensor:  # [steps * B, P], the steps outermost
            by_case = present.unflatten(0, (-1, n_cases)).transpose(0, 1)
            return game.differentiable(by_case).transpose(0, 1).flatten()

        inputs = game.players.real.float().requires_grad_()
        method = CaptumIntegratedGradients(forward)
        result = method.attribute(inputs, baselines=torch.zeros_like(inputs), n_steps=self.n_steps)
        assert isinstance(result, Tensor)
        return result.detach().float().cpu().numpy()


class SmoothGrad(Explainer):
    """The mean of df/dp at n points clip(1 + e, 0, 1), e normal (Smilkov et al., 2017): half of the presences stay 1,
    where there is nothing beyond. With its sign, and with standard errors.

    Args:
        n_samples: points, each one mask and one backward.
        deviation: of e.
    """

    requires = NEEDS

    def __init__(self, n_samples: int = 32, deviation: float = 0.3) -> None:
        self.n_samples = _number("smooth_grad", "n_samples", n_samples, least=2)
        if not 0 < deviation <= 10:
            raise SettingError(f"explainer.smooth_grad.deviation must be above 0 and at most 10, got {deviation}")
        self.deviation = deviation

    def values(self, game: Game, random: Keyed) -> Answer:
        points = np.zeros((len(game), self.n_samples, game.width), dtype=np.float32)
        for row, n in enumerate(game.n_players.tolist()):
            noise = random.generator(game.cases[row]).standard_normal((self.n_samples, n), dtype=np.float32)
            points[row, :, :n] = np.clip(1 + self.deviation * noise, 0, 1)
        return _mean(gradients(game, points))


class ExpectedGradients(OnTraining):
    """phi_j = E (1 - x_j) df/dp_j at x + a (1 - x), a uniform on [0, 1] (in strata) and x the presence of the players
    with a user of training, drawn anew each time (Erion et al., Nature Machine Intelligence 2021). The sum
    is f(whole) - E f(x) up to the error of sampling, which is not f(empty) unless nobody shares an item; the masker's
    absence stays what it is. Standard errors are those without strata.

    Args:
        n_samples: pairs of a user and a point, each one mask and one backward.
    """

    requires = NEEDS
    name = "expected_gradients"

    def __init__(self, n_samples: int = 64) -> None:
        super().__init__()
        self.n_samples = _number(self.name, "n_samples", n_samples, least=2)

    def values(self, game: Game, random: Keyed) -> Answer:
        start = self.presences(game, random, self.n_samples)
        place = Keyed(random.seed, f"{random.purpose}.path", random.draw)
        drawn = np.stack([place.generator(case).random(self.n_samples) for case in game.cases])
        way = (np.arange(self.n_samples) + drawn)[..., None] / self.n_samples
        return _mean((1 - start) * gradients(game, start + way * (1 - start)))


class SPINRecMean(OnTraining):
    """The mean of SPINRec's maps, which looks at no metric: that of integrated gradients from each of n drawn users of
    training to the whole history, Gauss-Legendre. It tends to `expected_gradients` as n grows; its users are those of
    `spinrec` at the same seed, so that the two differ in the choice alone.

    Args:
        n_users: maps. n_steps: points on each path, each one mask and one backward.
    """

    requires = NEEDS
    name = "spinrec_mean"

    def __init__(self, n_users: int = 10, n_steps: int = 16) -> None:
        super().__init__()
        self.n_users = _number(self.name, "n_users", n_users, least=2)
        self.n_steps = _number(self.name, "n_steps", n_steps)

    def maps(self, game: Game, random: Keyed) -> Doubles:
        """[B, n_users, P]"""
        start = self.presences(game, Keyed(random.seed, "spinrec", random.draw), self.n_users)[:, :, None]
        nodes, weights = np.polynomial.legendre.leggauss(self.n_steps)
        path = start + ((1 + nodes) / 2)[:, None] * (1 - start)  # [B, n_users, n_steps, P]
        along = gradients(game, path.reshape(len(game), -1, game.width)).reshape(path.shape)
        return (1 - start[:, :, 0]) * np.einsum("bnsp,s->bnp", along, weights / 2)

    def values(self, game: Game, random: Keyed) -> Doubles | Answer:
        return _mean(self.maps(game, random))


class SPINRec(SPINRecMean):
    """SPINRec as published (Barkan et al., 2025): of the maps of n drawn users, the one that the fidelity metric likes
    best, which makes it an oracle. The metric is deletion: the mean value when the first 10, 20, ... 90 % of players by
    the map are gone, the lower the better, 9 masks a map. Items that only the drawn user has are no players here.
    """

    role = "oracle"
    name = "spinrec"

    def values(self, game: Game, random: Keyed) -> Doubles:
        maps = self.maps(game, random)
        best = self._deletion(game, maps).argmin(1)
        return maps[np.arange(len(game)), best]

    @staticmethod
    def _deletion(game: Game, maps: Doubles) -> Doubles:
        """[B, n_users]; sizes that come twice in short histories count once."""
        n = game.n_players[:, None]
        sizes: Ints = np.clip(np.floor(np.arange(1, 10) * n / 10 + 0.5), 1, np.maximum(n - 1, 1)).astype(np.int64)
        fresh = np.diff(sizes, axis=1, prepend=0) != 0
        padding = np.arange(game.width) >= n
        order = np.argsort(np.where(padding[:, None], np.inf, -maps), axis=2, kind="stable")
        position = np.argsort(order, axis=2)
        masks = position[:, :, None] >= sizes[:, None, :, None]
        values = game.values(masks.reshape(len(game), -1, game.width)).reshape(masks.shape[:3])
        return (values * fresh[:, None]).sum(2) / fresh.sum(1, keepdims=True)


def _mean(samples: Doubles) -> Answer:
    """Of samples [B, n, P], with standard errors."""
    return Answer(samples.mean(1), samples.std(1, ddof=1) / samples.shape[1] ** 0.5)


def _number(explainer: str, name: str, value: int, least: int = 1) -> int:
    if not least <= value <= 10_000:
        raise SettingError(f"explainer.{explainer}.{name} must be from {least} to 10000, got {value}")
    return value
