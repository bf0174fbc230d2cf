"""Controls: explanations that know nothing of the model. Whatever does not beat them explains nothing."""

from __future__ import annotations

import numpy as np

from xrec.errors import SettingError
from xrec.explain.explainer import Explainer, Request
from xrec.types import Doubles


class Random(Explainer):
    """Uniform random values; fidelity is the mean over `n_draws` draws."""

    role = "control"
    reference = True
    signed = False

    def __init__(self, n_draws: int = 10) -> None:
        if not 1 <= n_draws <= 10_000:
            raise SettingError(f"explainer.random.n_draws must be from 1 to 10000, got {n_draws}")
        self.n_draws = n_draws

    def values(self, request: Request) -> Doubles:
        width = request.value.width
        values = np.zeros((len(request.value), width))
        for row, n in enumerate(request.value.n_players):
            values[row, :n] = request.generator(row).random(n)
        return values


class Popularity(Explainer):
    """A history item is as important as it is popular: the share of users who have it."""

    role = "control"
    signed = False

    def values(self, request: Request) -> Doubles:
        return request.value.settings.popularity[request.value.history.item.cpu().numpy()]
