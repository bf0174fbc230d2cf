"""Functions that share out a weight among what is there, which is undefined when nobody is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def as_one(function: Callable[P, R]) -> Callable[P, R]:
    """What it computes is one function: explainers that watch the functions of a model (`xrec.explain.activation`) do
    not see those within, and take its slope."""

    @functools.wraps(function)
    def whole(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch._C.DisableTorchFunction():
            return function(*args, **kwargs)

    return whole
