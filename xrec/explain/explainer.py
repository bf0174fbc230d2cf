"""What an explainer is: it asks a game for values, and answers with values for its players."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xrec.errors import SettingError
from xrec.games.fitting import Learner
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Attribution, Bools, Doubles, Outcome, Role
from xrec.words import listed


@dataclass(frozen=True)
class Answer:
    """Values [B, P] and what else an explainer knows of them: standard errors of sampling, the set it chose (both
    [B, P]), what came of the search for that set [B]."""

    values: np.ndarray
    standard_error: np.ndarray | None = None
    selected: np.ndarray | None = None
    outcome: Sequence[Outcome] | None = None


Budget = int | Literal["auto"]


def checked_budget(what: str, budget: Budget, least: int = 1) -> Budget:
    """A number of masks per case, or 'auto'. Raises: SettingError, which says what is wrong."""
    if budget != "auto" and (isinstance(budget, str) or not least <= budget <= 1_000_000):
        raise SettingError(f"{what} must be 'auto' or from {least} to 1000000 masks, got {budget!r}")
    return budget


class Explainer(Learner, ABC):
    """requires: capabilities of the game that it needs. role: explainer, control (knows nothing of the model) or oracle
    (looks at the fidelity metric to choose its answer). reference: what the others are tested against. signed: negative
    values oppose the target. complete: values promise to sum to f(x) - f(empty). n_draws: how often a random control is
    drawn, its fidelity being the mean. target_error: of sampling, that it draws on for."""

    requires: tuple[str, ...] = ()
    role: Role = "explainer"
    reference: bool = False
    signed: bool = True
    complete: bool = False
    n_draws: int = 1
    target_error: float | None = None

    @abstractmethod
    def values(self, game: Game, random: Keyed) -> np.ndarray | Answer:
        """[B, P]: larger means more supportive; what stands beyond a case's players is ignored.

        Args:
            random: where random numbers come from, case by case.
        """

    def attribute(self, game: Game, seed: int, name: str, draw: int = 0) -> Attribution:
        """Attribution of every case of the game; forwards and seconds are counted per case.

        Raises:
            SettingError: the game lacks what the explainer requires; the answer has another shape, or is not finite
                where a player is.
        """
        self.check(name, game.capabilities, f"model {game.about.model} with output {game.about.output}")
        f_x, f_empty = game.ends()
        before, started = game.forwards.copy(), time.perf_counter()
        answer = self.values(game, Keyed(seed, name, draw))
        seconds = (time.perf_counter() - started) / max(1, len(game))
        answer = answer if isinstance(answer, Answer) else Answer(answer)
        padding = np.arange(game.width) >= game.n_players[:, None]
        values = _as_array(answer.values, name, padding.shape)
        values[padding] = np.nan
        if (bad := ~np.isfinite(values) & ~padding).any():
            cases = [game.cases[row].index for row in np.flatnonzero(bad.any(1))]
            raise SettingError(f"explainer {name} gave values that are not numbers for cases {cases}")
        return Attribution(
            explainer=name,
            draw=draw,
            role=self.role,
            reference=self.reference,
            cases=game.cases,
            player_ids=game.player_ids,
            values=values,
            output=game.about.output,
            masker=game.about.masker,
            players=game.about.players,
            signed=self.signed,
            complete=self.complete,
            f_x=f_x,
            f_empty=f_empty,
            n_forwards=game.forwards - before,
            seconds=np.full(len(game), seconds),
            standard_error=_errors(answer.standard_error, name, padding),
            selected=_chosen(answer.selected, name, padding),
            outcome=None if answer.outcome is None else tuple(answer.outcome),
        )

    def check(self, name: str, able: frozenset[str], whose: str) -> None:
        """Raises: SettingError, when a game with these capabilities lacks what the explainer requires."""
        if lacking := [need for need in self.requires if need not in able]:
            raise SettingError(
                f"explainer {name} needs {listed(lacking)}, which {whose} does not have (it has {listed(sorted(able))})"
            )


def _as_array(answer: object, name: str, expected: tuple[int, ...], what: str = "values") -> Doubles:
    """The answer of an explainer of any origin, as a copy. Raises: SettingError, when it is no array [B, P]."""
    try:
        values = np.array(answer, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SettingError(f"explainer {name} gave no array of numbers ({' '.join(str(error).split())})") from error
    if values.shape != expected:
        raise SettingError(
            f"explainer {name} gave {what} of shape {values.shape}, expected {expected}: cases, players of the longest "
            "history"
        )
    return values


def _errors(given: object, name: str, padding: Bools) -> Doubles | None:
    if given is None:
        return None
    errors = _as_array(given, name, padding.shape, "standard errors")
    errors[padding] = np.nan
    return errors if np.isfinite(errors).any() else None  # nothing is known of any


def _chosen(given: object, name: str, padding: Bools) -> Bools | None:
    return None if given is None else (_as_array(given, name, padding.shape, "a set") != 0) & ~padding
