"""Optuna's samplers by name."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xrec.sweep.space import SweepError
from xrec.words import did_you_mean

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class _Kind:
    build: Callable[..., BaseSampler]
    conditional: bool
    """Learns about parameters that only some trials have."""


def _kinds() -> dict[str, _Kind]:
    from optuna import samplers

    return {
        "tpe": _Kind(samplers.TPESampler, conditional=True),
        # NSGA-II crosses only what all trials have, and draws the rest at random.
        "nsga2": _Kind(samplers.NSGAIISampler, conditional=False),
        "random": _Kind(samplers.RandomSampler, conditional=True),
    }


@dataclass(frozen=True)
class SamplerFactory:
    """Makes the sampler of each trial from (seed, how many were drawn before).

    A fresh one for every trial: a study that is resumed neither replays its first trials nor drifts from an
    undisturbed one. What samplers have to remember they read from the study.
    """

    name: str
    seed: int
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, n_drawn: int) -> BaseSampler:
        return self._kind().build(seed=self._derived_seed(n_drawn), **self.arguments)

    def explorer(self, n_drawn: int) -> BaseSampler:
        """One that draws at random, for when the sampler comes up with nothing new."""
        return _kinds()["random"].build(seed=self._derived_seed(n_drawn))

    @property
    def conditional(self) -> bool:
        return self._kind().conditional

    def population_size(self) -> int | None:
        """How many trials make one generation, for samplers that have generations."""
        return getattr(self(0), "population_size", None)

    def check(self) -> None:
        """Raises SweepError for an unknown name or argument."""
        kinds = _kinds()
        if self.name not in kinds:
            hint = did_you_mean(self.name, list(kinds))
            raise SweepError(f"hydra.sweeper.sampler.name={self.name}: unknown{hint} (known: {', '.join(kinds)})")
        takes = [p for p in inspect.signature(self._kind().build).parameters if p != "seed"]
        for argument in self.arguments:
            if argument == "seed":
                raise SweepError("hydra.sweeper.sampler.seed: the seed is hydra.sweeper.seed")
            if argument not in takes:
                hint = did_you_mean(argument, takes)
                raise SweepError(
                    f"hydra.sweeper.sampler.{argument}: {self.name} does not take it{hint} (takes: {', '.join(takes)})"
                )
        try:
            self(0)
        except (TypeError, ValueError) as error:
            raise SweepError(f"hydra.sweeper.sampler: {self.name} refuses {dict(self.arguments)}: {error}") from error

    def _derived_seed(self, n_drawn: int) -> int:
        digest = hashlib.sha256(f"xrec.sweep:{self.seed}:{n_drawn}".encode()).digest()
        return int.from_bytes(digest[:4], "big")

    def _kind(self) -> _Kind:
        return _kinds()[self.name]
