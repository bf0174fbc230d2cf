"""Pass 2, what the chosen parts ask of the model: `requires` of their classes against `capabilities` of the model.

The model is built for it: on a stand-in for the catalogue before any data is read, as it really is afterwards.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from xrec.config.instantiate import instantiate, resolve
from xrec.config.schema import ConfigError, plain
from xrec.plan import PLAN
from xrec.words import did_you_mean, listed

if TYPE_CHECKING:
    from xrec.types import Catalogue


def check_requires(cfg: Any) -> list[str]:
    """What the chosen parts need and the model cannot do, as far as it is known without data."""
    able = capabilities_of(cfg)
    return [] if able is None else unmet_requires(cfg, able)


def unmet_requires(cfg: Any, able: Collection[str]) -> list[str]:
    """One error for each part of the chosen stages that needs something else than `able`: capabilities, by name (see
    `xrec.models.recommender.Capabilities`)."""
    config = plain(cfg)
    needs = {(group, name): needed for group, name, needed in _needs(config)}
    found = []
    for (group, name), needed in needs.items():
        path = group if name is None else f"{group}.{name}"
        lacking = [n for n in needed if n not in able]
        if strange := [error for n in lacking for error in _strange(path, n)]:
            found += strange
        elif lacking:
            fitting = [str(n) for (g, n), other in needs.items() if g == group and set(other) <= set(able)]
            found.append(_unmet(path, group, lacking, config["model"], able, None if name is None else fitting))
    return found


def capabilities_of(cfg: Any) -> frozenset[str] | None:
    """Names of what the chosen model can do, built on the stand-in; None where it cannot be built on that.

    What is wrong with its config is said by the other checks, and what it says of real data by the real model.
    """
    import torch

    from xrec.memory import within_memory

    config = plain(cfg)
    node = config.get("model")
    try:
        target = resolve(node["_target_"], "model")  # type: ignore[index]
        arguments: dict[str, Any] = {"catalogue": stand_in()}
        if "reconstruction" in inspect.signature(target).parameters:  # of Composed
            arguments["reconstruction"] = instantiate(config["loss"]["reconstruction"])
        with torch.random.fork_rng(devices=[]), within_memory("model", node):  # type: ignore[arg-type]
            return instantiate(node, **arguments).capabilities.names()
    except Exception:  # noqa: BLE001  (a model of any origin may want more than a stand-in)
        return None


def stand_in() -> Catalogue:
    """A catalogue of four items and three users with a field of every kind and two kinds of events."""
    import numpy as np

    from xrec.types import Catalogue, Field

    levels, one = ("(missing)", "(rare)", "a", "b"), np.ones((4, 1), np.float32)
    codes = np.array([[2, 0], [3, 0], [2, 3], [0, 0]], np.int32)
    shares = np.array([[1, 0], [1, 0], [0.5, 0.5], [1, 0]], np.float32)
    items = (
        Field("category", "categorical", levels, codes[:, :1], one),
        Field("genres", "categorical", levels, codes, shares),
        Field("price", "numeric", ("(missing)", "value"), np.array([[1], [1], [1], [0]], np.int32), one),
        Field("title", "text", levels, codes, shares),
    )
    users = (Field("age", "categorical", levels, codes[:3, :1], one[:3]),)
    names = tuple("abcd")
    return Catalogue(names, names, items, names[:3], users, ("view", "purchase"))


def _needs(config: Mapping[str, Any]) -> Iterator[tuple[str, str | None, tuple[str, ...]]]:
    """(group, name of the entry, what its class requires) of every part that the chosen stages build; the name is None
    for groups of one part. Parts that are not there are left to the other checks."""
    chosen = [stage for stage in PLAN if stage.name in (config.get("stages") or ())]
    for group in dict.fromkeys(node for stage in chosen for node in stage.nodes):
        node = config.get(group)
        entries = {None: node} if isinstance(node, Mapping) and "_target_" in node else node
        for name, entry in (entries or {}).items():
            try:
                yield group, name, tuple(getattr(resolve(entry["_target_"]), "requires", ()))
            except (ConfigError, KeyError, TypeError):
                continue


def _strange(path: str, needed: str) -> list[str]:
    from xrec.models.recommender import Capabilities

    known = [f.name for f in fields(Capabilities)]
    if needed in known:
        return []
    return [f"{path}: its class requires {needed!r}, takes {listed(known)}{did_you_mean(needed, known)}"]


def _unmet(
    path: str,
    group: str,
    lacking: list[str],
    model: Mapping[str, Any],
    able: Collection[str],
    fitting: list[str] | None,
) -> str:
    """`fitting`: the chosen entries of the group that fit; None where a group is one part."""
    instead = f"another {group}: {group}=..." if fitting is None else f"leave it out: {group}=[{','.join(fitting)}]"
    called = model.get("name") or model.get("_target_")
    return (
        f"{path} needs {listed(lacking)}, which model={called} does not have (it has {listed(sorted(able))}): "
        f"choose a model that has it, or {instead}"
    )
