"""Many short texts as two arrays, so that opening a cache does not decode a million names that nobody asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np

#: characters of a name that are kept
LONGEST_NAME = 120


def short(name: str) -> str:
    """`name`, cut with an ellipsis if it is longer than a name that is read."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


class Texts(Sequence[str]):
    """A tuple of texts that is decoded when the first of them is asked for.

    Args:
        ends: [n] where each text ends in `data`, in bytes. data: UTF-8, one after the other.
    """

    def __init__(self, ends: np.ndarray, data: np.ndarray) -> None:
        self._ends, self._data = ends, data
        self._decoded: tuple[str, ...] | None = None

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        encoded = [t.encode(errors="surrogatepass") for t in texts]
        ends = np.cumsum([len(t) for t in encoded], dtype=np.int64)
        return cls(ends, np.frombuffer(b"".join(encoded), dtype=np.uint8))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """What to store, by name."""
        return {f"{name}_ends": self._ends, f"{name}_text": self._data}

    @classmethod
    def stored(cls, arrays: dict[str, np.ndarray], name: str) -> Texts:
        """What `arrays` stored."""
        return cls(arrays[f"{name}_ends"], arrays[f"{name}_text"])

    def _all(self) -> tuple[str, ...]:
        if self._decoded is None:
            whole, start, texts = self._data.tobytes(), 0, []
            for end in self._ends.tolist():
                texts.append(whole[start:end].decode(errors="surrogatepass"))
                start = end
            self._decoded = tuple(texts)
        return self._decoded

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return self._all() == tuple(other)

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return f"Texts({', '.join(map(repr, self[:3]))}{', ...' if len(self) > 3 else ''})"
