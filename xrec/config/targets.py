"""Pass 2: imports every chosen `_target_` and binds its signature. Before any data is read, but after torch is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from xrec.config.allowed import foreign_targets, nodes
from xrec.config.instantiate import METADATA, resolve
from xrec.config.schema import ConfigError, plain
from xrec.config.signatures import argument_errors
from xrec.words import listed

#: arguments that the pipeline passes to the node of a section, beside what the config gives
SUPPLIED: Mapping[str, Collection[str]] = {
    "model": ("catalogue",),
    "baselines": ("catalogue",),
}


def check_targets(cfg: Any) -> list[str]:
    """Unknown, missing and mistyped arguments of the chosen options, and targets that are not there or not allowed."""
    config = plain(cfg)
    if found := foreign_targets(config):
        return found
    for path, node in nodes(config):
        try:
            target = resolve(node["_target_"], path)
        except ConfigError as error:
            found += error.errors
            continue
        supplied = None if node.get("_partial_") else SUPPLIED.get(path.split(".")[0], ())
        found += argument_errors(path, target, node, supplied, _metadata(path))
    return found


def check_objectives(cfg: Any) -> list[str]:
    """Removal gains that are asked for where there is nothing to compare with, or no metric to compare by."""
    config = plain(cfg)
    asked = [str(x) for x in config.get("objectives") or () if "_removal_gain" in str(x)]
    if not asked or config.get("from_run") is not None or config.get("resume") is not None:
        return []
    try:
        explainers = {name: resolve(node["_target_"]) for name, node in (config.get("explainer") or {}).items()}
        metrics = [resolve(node["_target_"]) for node in (config.get("fidelity") or {}).values()]
    except ConfigError:  # check_targets says what is wrong with them
        return []
    references = [name for name, explainer in explainers.items() if getattr(explainer, "reference", False)]
    found = []
    if not references:
        found.append("a control to compare with: add random to explainer=[...]")
    if not any(metric.name == "deletion" for family in metrics for metric in getattr(family, "metrics", ())):
        found.append("the metric deletion: add score to fidelity=[...]")
    own = [x for x in asked if x.partition("_removal_gain_")[2] in references]
    if own and not found:
        found.append(f"another explainer than {listed(references)}, which is what the others are compared with")
        asked = own
    return [f"objectives: {listed(asked)} needs {reason}" for reason in found]


def _metadata(path: str) -> tuple[str, ...]:
    """The keys that describe the node at this path and are no arguments: `name` of models."""
    section, _, rest = path.partition(".")
    return METADATA if path == "model" or (section == "baselines" and "." not in rest) else ()
