"""A split that must see the events is settled on one reading of them, which its arrays are then made from.

Imports no polars: a start from the cache does not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xrec.data.cache import ArrayCache

if TYPE_CHECKING:
    from xrec.data.clean import Cleaning
    from xrec.data.make import Cleaned


class Reading:
    """The clean events of a source, read when they are first asked for and let go when arrays are made of them."""

    def __init__(self, source: Any, cleaning: Cleaning) -> None:
        self._source, self._cleaning = source, cleaning
        self._read: Cleaned | None = None

    @property
    def name(self) -> str:
        return self._source.name

    def look(self, split: Any) -> dict[str, Any]:
        """What the split finds in them."""
        self._read = self._clean(split)
        return split.look(self._read.events, self._read.kinds.n_targets, self._read.own_counter)

    def arrays(self, split: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See `make_arrays`."""
        from xrec.data.make import make_arrays

        read, self._read = self._clean(split), None
        return make_arrays(read, split, self._cleaning)

    def _clean(self, split: Any) -> Cleaned:
        from xrec.data.make import clean_events

        return self._read if self._read is not None else clean_events(self._source, self._cleaning, split)


def settle(split: Any, cache: ArrayCache, key: dict[str, Any], reading: Reading) -> tuple[Any, str]:
    """The split as it is to be used, and in words what it found in the events; "" where it had not to look. What it
    found is kept in the cache beside what `key` stands for.

    Raises:
        DataError: events that cannot be read, or that it cannot split.
    """
    if not hasattr(split, "at_once"):
        return split, ""
    known = split.at_once()
    if known is not None:
        return known, ""
    name = f"split-{reading.name}"
    _, found = cache.folder(name, {**key, "split": split.key()}, lambda: ({}, reading.look(split)))
    return split.settle(found), found["words"]
