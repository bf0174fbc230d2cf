"""What the config leaves to the data is settled once the data is known, each choice said in one line.

After this the config holds nothing that depends on the data any more, and is what is saved: the split at its ends, the
training's windows, the model's parts. `model.auto` says what an option becomes where the data lacks what it needs:

    model:
      auto:
        <name>:
          needs: <one of FACTS>
          otherwise: {<path in the config>: <what is there then>}
          without: [<path in the config that goes then>]
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from xrec.config.instantiate import instantiate
from xrec.config.schema import ConfigError
from xrec.data.interactions import SplitInteractions
from xrec.data.split.settling import node_of
from xrec.training.derived import derived_horizon, derived_monitor, derived_windows
from xrec.types import Field
from xrec.words import did_you_mean, listed, title_of

log = logging.getLogger(__name__)

#: what a data set can have -> in words, where it has it and where not
FACTS = {
    "item_attributes": ("items have attributes", "items have no attributes that tell them apart"),
    "repeats": ("users have items again in training", "no user has an item again in training"),
}


def settle(config: DictConfig, dataset: SplitInteractions) -> None:
    """Put into `config` what it leaves to the data, and say it.

    Raises:
        ConfigError: `model.auto` names a fact that there is none of.
    """
    facts = facts_of(dataset)
    with open_dict(config):
        for line in (*_split(config, dataset), *_training(config, dataset, facts), *_model(config, facts)):
            log.info("%s", line)


def facts_of(dataset: SplitInteractions) -> dict[str, bool]:
    """Which of FACTS hold."""
    return {
        "item_attributes": any(map(_tells_apart, dataset.catalogue.item_fields)),
        "repeats": dataset.card["sizes"]["training_repeat_share"] > 0,
    }


def _tells_apart(field: Field) -> bool:
    """Whether two items differ in it."""
    return bool((field.codes != field.codes[:1]).any() or (field.weights != field.weights[:1]).any())


def _split(config: DictConfig, dataset: SplitInteractions) -> Iterator[str]:
    if instantiate(config.split) == dataset.split:
        return
    config.split = node_of(dataset.split)
    found = dataset.card["split"].get("found")
    if found is None:
        ends = ", ".join(f"{name} to {end}" for name, end in config.data.ends.items() if name != "period")
        found = f"{dataset.split.name}, the cut of this data set; {ends}"
    yield f"split: {found}"


def _training(config: DictConfig, dataset: SplitInteractions, facts: Mapping[str, bool]) -> Iterator[str]:
    training, own = config.training, dataset.own_periods
    unused = ("windows", "horizon") if training.examples != "windows" else ()
    left = [name for name in ("windows", "horizon", "monitor") if training[name] is None and name not in unused]
    if "horizon" in left:
        training.horizon = derived_horizon(dataset, own)
    if "windows" in left:
        training.windows = derived_windows(dataset, own, training.horizon)
    if training.monitor is None:
        training.monitor = derived_monitor(facts["repeats"])
    if left:
        yield "training: " + ", ".join(f"{name} {training[name]}" for name in left)


def _model(config: DictConfig, facts: Mapping[str, bool]) -> Iterator[str]:
    for name, choice in (config.model.pop("auto", None) or {}).items():
        if choice.needs not in facts:
            hint = did_you_mean(choice.needs, facts)
            raise ConfigError([f"model.auto.{name}.needs: got {choice.needs!r}, takes {listed(facts)}{hint}"])
        there = facts[choice.needs]
        if not there:
            for path, node in (choice.get("otherwise") or {}).items():
                OmegaConf.update(config, path, node, merge=False, force_add=True)
            for path in choice.get("without") or ():
                _remove(config, path)
        yield f"{title_of(str(name))}: {_chosen(config, choice, there)} ({FACTS[choice.needs][not there]})"


def _chosen(config: DictConfig, choice: DictConfig, there: bool) -> str:
    """The option that the choice is about, by the module of its class; one that is there or not by that."""
    for path in choice.get("otherwise") or ():
        return str(OmegaConf.select(config, path)["_target_"]).split(".")[-2]
    return "chosen" if there else "left out"


def _remove(config: DictConfig, path: str) -> None:
    parent, _, name = path.rpartition(".")
    node: Any = OmegaConf.select(config, parent) if parent else config
    if isinstance(node, DictConfig):
        node.pop(name, None)
