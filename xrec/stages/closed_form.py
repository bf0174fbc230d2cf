"""Closed-form tables of a model, which the cache keeps: what a run's record says of them, and whether they still match.

They are too large to be copied into every run (items x items), and are made from data and settings alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xrec.data.cache import digest
from xrec.training.checkpoint import CheckpointError
from xrec.types import Cache


class RecordedTables:
    """A cache that notes what it hands out: `tables`, each with name, key and the sha256 of its content.

    Args:
        expected: what a saved run says of its tables; None: anything goes.
    """

    def __init__(self, cache: Cache, expected: Sequence[Mapping[str, Any]] | None = None) -> None:
        self.cache, self.tables = cache, []
        self._expected = None if expected is None else {digest([t["name"], t["key"]]): t["sha256"] for t in expected}

    def array(self, name: str, key: dict[str, Any], build: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of the cache; one that is missing there is built again.

        Raises:
            CheckpointError: it is not the one that the run was fitted with.
        """
        found = self.cache.array(name, key, build)
        content = _content(found)
        if self._expected is not None and self._expected.get(digest([name, key])) != content:
            where = f" ({found.filename})" if isinstance(found, np.memmap) else ""
            raise CheckpointError(
                f"the closed-form table {name!r} in the cache{where} is not the one that this run was fitted with: "
                "it was altered, or built on another machine; delete it and try again, or fit anew"
            )
        self.tables.append({"name": name, "key": key, "sha256": content})
        return found


#: rows of a table that are hashed together
_ROWS = 256


def _content(array: np.ndarray) -> str:
    """sha256 of type, shape and values, wherever they lie."""
    found = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    for start in range(0, len(array), _ROWS):  # of a memory-mapped one only so much is held
        found.update(np.ascontiguousarray(array[start : start + _ROWS]).data)  # copies only what lies otherwise
    return found.hexdigest()
