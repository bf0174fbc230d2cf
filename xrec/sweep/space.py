"""The parameters of a sweep: drawn by an Optuna trial, written as Hydra overrides (read by `xrec.sweep.grammar`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any

from hydra.errors import CompactHydraException

from xrec.errors import UserError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Value = bool | int | float | str

TAGS = ("log", "int", "zero")

_MANY = 10_000


class SweepError(CompactHydraException, UserError):
    """A sweep that cannot be run as asked. Hydra prints it without a traceback."""


@dataclass(frozen=True)
class Numbers:
    """Numbers from `low` to `high`, both included; every `step` of them when it is given. `key` as in an override."""

    key: str
    low: float
    high: float
    step: float | None = None
    integer: bool = False
    log: bool = False
    zero: bool = False

    @property
    def path(self) -> str:
        return self.key.lstrip("+")

    def draw(self, trial: BaseTrial, conditional: bool) -> None:
        """Asks `trial` for this parameter; `conditional`: the value is asked for only when it is switched on."""
        on = trial.suggest_categorical(f"{self.path}.on", [False, True]) if self.zero else True
        if conditional and not on:
            return
        if self.integer:
            trial.suggest_int(self.path, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        else:
            trial.suggest_float(self.path, self.low, self.high, step=self.step, log=self.log)

    def value(self, params: Mapping[str, Any]) -> Value:
        """The value that Optuna's `params` stand for; raises KeyError when they are not all there."""
        if self.zero and not params[f"{self.path}.on"]:
            return 0 if self.integer else 0.0
        drawn = params[self.path]
        if self.integer:
            return int(drawn)
        if self.step is None:
            return float(drawn)
        # Binary steps add up to 0.30000000000000004; people wrote 0.3.
        return float(decimal(self.low) + round((drawn - self.low) / self.step) * decimal(self.step))

    def text(self, params: Mapping[str, Any]) -> str:
        return repr(self.value(params))

    def points(self) -> list[dict[str, Value]] | None:
        """Optuna params of every value, or None where there are too many to try them all."""
        step = 1 if self.integer and self.step is None else self.step
        if step is None:
            return None
        n = round((self.high - self.low) / step) + 1
        if n > _MANY:
            return None
        drawn = [float(decimal(self.low) + i * decimal(step)) for i in range(n)]
        values: list[dict[str, Value]] = [{self.path: int(x) if self.integer else x} for x in drawn]
        if not self.zero:
            return values
        return [{f"{self.path}.on": False}, *({f"{self.path}.on": True, **v} for v in values)]

    def examples(self) -> list[dict[str, Value]]:
        """Optuna params of one value, enough to see whether a config can be composed."""
        switch: dict[str, Value] = {f"{self.path}.on": True} if self.zero else {}
        return [{**switch, self.path: int(self.low) if self.integer else self.low}]

    def describe(self) -> str:
        tags = [t for t, on in zip(TAGS, (self.log, self.integer, self.zero), strict=True) if on]
        numbers = f"{self.low!r} to {self.high!r}" + ("" if self.step is None else f" by {self.step!r}")
        return " ".join([*tags, numbers])


@dataclass(frozen=True)
class Choice:
    """One of `options`; `texts` are the same as an override writes them (quoted where the grammar needs it)."""

    key: str
    options: tuple[Value, ...]
    texts: tuple[str, ...]

    @property
    def path(self) -> str:
        return self.key.lstrip("+")

    def draw(self, trial: BaseTrial, conditional: bool) -> None:
        del conditional  # a choice is always asked for
        trial.suggest_categorical(self.path, list(self.options))

    def value(self, params: Mapping[str, Any]) -> Value:
        return params[self.path]

    def text(self, params: Mapping[str, Any]) -> str:
        return self.texts[self.options.index(params[self.path])]

    def points(self) -> list[dict[str, Value]]:
        return [{self.path: option} for option in self.options]

    def examples(self) -> list[dict[str, Value]]:
        return self.points()

    def describe(self) -> str:
        return "choice " + ", ".join(self.texts)


Parameter = Numbers | Choice


@dataclass(frozen=True)
class Space:
    """All parameters of a sweep, in the order in which they are drawn."""

    parameters: tuple[Parameter, ...]

    def draw(self, trial: BaseTrial, conditional: bool = True) -> None:
        """Asks `trial` for every parameter; its `params` then hold what `values` and `overrides` read."""
        for parameter in self.parameters:
            parameter.draw(trial, conditional)

    def values(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """Config path -> value, from Optuna's params; raises KeyError when they are not all there."""
        return {p.path: p.value(params) for p in self.parameters}

    def is_complete(self, params: Mapping[str, Any]) -> bool:
        """Whether every parameter has been drawn (a process may die while it draws)."""
        try:
            self.values(params)
        except KeyError:
            return False
        return True

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The same as Hydra overrides."""
        return [f"{p.key}={p.text(params)}" for p in self.parameters]

    def points(self) -> Iterator[dict[str, Value]] | None:
        """Optuna params of every point of the space, lazily; None when a parameter is continuous."""
        columns = [p.points() for p in self.parameters]
        finite = [c for c in columns if c is not None]
        if len(finite) < len(columns):
            return None
        return ({k: v for part in row for k, v in part.items()} for row in product(*finite))

    def examples(self) -> Iterator[dict[str, Value]]:
        """Optuna params of a few points which together hold every option of every choice."""
        columns = [p.examples() for p in self.parameters]
        first = {k: v for column in columns for k, v in column[0].items()}
        yield first
        for column in columns:
            for other in column[1:]:
                yield {**first, **other}

    def signature(self) -> dict[str, str]:
        """What a study remembers, to refuse trials of another space."""
        return {p.path: p.describe() for p in self.parameters}


def decimal(x: float) -> Decimal:
    """The number that people wrote: 0.1 is a tenth."""
    return Decimal(str(x))
