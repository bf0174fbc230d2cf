"""Gradients with respect to the presence of players, by Captum, which is imported when it first explains."""

from __future__ import annotations

import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.explain.explainer import Explainer
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Floats


class IntegratedGradients(Explainer):
    """Integrated gradients (Sundararajan et al., ICML 2017) from no player to all of them, Gauss-Legendre.

    Args:
        n_steps: points on the path, each one mask and one backward.
    """

    requires = ("gradients", "fractional_presence")
    complete = True

    def __init__(self, n_steps: int = 32) -> None:
        if not 1 <= n_steps <= 10_000:
            raise SettingError(f"explainer.integrated_gradients.n_steps must be from 1 to 10000, got {n_steps}")
        self.n_steps = n_steps

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
