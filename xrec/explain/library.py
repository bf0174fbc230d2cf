"""Shapley values of a game by the shap package, which is imported when it first explains: it takes seconds."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator

import numpy as np

from xrec.errors import SettingError
from xrec.explain.explainer import Budget, Explainer, checked_budget
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Doubles

#: masks [M, P] -> values [M]
SetFunction = Callable[[np.ndarray], np.ndarray]


@contextlib.contextmanager
def numpy_global_seed(seed: int) -> Iterator[None]:
    """Seed numpy's global state for a library that knows no generators (shap), and put it back afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


class ShapExplainer(Explainer):
    """One run of shap per case.

    Args:
        budget: masks per case; 'auto' is `per_player` * P + 2 for P players.
    """

    complete = True
    per_player = 2

    def __init__(self, budget: Budget = "auto") -> None:
        self.budget = checked_budget(f"{type(self).__name__}: budget", budget)

    def values(self, game: Game, random: Keyed) -> Doubles:
        values = np.zeros((len(game), game.width))
        for row, n in enumerate(game.n_players.tolist()):
            alone = game.single(row)
            budget = self.per_player * n + 2 if self.budget == "auto" else int(self.budget)
            seed = random.seed_of(game.cases[row])
            with numpy_global_seed(seed):
                values[row, :n] = self.explain(lambda masks, g=alone: g.values(masks[None])[0], n, budget, seed)
        return values

    @abstractmethod
    def explain(self, game: SetFunction, n_players: int, budget: int, seed: int) -> Doubles:
        """Shapley values [P] of game(masks [M, P]) -> [M]."""


class _Present:
    """What shap calls a masker: a coalition is shown to the game as it is. Of shap's own ones `Independent` over zeros
    asks the same in the same order, but is compiled for seconds at its first call."""

    immutable_outputs = True

    def __init__(self, n_players: int) -> None:
        self.shape = (1, n_players)

    def __call__(self, mask: np.ndarray, x: np.ndarray) -> np.ndarray:
        return mask[None].astype(np.float64)

    def mask_shapes(self, x: np.ndarray) -> list[tuple[int, ...]]:
        return [x.shape]


class ShapPermutation(ShapExplainer):
    """Permutation sampling, forward and backward through each permutation (shap.PermutationExplainer)."""

    def explain(self, game: SetFunction, n_players: int, budget: int, seed: int) -> Doubles:
        if budget < 2 * n_players + 1:
            raise SettingError(
                f"shap_permutation: a case with {n_players} players needs a budget of at least "
                f"{2 * n_players + 1}, got {budget}"
            )
        import shap

        explainer = shap.PermutationExplainer(game, _Present(n_players), seed=seed % 2**32)
        result = explainer(np.ones((1, n_players)), max_evals=budget, batch_size=budget, silent=True)
        assert isinstance(result, shap.Explanation)
        return np.asarray(result.values, dtype=np.float64).reshape(n_players)


class ShapKernel(ShapExplainer):
    """Weighted least squares over coalitions (shap.KernelExplainer) without feature selection (l1_reg = 0).

    shap draws a coalition and its complement, which make one equation once the sum is fixed: 2P + 2 masks are about
    as many equations as unknowns, where least squares is at its worst; hence 4P + 2.
    """

    per_player = 4

    def explain(self, game: SetFunction, n_players: int, budget: int, seed: int) -> Doubles:
        import shap

        explainer = shap.KernelExplainer(game, np.zeros((1, n_players)))
        result = explainer.shap_values(np.ones((1, n_players)), nsamples=budget, l1_reg=0, silent=True)
        return np.asarray(result, dtype=np.float64).reshape(n_players)


class ShapiqExplainer(ShapExplainer):
    """One run of an approximator of shapiq per case (Muschalik et al., NeurIPS 2024)."""

    approximator: str

    def explain(self, game: SetFunction, n_players: int, budget: int, seed: int) -> Doubles:
        import shapiq

        (empty,) = game(np.zeros((1, n_players), dtype=bool))
        if n_players == 1:  # there is nothing to approximate, and some of them fail
            return game(np.ones((1, 1), dtype=bool)) - empty
        approximator = getattr(shapiq, self.approximator)(n_players, random_state=seed % 2**32)
        found = approximator.approximate(budget, lambda masks: game(np.atleast_2d(masks)) - empty)
        return np.asarray(found.get_n_order_values(1), dtype=np.float64)


class ShapiqKernel(ShapiqExplainer):
    """shapiq.KernelSHAP: weighted least squares, with sizes at the border taken whole."""

    approximator, per_player = "KernelSHAP", 4


class ShapiqPermutation(ShapiqExplainer):
    """shapiq.PermutationSamplingSV (Castro et al. 2009): walks in one direction, P - 1 masks each."""

    approximator = "PermutationSamplingSV"


class ShapiqSvarm(ShapiqExplainer):
    """shapiq.SVARM (Kolpaczki et al., AAAI 2024): every value of a coalition counts for all players. Its values need
    not sum to f(x) - f(empty)."""

    approximator, complete = "SVARM", False
