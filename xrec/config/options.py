"""Single options of `conf/` by name, without composing a config: what Python callers choose from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from xrec.config.commandline import Groups
from xrec.config.instantiate import instantiate, resolve
from xrec.config.schema import ConfigError
from xrec.config.signatures import argument_errors
from xrec.errors import SettingError
from xrec.words import did_you_mean, listed


def conf_dir() -> Path:
    """The options that come with xrec: inside an installed package, beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return next(p for p in (package / "conf", package.parent / "conf") if p.is_dir())


def names(group: str, own: Mapping[str, Any] | None = None) -> list[str]:
    """The options of a group, those of `own` (a saved run's config of that group) included."""
    return sorted({*Groups((conf_dir(),)).options(group), *(own or {})})


def node_of(group: str, name: str, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What an option holds; `own` first.

    Raises:
        SettingError: there is none of that name.
    """
    if own and name in own:
        return dict(own[name])
    if name not in (known := names(group, own)):
        raise SettingError(f"{group}: got {name!r}, takes {listed(known)}{did_you_mean(name, known)}")
    return yaml.safe_load((conf_dir() / group / f"{name}.yaml").read_text(encoding="utf-8"))


def built(path: str, node: Mapping[str, Any]) -> Any:
    """What a node describes, its arguments checked first.

    Raises:
        SettingError: every unknown, missing or mistyped argument; a target that is not allowed.
    """
    try:
        errors = argument_errors(path, resolve(node["_target_"], path), node, ())
    except ConfigError as error:
        errors = error.errors
    if errors:
        raise SettingError("; ".join(errors))
    return instantiate(node)
