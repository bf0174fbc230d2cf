"""The one way from a config node to an object. What is built is checked first, on the resolved objects."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from xrec.config.allowed import allowed_roots, foreign_targets, is_under, nodes, refusal
from xrec.config.moved import target_hint
from xrec.config.schema import ConfigError
from xrec.words import did_you_mean

#: keys beside `_target_` that describe an option and are no arguments
METADATA = ("name", "auto")


def instantiate(node: Any, **kwargs: Any) -> Any:
    """The object that `node` describes; nested nodes are built too, and `kwargs` win over the node's arguments.

    A node with `_partial_: true` gives a factory. The keys of METADATA are not passed on.
    kwargs reach the constructor as they are: Hydra, which would turn dataclasses into configs, does not see them.

    Raises:
        ConfigError: no `_target_`, or one (nested ones included) outside the allowed roots, or one that is not there.
        Whatever a constructor raises.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    plain = _plain(node)
    if not isinstance(plain, Mapping) or "_target_" not in plain:
        raise ConfigError([f"instantiate: got {plain!r}, takes a node with _target_"])
    if errors := target_errors(plain):
        raise ConfigError(errors)
    arguments = {k: v for k, v in plain.items() if k not in METADATA}
    try:
        factory = hydra_instantiate({**arguments, "_partial_": True}, _convert_="all")
    except InstantiationException as error:  # a nested constructor's own error says more
        if error.__cause__ is None:
            raise
        raise error.__cause__ from error
    return functools.partial(factory, **kwargs) if plain.get("_partial_") else factory(**kwargs)


def target_errors(value: object, path: str = "") -> list[str]:
    """What is wrong with the `_target_`s in there: by name first, and only if that is clean by importing them."""
    found = foreign_targets(value, path)
    if found:
        return found
    for here, node in nodes(value, path):
        try:
            resolve(node["_target_"], here)
        except ConfigError as error:
            found += error.errors
    return found


def resolve(target: str, path: str = "") -> Callable[..., Any]:
    """The class or function that `target` names.

    Raises:
        ConfigError: there is none, or the object comes from a module outside the allowed roots, by whatever name it is
            reached (`xrec.some.module.os.system` is `posix.system`).
    """
    where = f"{path}._target_".lstrip(".")
    if not is_under(target, allowed_roots()):
        raise ConfigError([refusal(where, target, target)])
    try:
        found = _locate(target)
    except Exception as error:
        why = _reason(target, error) + target_hint(target)
        raise ConfigError([f"{where}: cannot import {target!r}: {why}"]) from error
    module = getattr(found, "__module__", None)
    if not (inspect.isclass(found) or inspect.isroutine(found)) or not isinstance(module, str):
        raise ConfigError([f"{where}: got {target!r}, a {type(found).__name__}; takes a class or a function"])
    if not is_under(module, allowed_roots()):
        raise ConfigError([refusal(where, target, module)])
    return found


def _locate(target: str) -> Any:
    """The object of that name, by the steps Hydra takes: attributes first, else submodules. Logs nothing."""
    first, *rest = target.split(".")
    found, name = importlib.import_module(first), first
    for part in rest:
        name = f"{name}.{part}"
        if not hasattr(found, part) and inspect.ismodule(found):
            importlib.import_module(name)
        found = getattr(found, part)
    return found


def _reason(target: str, error: Exception) -> str:
    """What failed, and the class that was meant, when its module can be had."""
    module, _, name = target.rpartition(".")
    loaded = sys.modules.get(module)
    known = [] if loaded is None else [n for n, v in vars(loaded).items() if getattr(v, "__module__", None) == module]
    if known:
        return f"{module} has no {name!r}{did_you_mean(name, known)}"
    return " ".join(str(error).split()) or type(error).__name__


def _plain(node: Any) -> Any:
    from omegaconf import DictConfig, ListConfig, OmegaConf

    return OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node
