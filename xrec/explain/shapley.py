"""Shapley values in player space by the shap package: a game of P players whose value is the model's score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import numpy as np
import shap
from shap.maskers import Independent

from xrec.errors import SettingError
from xrec.explain.explainer import Explainer, Request, case_seed, numpy_global_seed
from xrec.types import Doubles

SetFunction = Callable[[np.ndarray], np.ndarray]


class ShapExplainer(Explainer):
    """One run of shap per case.

    Args:
        budget: forwards per case; 'auto' is `per_player` * P + 2 for P players.
    """

    complete = True
    per_player = 2

    def __init__(self, budget: int | Literal["auto"] = "auto") -> None:
        if budget != "auto" and (isinstance(budget, str) or not 1 <= budget <= 1_000_000):
            raise SettingError(
                f"{type(self).__name__}: budget must be 'auto' or from 1 to 1000000 forwards, got {budget!r}"
            )
        self.budget = budget

    def values(self, request: Request) -> Doubles:
        value = request.value
        values = np.zeros((len(value), value.width))
        for row, n in enumerate(value.n_players.tolist()):
            game = value.single(row)
            budget = self.per_player * n + 2 if self.budget == "auto" else int(self.budget)
            seed = case_seed(request.seed, value.cases[row], request.name, request.draw)
            with numpy_global_seed(seed):
                values[row, :n] = self.explain(lambda masks, g=game: g.values(masks[None])[0], n, budget, seed)
        return values

    @abstractmethod
    def explain(self, game: SetFunction, n_players: int, budget: int, seed: int) -> Doubles:
        """Shapley values [P] of game(masks [M, P]) -> [M]."""


class PermutationShap(ShapExplainer):
    """Permutation sampling, forward and backward through each permutation (shap.PermutationExplainer)."""

    def explain(self, game: SetFunction, n_players: int, budget: int, seed: int) -> Doubles:
        if budget < 2 * n_players + 1:
            raise SettingError(
                f"permutation_shap: a case with {n_players} players needs a budget of at least "
                f"{2 * n_players + 1}, got {budget}"
            )
        masker = Independent(np.zeros((1, n_players)), max_samples=1)
        explainer = shap.PermutationExplainer(game, masker, seed=seed % 2**32)
        result = explainer(np.ones((1, n_players)), max_evals=budget, batch_size=budget, silent=True)
        assert isinstance(result, shap.Explanation)
        return np.asarray(result.values, dtype=np.float64).reshape(n_players)


class KernelShap(ShapExplainer):
    """Weighted least squares over coalitions (shap.KernelExplainer) without feature selection (l1_reg = 0).

    shap draws a coalition and its complement, which make one equation once the sum is fixed: 2P + 2 forwards are about
    as many equations as unknowns, where least squares is at its worst; hence 4P + 2.
    """

    per_player = 4

    def explain(self, game: SetFunction, n_players: int, budget: int, seed: int) -> Doubles:
        explainer = shap.KernelExplainer(game, np.zeros((1, n_players)))
        result = explainer.shap_values(np.ones((1, n_players)), nsamples=budget, l1_reg=0, silent=True)
        return np.asarray(result, dtype=np.float64).reshape(n_players)
