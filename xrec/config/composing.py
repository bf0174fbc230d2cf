"""Composes the config for the first pass, collecting what Hydra would report one at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xrec.config.commandline import Groups
from xrec.config.moved import key_hint
from xrec.words import did_you_mean, listed

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

_NO_MATCH = re.compile(r"Could not override '([^']+)'\. ?\n?No match in the defaults list")


@dataclass
class Composer:
    """Composes with choices of groups; a choice that has no place is reported and left out of the next attempt.
    `always`: overrides of Hydra's own that every attempt gets."""

    groups: Groups
    always: tuple[str, ...] = ()
    errors: list[str] = field(default_factory=list)
    _made: dict[tuple[str, ...], DictConfig | None] = field(default_factory=dict)

    def compose(self, overrides: Sequence[Override]) -> DictConfig | None:
        """The config with these choices, without Hydra's own node; None when there is none."""
        from omegaconf import OmegaConf

        texts = tuple(str(o.input_line) for o in overrides)
        if texts not in self._made:
            self._made[texts] = self._attempt(list(overrides))
        config = self._made[texts]
        return None if config is None else OmegaConf.create(OmegaConf.to_container(config))  # type: ignore[return-value]

    def _attempt(self, overrides: list[Override]) -> DictConfig | None:
        from hydra import compose
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        while True:
            try:
                return compose("config", overrides=[*self.always, *(str(o.input_line) for o in overrides)])
            except (HydraException, OmegaConfBaseException, ValueError) as error:
                misplaced = self._misplaced(str(error), overrides)
                if misplaced is None:
                    self._say(" ".join(str(error).split()))
                    return None
                overrides = [o for o in overrides if o is not misplaced]

    def _misplaced(self, message: str, overrides: list[Override]) -> Override | None:
        """The choice whose group is not there with the others, now reported; None when the message says otherwise."""
        match = _NO_MATCH.search(message)
        if match is None:
            return None
        group = match[1].split("@")[0]
        guilty = next((o for o in overrides if o.key_or_group == group), None)
        model = next((o.value() for o in reversed(overrides) if o.key_or_group == "model"), "composed")
        fitting = self.groups.parents_with(group) or self.groups.parents_with("model/attention")
        what = f"{group}=..." if guilty is None else str(guilty.input_line)
        self._say(
            f"{what}: model={model} has no {group}; leave it out, or choose model={' or model='.join(fitting)}"
            + ("" if guilty is not None else f" ({' '.join(message.split())})")
        )
        if guilty is None:  # an overlay asks for it: compose without the overlay, to see what else is wrong
            return next((o for o in overrides if o.key_or_group == "experiment"), None)
        return guilty

    def _say(self, error: str) -> None:
        if error not in self.errors:
            self.errors.append(error)


def apply_value(config: DictConfig, override: Override, groups: Groups) -> str | None:
    """Sets, adds or deletes one value in place, as Hydra would; returns what is wrong with it, if anything."""
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    key, known = override.key_or_group, paths(OmegaConf.to_container(config))
    value = override.value() if not override.is_sweep_override() else None
    if problem := key_error(override, known, groups):
        return problem
    if override.is_sweep_override():
        return None
    try:
        with open_dict(config):
            if override.is_delete():
                parent, _, last = key.rpartition(".")
                del (OmegaConf.select(config, parent) if parent else config)[last]
            else:
                OmegaConf.update(config, key, value, merge=True, force_add=True)
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        return f"{override.input_line}: {' '.join(str(error).split())}"
    return None


def key_error(override: Override, known: Mapping[str, object], groups: Groups) -> str | None:
    """What is wrong with the key of a value override. A `+` key that is new is left to the schema."""
    key, line = override.key_or_group, override.input_line
    if override.package is not None or "/" in key:
        names = groups.names()
        return f"{line}: no group {key}{did_you_mean(key, names)} (groups: {listed(names)})"
    group = key.replace(".", "/")
    if "." in key and groups.has(group) and not isinstance(override.value(), dict) and not override.is_delete():
        wanted = "..." if override.is_sweep_override() else override.value()
        return f"{line}: {group} is a group of options; write {group}={wanted}"
    if override.is_add():
        if key in known and not isinstance(override.value(), dict | list):
            return f"{line}: {key} is there already; leave out the +"
        return None
    if override.is_force_add() or key in known:
        return None
    section, _, _ = key.partition(".")
    entry = ".".join(key.split(".")[:2])
    if section in ("explainer", "fidelity", "baselines") and "." in key and entry not in known:
        chosen = [k.split(".")[1] for k in known if k.count(".") == 1 and k.startswith(f"{section}.")]
        name = entry.partition(".")[2]
        if name in groups.options(section):
            return f"{key}: {section}=[{','.join(chosen)}] does not select {name}"
    names = groups.names()
    if section != key and section not in known and any(n.split("/")[0] == section for n in names):
        return f"{key}: the chosen options bring no {section!r}; leave {key} out, or choose options that do"
    if owners := groups.options_with(section, key.removeprefix(f"{section}.").partition(".")[0]):
        instead = " or ".join(f"{section}={option} {line}" for option in owners)
        return f"{key}: the chosen {section} has no such key; write {instead}"
    suggestions = [*known, *(names if "." not in key else ())]
    return f"{key}: no such key{key_hint(key, suggestions)}{_siblings(key, known)}"


def paths(value: Any, path: str = "") -> dict[str, object]:
    """Every path in a config, sections and list elements included -> what is there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: dict[str, object] = {}
    for key, inner in items:
        here = f"{path}.{key}".lstrip(".")
        found[here] = inner
        found.update(paths(inner, here))
    return found


def _siblings(key: str, known: Mapping[str, object]) -> str:
    """The allowed names beside a mistyped key."""
    parent = key.rpartition(".")[0]
    if parent and parent not in known:
        return ""
    beside = [k for k in known if k.rpartition(".")[0] == parent]
    return f" ({parent or 'the config'} takes {listed(k.rpartition('.')[2] for k in beside)})" if beside else ""
