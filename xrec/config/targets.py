"""Pass 2: imports every chosen `_target_` and binds its signature. Before any data is read, but after torch is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from xrec.config.allowed import foreign_targets, nodes
from xrec.config.instantiate import METADATA, resolve
from xrec.config.rules import shown
from xrec.config.schema import CAPABILITIES, ConfigError, plain
from xrec.config.signatures import argument_errors
from xrec.words import did_you_mean, listed

#: arguments that the pipeline passes to the node of a section, beside what the config gives
SUPPLIED: Mapping[str, Collection[str]] = {
    "model": ("catalogue", "reconstruction"),
    "baselines": ("catalogue", "reconstruction"),
}


def check_targets(cfg: Any) -> list[str]:
    """Unknown, missing and mistyped arguments of the chosen parts, and targets that are not there or not allowed."""
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


def check_requires(cfg: Any) -> list[str]:
    """Explainers, masker and output that need what the model cannot do, when the stage `explain` is asked for. Reads no
    data: what a part needs is its class's `requires`."""
    config = plain(cfg)
    explainers, model = config.get("explainer"), config.get("model")
    if "explain" not in (config.get("stages") or ()) or not isinstance(explainers, Mapping):
        return []
    try:
        able = capabilities_of(config)
        needs = {str(name): _requires(node) for name, node in explainers.items()}
        parts = {name: resolve(node["_target_"]) for name in ("masker", "output") if (node := config.get(name))}
    except (ConfigError, KeyError):  # check_targets says what is wrong with the model, or a part
        return []
    assert isinstance(model, Mapping)
    model_name, composed = str(model.get("name", model["_target_"])), "item_encoder" in model
    found = [
        f"{name} {getattr(part, 'name', part)} needs {listed(lacking)}, which model={model_name} does not have (it has "
        f"{listed(sorted(able))}): choose another {name}"
        for name, part in parts.items()
        if (lacking := [n for n in getattr(part, "requires", ()) if n not in able])
    ]
    if (output := parts.get("output")) is not None and not getattr(output, "linear", True):
        model_name += f" with output {getattr(output, 'name', output)}"
        able -= {"additive", "components"}  # summands of scores are none of such a value
    fitting = [name for name, needed in needs.items() if able.issuperset(needed)]
    for name, needed in needs.items():
        lacking = [n for n in needed if n not in able]
        if lacking:
            found.append(_unmet(name, lacking, model_name, able, fitting, composed))
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


def capabilities_of(cfg: Any) -> set[str]:
    """What the composed model will be able to do: names of `xrec.models.recommender.Capabilities`.

    A class says it by a class attribute `capabilities`; one without (Composed) is what its parts in the config make it.

    Raises:
        ConfigError: there is no model, or its target is not there.
    """
    config = plain(cfg)
    node = config.get("model")
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise ConfigError(["model has no _target_"])
    target = resolve(node["_target_"], "model")
    declared = getattr(target, "capabilities", None)
    if declared is not None:
        return {name for name in CAPABILITIES if getattr(declared, name, False)}
    attention = node.get("attention") is not None  # a composed model can what its parts can
    additive = attention or _on(node, "linear_path") or _on(node, "repeat_features")
    there = {"attention": attention, "additive": additive}
    return {"gradients", "fractional_presence", "likelihood", "trainable", *(n for n, on in there.items() if on)}


def _requires(node: Mapping[str, Any]) -> list[str]:
    return [str(name) for name in getattr(resolve(node["_target_"]), "requires", ())]


def _on(node: Mapping[str, Any], part: str) -> bool:
    return bool(node.get(part, True))  # as in Composed, these parts are there unless switched off


def _metadata(path: str) -> tuple[str, ...]:
    """The keys that describe the node at this path: `name` of models."""
    parts = path.split(".")
    return METADATA if path == "model" or (parts[0] == "baselines" and len(parts) == 2) else ()


def _unmet(name: str, lacking: list[str], model: str, able: set[str], fitting: Iterable[str], composed: bool) -> str:
    strange = [n for n in lacking if n not in CAPABILITIES]
    if strange:
        return f"explainer.{name}: its class requires {shown(strange)}, known are {listed(CAPABILITIES)}" + "".join(
            did_you_mean(n, CAPABILITIES) for n in strange
        )
    part = "choose model/attention=..., or " if composed and "attention" in lacking else ""
    if not composed and "attention" in lacking:
        part = "choose model=composed with model/attention=..., or "
    return (
        f"explainer.{name} needs {listed(lacking)}, which model={model} does not have (it has {listed(sorted(able))}): "
        f"{part}leave it out: explainer=[{','.join(fitting)}]"
    )
