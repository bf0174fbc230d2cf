"""Binds a node's arguments to the signature of its target: unknown, missing and mistyped arguments."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from xrec.config.allowed import MAGIC, allowed_roots, is_under
from xrec.config.moved import key_hint
from xrec.config.rules import shown
from xrec.words import did_you_mean, listed

_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_WORDS |= {type(None): "null", Path: "a path"}
_LISTS = (list, tuple, set, frozenset, Sequence, Collection, Iterable)


def argument_errors(
    path: str,
    target: Callable[..., Any],
    node: Mapping[str, Any],
    supplied: Collection[str] | None,
    metadata: Collection[str] = (),
) -> list[str]:
    """What is wrong with the arguments in `node`, each error naming `path.argument`.

    supplied: arguments the code passes, so that they may be missing; None: the code passes whatever is missing.
    metadata: keys of the node that are no arguments.
    """
    parameters = _parameters(target)
    if parameters is None:
        return []
    given = {k: v for k, v in node.items() if k not in metadata and k not in MAGIC}
    names = [n for n, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY)]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    found = []
    hints = _hints(target)
    for key, value in given.items():
        if key in names:
            found += _typed(f"{path}.{key}", value, hints.get(key, Any))
        elif not open_ended:
            hint = key_hint(f"{path}.{key}", ()) or did_you_mean(key, names)
            takes = f"({target.__name__} takes {listed(n for n in names if n not in (supplied or ()))})"
            found.append(f"{path}.{key}: unknown argument{hint} {takes}")
    if supplied is not None:
        needed = [n for n in names if parameters[n].default is inspect.Parameter.empty]
        missing = [n for n in needed if n not in given and n not in supplied]
        found += [f"{path}.{n} is missing: {node['_target_']} takes {describe(hints.get(n, Any))}" for n in missing]
    return found


def matches(value: object, hint: Any) -> bool:
    """Whether a config value fits an annotation (an int is a float, a bool is no int; a node fits any class)."""
    if hint is Any or isinstance(hint, typing.TypeVar):
        return True
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        return matches(value, arguments[0])
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, a) for a in arguments)
    if origin is Literal:
        return any(value == a and type(value) is type(a) for a in arguments)
    if isinstance(value, Mapping) and "_target_" in value:  # what it is shows when it is built
        return hint not in _WORDS
    if hint in _WORDS:
        return _is_scalar(value, hint)
    if (origin or hint) in _LISTS:
        elements = [a for a in arguments if a is not Ellipsis]
        fixed = origin is tuple and Ellipsis not in arguments
        if not isinstance(value, list | tuple) or (fixed and len(value) != len(elements)):
            return False
        return all(matches(x, a) for x, a in _paired(value, elements, fixed))
    if isinstance(origin or hint, type) and issubclass(origin or hint, Mapping):
        element = arguments[1] if len(arguments) == 2 else Any
        return isinstance(value, Mapping) and all(matches(v, element) for v in value.values())
    return not _is_built(hint)


#: what people write for "no tracking"
_OFF = ("none", "off", "disabled", "no", False, None)


def describe(hint: Any) -> str:
    """What an annotation takes, in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if origin is Literal:
        return f"one of {listed(map(str, arguments))}" if len(arguments) > 1 else listed(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(a) for a in arguments)
    if (origin or hint) in _LISTS:
        return " of ".join(["a list", *(describe(a) for a in arguments[:1])])
    if isinstance(origin or hint, type) and issubclass(origin or hint, Mapping):
        return "a mapping"
    return "an option of its group (group=option)" if _is_built(hint) else getattr(hint, "__name__", str(hint))


def _typed(path: str, value: object, hint: Any) -> list[str]:
    if matches(value, hint):
        return []
    words = [a for inner in (hint, *get_args(hint)) if get_origin(inner) is Literal for a in get_args(inner)]
    help_ = did_you_mean(value, map(str, words)) if isinstance(value, str) else ""
    if path == "tracking.mode" and value in _OFF:
        help_ = "; no tracking at all is tracking=none"
    return [f"{path}: got {shown(value)}, takes {describe(hint)}{help_}"]


def _is_scalar(value: object, hint: type) -> bool:
    if hint is Path:
        return isinstance(value, str)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float) if hint is float else isinstance(value, hint)


def _is_built(hint: Any) -> bool:
    """An object of ours, or a factory of one: only a node with `_target_` can give it."""
    origin = get_origin(hint) or hint
    return origin is Callable or (isinstance(origin, type) and is_under(origin.__module__, allowed_roots()))


def _paired(values: Sequence[object], elements: list[Any], fixed: bool) -> list[tuple[object, Any]]:
    if fixed:
        return list(zip(values, elements, strict=True))
    return [(v, elements[0] if elements else Any) for v in values]


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):  # no signature to be had: the constructor will speak for itself
        return None


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError, AttributeError):  # annotations that exist for the type checker only
        return {}
