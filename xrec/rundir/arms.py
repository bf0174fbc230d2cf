"""Runs of one config that differ in nothing but their seeds are one arm; what arms differ in gives them their names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

#: what makes another repetition of the same arm: its training, or the draw or fold of its split
REPEATED = ("seed", "split.seed", "split.fold")
#: what changes no number, or only which numbers there are; where data came from is told by what they are
IRRELEVANT = (
    "threads", "device", "stages", "from_run", "resume", "objectives", "paths", "tracking", "experiment", "sweep",
    "cases.chunk_size", "cases.mask_chunk", "ranking.chunk_size", "training.log_every",
)  # fmt: skip
#: what says of a node which one was chosen; everything else in there follows from the choice
_CHOICE = ("name", "_target_")

#: a config, dotted path -> value
Flat = dict[str, Any]


class Repetition(NamedTuple):
    """One of the runs of an arm: the seed of its training, the seed and the fold of its split (where it has them)."""

    seed: int
    split_seed: int | None = None
    fold: int | None = None

    def words(self, among: Sequence[Repetition]) -> str:
        """'seed 1, fold 2': what tells it from the others."""
        parts = zip(("seed", "split seed", "fold"), self, zip(*among, strict=True), strict=True)
        told = [f"{name} {value}" for name, value, all_values in parts if len(set(all_values)) > 1]
        return ", ".join(told) or f"seed {self.seed}"


def repetition_of(config: Mapping[str, Any]) -> Repetition:
    """Which repetition a run is, by its config."""
    split = config.get("split") or {}
    return Repetition(config.get("seed", 0), split.get("seed"), split.get("fold"))


def repetition_order(repetition: Repetition) -> tuple[int, ...]:
    """Sort key; no seed, no fold come first."""
    return tuple(-1 if value is None else value for value in repetition)


def settings_of(config: Mapping[str, Any]) -> Flat:
    """The settings that tell arms apart, by dotted path."""
    return {path: value for path, value in _flat(config).items() if not _under(path, REPEATED + IRRELEVANT)}


def split_data(settings: Flat) -> tuple[Flat, Flat]:
    """(what data and split are, everything else); of the data no paths, for the same files may lie elsewhere."""
    data = {path: value for path, value in settings.items() if _under(path, ("data", "split"))}
    other = {path: value for path, value in settings.items() if path not in data}
    return {path: value for path, value in data.items() if path.rsplit(".", 1)[-1] != "path"}, other


def canonical(settings: Flat) -> str:
    """Equal for equal settings: 1 and 1.0 are one number."""
    return json.dumps({path: _plain(value) for path, value in settings.items()}, sort_keys=True)


def differing(settings: Sequence[Flat]) -> list[str]:
    """Paths in which the settings differ, sorted; where another thing was chosen, or a thing is missing, the node."""
    paths = _differing_paths(settings)
    chosen = {_node(path) for path in paths if _is_choice(path)}
    missing = {
        ".".join(path.split(".")[:n])
        for path in paths
        for n in range(1, path.count(".") + 1)
        if not all(_has(flat, ".".join(path.split(".")[:n])) for flat in settings)
    }
    nodes = {node for node in chosen | missing if node}
    shown = nodes | {path for path in paths if not _is_choice(path)}
    return sorted(path for path in shown if not _under(path, nodes - {path}))


def arm_names(settings: Sequence[Flat]) -> list[str]:
    """A short name for each of several different settings: the choices and values that tell it from the others.

    Choices go before values and outer ones before inner ones; a key that separates no further arms is left out.
    """
    keys: list[str] = []
    seen: list[tuple[str, ...]] = [()] * len(settings)
    for path in sorted(_differing_paths(settings), key=_name_order):
        finer = [(*before, _words(flat, path)) for before, flat in zip(seen, settings, strict=True)]
        if len(set(finer)) > len(set(seen)):
            keys.append(path)
            seen = finer
    labels = _labels(keys)
    return [", ".join(f"{label}={value}" for label, value in zip(labels, values, strict=True)) for values in seen]


def _differing_paths(settings: Sequence[Flat]) -> list[str]:
    paths = sorted({path for flat in settings for path in flat})
    return [p for p in paths if len({json.dumps(_plain(flat[p])) if p in flat else None for flat in settings}) > 1]


def _name_order(path: str) -> tuple[Any, ...]:
    return (_node(path) if _is_choice(path) else path).count("."), _rank(path), path


def _labels(keys: Sequence[str]) -> list[str]:
    """The last part of each key (of a choice: of its node), the last two where that is not enough."""
    nodes = [(_node(key) or key) if _is_choice(key) else key for key in keys]
    short = [node.rsplit(".", 1)[-1] for node in nodes]
    return [
        name if short.count(name) == 1 else ".".join(node.split(".")[-2:])
        for name, node in zip(short, nodes, strict=True)
    ]


def _words(flat: Flat, path: str) -> str:
    """A value for people: a choice by its name or its module, what is not there as 'none'."""
    value = flat.get(path)
    if path.endswith("_target_") and isinstance(value, str):
        return value.split(".")[-2] if "." in value else value
    return "none" if value is None else value if isinstance(value, str) else json.dumps(_plain(value))


def _rank(path: str) -> int:
    last = path.rsplit(".", 1)[-1]
    return _CHOICE.index(last) if last in _CHOICE else len(_CHOICE)


def _is_choice(path: str) -> bool:
    return _rank(path) < len(_CHOICE)


def _node(path: str) -> str:
    """The mapping that a key stands in."""
    return path.rpartition(".")[0]


def _has(flat: Flat, node: str) -> bool:
    return any(_under(path, (node,)) for path in flat)


def _under(path: str, roots: Sequence[str] | set[str]) -> bool:
    return any(path == root or path.startswith(f"{root}.") for root in roots)


def _flat(value: Any, path: str = "") -> Flat:
    if not isinstance(value, Mapping) or (path and not value):
        return {path: value}
    return {p: v for key, inner in value.items() for p, v in _flat(inner, f"{path}.{key}".lstrip(".")).items()}


def _plain(value: Any) -> Any:
    """Whole numbers as integers, so that 1.0 and 1 are written alike."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [_plain(v) for v in value] if isinstance(value, list) else value
