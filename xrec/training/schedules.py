"""How a loss term's weight or a learning rate goes over the steps of a training run: a factor per step.

A schedule is called with the step (from 0) and the share of the training that is done, in [0, 1), which counts epochs
and the batches of the present one, and answers with a factor of at least 0.
"""

from __future__ import annotations

import math
from typing import Protocol

from xrec.errors import SettingError


class Schedule(Protocol):
    """(step, progress) -> factor."""

    def __call__(self, step: int, progress: float) -> float: ...


class Constant:
    """1 throughout."""

    def __call__(self, step: int, progress: float) -> float:
        return 1.0


class Linear:
    """From `start` to `end` in a straight line over the whole training."""

    def __init__(self, start: float = 1.0, end: float = 0.0) -> None:
        _check("linear", start=start, end=end)
        self.start, self.end = start, end

    def __call__(self, step: int, progress: float) -> float:
        return self.start + (self.end - self.start) * progress


class Cosine:
    """From `start` to `end` along half a cosine (Loshchilov & Hutter, ICLR 2017, without restarts)."""

    def __init__(self, start: float = 1.0, end: float = 0.0) -> None:
        _check("cosine", start=start, end=end)
        self.start, self.end = start, end

    def __call__(self, step: int, progress: float) -> float:
        return self.end + (self.start - self.end) * 0.5 * (1.0 + math.cos(math.pi * progress))


class Cyclic:
    """`cycles` times from 0 to 1 in a straight line over the share `rise` of a cycle, then 1 (Fu et al., NAACL
    2019)."""

    def __init__(self, cycles: int = 4, rise: float = 0.5) -> None:
        if cycles < 1 or not 0 < rise <= 1:
            raise SettingError(f"cyclic: takes cycles of at least 1 and rise in (0, 1], got {cycles} and {rise}")
        self.cycles, self.rise = cycles, rise

    def __call__(self, step: int, progress: float) -> float:
        return min(1.0, (progress * self.cycles) % 1.0 / self.rise)


class WarmUp:
    """From 0 to 1 in a straight line over the first `steps` steps (or the first `share` of the training), and on as
    `then` says, by default 1."""

    def __init__(self, steps: int | None = None, share: float | None = None, then: Schedule | None = None) -> None:
        if (steps is None) == (share is None):
            raise SettingError("warm_up takes either steps or share, and null for the other")
        if (steps is not None and steps < 1) or (share is not None and not 0 < share <= 1):
            raise SettingError(f"warm_up: takes steps of at least 1 or share in (0, 1], got {steps} and {share}")
        self.steps, self.share, self.then = steps, share, then or Constant()

    def __call__(self, step: int, progress: float) -> float:
        risen = (step + 1) / self.steps if self.steps is not None else progress / (self.share or 1.0)
        return min(1.0, risen) * self.then(step, progress)


class Staircase:
    """`factor` to the power 0, 1, 2, ... on `stairs` stairs of equal length: with as many stairs as epochs, decay per
    epoch."""

    def __init__(self, factor: float, stairs: int) -> None:
        _check("staircase", factor=factor)
        if stairs < 1:
            raise SettingError(f"staircase: takes at least 1 stair, got {stairs}")
        self.factor, self.stairs = factor, stairs

    def __call__(self, step: int, progress: float) -> float:
        return self.factor ** math.floor(progress * self.stairs + 1e-9)


def _check(name: str, **factors: float) -> None:
    for argument, value in factors.items():
        if not 0 <= value < math.inf:
            raise SettingError(f"{name}: {argument} must be at least 0, got {value}")
