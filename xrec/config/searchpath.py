"""Where options come from: conf/, and the folders and packages that `hydra.searchpath` adds. No heavy imports."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

KEY = "hydra.searchpath"
_TAKES = "takes a list of folders (file:///path/to/conf) and packages (pkg://mine.conf)"


def search_roots(overrides: Sequence[Override], conf: Path) -> tuple[list[Path], list[str]]:
    """`conf` and the folders that the overrides add to it, in the order Hydra searches them; and what is wrong with
    others, or with options that would never be found."""
    roots, errors = [conf], []
    override = next((o for o in overrides if o.key_or_group == KEY and not o.is_delete()), None)
    if override is None:
        return roots, errors
    value = override.value()
    if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
        return roots, [f"{override.input_line}: {_TAKES}"]
    for path in value:
        folder, why = _folder(path)
        if folder is None:
            errors.append(f"{KEY}: got {path!r}, {why}; {_TAKES}")
        else:
            errors += _hidden(folder, roots)
            roots.append(folder)
    return roots, errors


def _folder(path: str) -> tuple[Path | None, str]:
    """The folder that an element of the search path names, or None and why there is none."""
    scheme, _, rest = path.rpartition("://")
    if scheme in ("", "file"):
        return (Path(rest).absolute(), "") if Path(rest).is_dir() else (None, "which is no directory")
    if scheme != "pkg":
        return None, f"of the unknown scheme {scheme}"
    try:
        spec = importlib.util.find_spec(rest.replace("/", ".").strip("."))
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        return None, "which is no package with an __init__.py that can be imported (see PYTHONPATH)"
    return Path(next(iter(spec.submodule_search_locations))), ""


def _hidden(folder: Path, before: Sequence[Path]) -> list[str]:
    """Options that Hydra would never read, since a folder before has one of the same name."""
    return [
        f"{KEY}: {folder / path.relative_to(root)} is hidden by {path}: give it another name"
        for root in before
        for path in sorted(root.glob("*/**/*.yaml"))
        if (folder / path.relative_to(root)).is_file()
    ]
