"""Random numbers keyed by what they are drawn for, so that sharding, resuming and padding change nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from xrec.types import Case


def case_seed(seed: int, case: Case, purpose: str, draw: int = 0) -> int:
    """A 64-bit seed from (seed, case, purpose, draw): the same wherever and whenever the case is met."""
    return _hashed(f"{seed}|{case.part}|{case.user_id}|{case.item_id}|{case.group}|{purpose}|{draw}")


def _hashed(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


@dataclass(frozen=True)
class Keyed:
    """Where one purpose's random numbers come from, case by case. purpose: an explainer's name, for instance."""

    seed: int
    purpose: str
    draw: int = 0

    def seed_of(self, case: Case) -> int:
        """64 bits."""
        return case_seed(self.seed, case, self.purpose, self.draw)

    def shared(self, case: Case) -> np.random.Generator:
        """A generator of a case that all cases of its history draw the same from."""
        return np.random.default_rng(_hashed(f"{self.seed}|{case.part}|{case.user_id}|{self.purpose}|{self.draw}"))

    def generator(self, case: Case) -> np.random.Generator:
        """The generator of one case."""
        return np.random.default_rng(self.seed_of(case))
