"""Which `_target_`s may be built: those whose module lies under an allowed root. No heavy imports."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from xrec.words import did_you_mean, listed

#: comma-separated further roots. From the environment only: a saved run's config cannot widen the list.
VARIABLE = "XREC_ALLOWED_TARGETS"

#: of Hydra's magic keys, the two that nodes may use; the others change what is built behind the checks
MAGIC = ("_target_", "_partial_")


def allowed_roots() -> tuple[str, ...]:
    """`xrec`, and what the environment variable XREC_ALLOWED_TARGETS adds."""
    extra = (root.strip() for root in os.environ.get(VARIABLE, "").split(","))
    return ("xrec", *(root for root in extra if root))


def is_under(module: str, roots: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the roots, or lies under one."""
    return any(module == root or module.startswith(f"{root}.") for root in roots)


def nodes(value: object, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, node) of every mapping with a `_target_` in there, however deep, outermost first."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield path, value
        for key, inner in value.items():
            yield from nodes(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from nodes(inner, f"{path}[{i}]")


def magic_keys(value: object, path: str = "") -> Iterator[str]:
    """Paths of the keys that Hydra would act on and that no node may use."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            here = f"{path}.{key}".lstrip(".")
            name = str(key)
            if name.startswith("_") and name.endswith("_") and name not in MAGIC:
                yield here
            yield from magic_keys(inner, here)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from magic_keys(inner, f"{path}[{i}]")


def foreign_targets(value: object, path: str = "") -> list[str]:
    """What can be refused by name alone, without an import: foreign `_target_`s, malformed ones, magic keys."""
    roots = allowed_roots()
    found = []
    for here, node in nodes(value, path):
        target = node["_target_"]
        where = f"{here}._target_".lstrip(".")
        if not isinstance(target, str) or "." not in target:
            found.append(f"{where}: got {target!r}, takes the full import path of a class")
        elif not is_under(target, roots) or any(p.startswith("__") for p in target.split(".")):
            found.append(refusal(where, target, target))
        partial = node.get("_partial_", False)
        if not isinstance(partial, bool):
            found.append(f"{here}._partial_".lstrip(".") + f": got {partial!r}, takes true or false")
    for here in magic_keys(value, path):
        key = here.rsplit(".", 1)[-1]
        hint = did_you_mean(key, MAGIC)
        found.append(f"{here}: key not allowed; of Hydra's own keys a node takes {listed(MAGIC)}{hint}")
    return found


def refusal(where: str, target: str, module: str) -> str:
    """The message about a target outside the allowed roots."""
    what = "" if module == target else f" (which is from {module})"
    return (
        f"{where}: got {target!r}{what}, takes what lies under {listed(allowed_roots())}; "
        f"the environment variable {VARIABLE} allows more"
    )
