"""Things to build in tests of `instantiate`: this module is an allowed root only when the environment says so."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Payload:
    """A dataclass, which Hydra's own instantiate would turn into a config."""

    n: int


class Leaf:
    def __init__(self, size: int = 1, values: list[float] | None = None) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.size, self.values = size, values


class Tree:
    def __init__(self, leaf: Leaf, payload: Payload, name: str = "none") -> None:
        self.leaf, self.payload, self.name = leaf, payload, name


class Fractional:
    requires = ("fractional_presence",)


class Squared:
    name = "squared"
    linear = False


class Mistaken:
    requires = ("gradient",)


system = os.system
