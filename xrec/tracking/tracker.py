"""What a tracker is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    def check(self) -> None:
        """Before anything else, without network: raises `SettingError` when `start` could only fail."""
        ...

    def start(
        self, directory: Path, config: Mapping[str, Any], name: str, group: str | None, job_type: str
    ) -> None: ...
    def log(self, row: Mapping[str, float]) -> None:
        """Scalars of one step; the key 'step' says which."""
        ...

    def summary(self, values: Mapping[str, float]) -> None:
        """Numbers of the whole run, by name."""
        ...

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None: ...
    def image(self, name: str, png: Callable[[], bytes]) -> None:
        """A drawing; `png` makes it, where it is kept."""
        ...

    def artifact(self, name: str, kind: str, files: Sequence[Path]) -> None: ...
    def finish(self, failed: bool = False) -> None: ...


class NoTracker:
    """Tracks nothing; the run directory is complete without it."""

    def check(self) -> None:
        pass

    def start(self, directory: Path, config: Mapping[str, Any], name: str, group: str | None, job_type: str) -> None:
        pass

    def log(self, row: Mapping[str, float]) -> None:
        pass

    def summary(self, values: Mapping[str, float]) -> None:
        pass

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        pass

    def image(self, name: str, png: Callable[[], bytes]) -> None:
        pass

    def artifact(self, name: str, kind: str, files: Sequence[Path]) -> None:
        pass

    def finish(self, failed: bool = False) -> None:
        pass
