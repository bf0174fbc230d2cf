"""What an explainer is, and the keyed random numbers that make sharding and resuming change nothing."""

from __future__ import annotations

import contextlib
import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xrec.errors import SettingError
from xrec.games.game import Game
from xrec.types import Attribution, Case, Doubles, Floats, Role


def case_seed(seed: int, case: Case, explainer: str, draw: int = 0) -> int:
    """A 64-bit seed from (seed, case, explainer, draw): the same wherever and whenever the case is explained."""
    key = f"{seed}|{case.part}|{case.user_id}|{case.item_id}|{case.group}|{explainer}|{draw}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


@contextlib.contextmanager
def numpy_global_seed(seed: int) -> Iterator[None]:
    """Seed numpy's global state for a library that knows no generators (shap), and put it back afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


@dataclass
class Request:
    """What an explainer is given: the cases' value function, and where its random numbers come from."""

    value: Game
    seed: int
    name: str
    draw: int

    def generator(self, row: int) -> np.random.Generator:
        """The generator of one case."""
        return np.random.default_rng(case_seed(self.seed, self.value.cases[row], self.name, self.draw))


class Explainer(ABC):
    """`role`: explainer, control (knows nothing of the model) or oracle (looks at the fidelity metric to choose its
    answer); `reference`: what the others are tested against; `signed`: negative values oppose the target; `complete`:
    values promise to sum to f(x) - f(empty); `n_draws`: how often a random control is drawn, its fidelity being the
    mean."""

    role: Role = "explainer"
    reference: bool = False
    signed: bool = True
    complete: bool = False
    n_draws: int = 1

    def attribute(self, value: Game, seed: int, name: str, draw: int = 0) -> Attribution:
        """Attribution of every case of `value`; forwards and seconds are counted per case.

        Raises:
            SettingError: the answer has another shape, or is not finite where a player is.
        """
        f_x, f_empty = value.ends()
        before, started = value.forwards.copy(), time.perf_counter()
        answer = self.values(Request(value, seed, name, draw))
        seconds = (time.perf_counter() - started) / max(1, len(value))
        values = _as_array(answer, name, (len(value), value.width))
        values[np.arange(values.shape[1]) >= value.n_players[:, None]] = np.nan
        if not np.isfinite(values[~np.isnan(values)]).all() or np.isnan(values).sum() != _padding(value):
            raise SettingError(f"explainer {name} gave values that are not numbers for cases {_where(values, value)}")
        return Attribution(
            explainer=name,
            draw=draw,
            role=self.role,
            reference=self.reference,
            cases=value.cases,
            player_ids=value.player_ids,
            values=values,
            output=value.output,
            masker=value.settings.masker.name,
            players=value.settings.players.name,
            signed=self.signed,
            complete=self.complete,
            f_x=f_x,
            f_empty=f_empty,
            n_forwards=value.forwards - before,
            seconds=np.full(len(value), seconds),
        )

    @abstractmethod
    def values(self, request: Request) -> Doubles | Floats:
        """[B, P]; what stands beyond a case's players is ignored."""


def _as_array(answer: object, name: str, expected: tuple[int, int]) -> Doubles:
    """The answer of an explainer of any origin, as a copy. Raises: SettingError, when it is no array [B, P]."""
    try:
        values = np.array(answer, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SettingError(f"explainer {name} gave no array of numbers ({' '.join(str(error).split())})") from error
    if values.shape != expected:
        raise SettingError(
            f"explainer {name} gave values of shape {values.shape}, expected {expected}: cases, players of the longest "
            "history"
        )
    return values


def _padding(value: Game) -> int:
    return int((value.width - value.n_players).sum())


def _where(values: Doubles, value: Game) -> list[int]:
    real = np.arange(values.shape[1]) < value.n_players[:, None]
    return [value.cases[i].index for i in np.flatnonzero((~np.isfinite(values) & real).any(1))]
