"""Pass 2, what the chosen options ask of the model: `requires` of their classes against `capabilities` of the model.

The model is built for it: on a stand-in for the catalogue before any data is read, as it really is afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from xrec.config.instantiate import instantiate, resolve
from xrec.config.schema import ConfigError, plain
from xrec.plan import PLAN
from xrec.words import did_you_mean, listed

if TYPE_CHECKING:
    from xrec.types import Catalogue


@dataclass(frozen=True)
class _Option:
    """One chosen option: its group, its name among others of the group (None: the group takes one), its class."""

    group: str
    name: str | None
    built: Callable[..., Any]

    @property
    def path(self) -> str:
        return f"{self.group}={_called(self.built)}" if self.name is None else f"{self.group}.{self.name}"

    @property
    def requires(self) -> tuple[str, ...]:
        return tuple(getattr(self.built, "requires", ()))


def check_requires(cfg: Any) -> list[str]:
    """What the chosen options need and the model cannot do, as far as it is known without data."""
    able = capabilities_of(cfg)
    return [] if able is None else unmet_requires(cfg, able)


def unmet_requires(cfg: Any, able: AbstractSet[str]) -> list[str]:
    """One error for each option of the chosen stages that needs something else than `able`: what the model can do, by
    name (see `xrec.models.recommender.Capabilities`)."""
    from xrec.models.recommender import OF_SUMS

    config = plain(cfg)
    options = list(_options(config))
    model = f"model={config['model'].get('name') or config['model'].get('_target_')}"
    trained = ((config.get("loss") or {}).get("reconstruction") or {}).get("_target_")
    found = []
    if "likelihood" in able and trained and not getattr(resolve(trained), "of_logits", True):
        loss = trained.rpartition(".")[2]
        model, able = f"{model} trained by {loss}", able - {"likelihood"}
        combination = config["model"].get("combination")
        if combination in ("mixture", "probabilities"):
            found.append(
                f"model.combination={combination} adds to exp of the scores, and {loss} makes no logits of them; use "
                "loss/reconstruction=multinomial, or model.combination=sum"
            )
    game, of_game = model, able
    for output in (option.built for option in options if option.group == "output"):
        if not getattr(output, "linear", True):
            game, of_game = f"{model} with output {_called(output)}", able - OF_SUMS
    for option in options:
        whose, has = (model, able) if option.name is None else (game, of_game)
        if lacking := [name for name in option.requires if name not in has]:
            fitting = [p.name for p in options if p.group == option.group and p.name and set(p.requires) <= has]
            found += _strange(option, lacking) or [_unmet(option, lacking, whose, has, fitting)]
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
        with torch.random.fork_rng(devices=[]), within_memory("model", node):  # type: ignore[arg-type]
            return instantiate(node, catalogue=stand_in()).capabilities.names()
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


def _options(config: Mapping[str, Any]) -> Iterator[_Option]:
    """Every option that the chosen stages build. Those that are not there are left to the other checks."""
    chosen = [stage for stage in PLAN if stage.name in (config.get("stages") or ())]
    for group in dict.fromkeys(node for stage in chosen for node in stage.nodes):
        node = config.get(group)
        entries = {None: node} if isinstance(node, Mapping) and "_target_" in node else node
        for name, entry in (entries or {}).items():
            try:
                yield _Option(group, name, resolve(entry["_target_"]))
            except (ConfigError, KeyError, TypeError):
                continue


def _strange(option: _Option, lacking: list[str]) -> list[str]:
    """Of capabilities that there are not."""
    from xrec.models.recommender import Capabilities

    known = [f.name for f in fields(Capabilities)]
    return [
        f"{option.path}: its class requires {name!r}, takes {listed(known)}{did_you_mean(name, known)}"
        for name in lacking
        if name not in known
    ]


def _unmet(option: _Option, lacking: list[str], whose: str, has: AbstractSet[str], fitting: list[str]) -> str:
    """`fitting`: the chosen entries of its group that fit."""
    group = option.group
    instead = f"leave it out: {group}=[{','.join(fitting)}]" if option.name else f"another {group}: {group}=..."
    return (
        f"{option.path} needs {listed(lacking)}, which {whose} does not have (it has {listed(sorted(has))}): "
        f"choose a model that has it, or {instead}"
    )


def _called(built: Callable[..., Any]) -> str:
    return str(getattr(built, "name", getattr(built, "__name__", built)))
