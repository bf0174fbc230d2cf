"""The words the schema is written in: rules for values, sections for mappings, nodes that hold a `_target_`.

Each has `errors(path, value)`, which says everything that is wrong with the value at that path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from xrec.config.moved import key_hint
from xrec.words import did_you_mean, listed


class Check(Protocol):
    """What a schema is made of. An optional one may be left out."""

    @property
    def optional(self) -> bool: ...

    @property
    def takes(self) -> str: ...

    def errors(self, path: str, value: object) -> list[str]: ...


def shown(value: object) -> str:
    """A value as people wrote it in the config."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return repr(value)


@dataclass(frozen=True)
class Rule:
    """One value. `takes` says in words what `accepts` tests; `words` are the allowed words, for the spelling help."""

    takes: str
    accepts: Callable[[object], bool]
    words: tuple[str, ...] = ()
    optional: bool = False

    def errors(self, path: str, value: object) -> list[str]:
        if self.accepts(value):
            return []
        hint = did_you_mean(value, self.words) if isinstance(value, str) else ""
        return [f"{path}: got {shown(value)}, takes {self.takes}{hint}"]


@dataclass(frozen=True)
class OrNull:
    """null, or what `check` takes."""

    check: Check
    optional: bool = False

    @property
    def takes(self) -> str:
        return f"{self.check.takes}, or null"

    def errors(self, path: str, value: object) -> list[str]:
        return [] if value is None else self.check.errors(path, value)


@dataclass(frozen=True)
class ListOf:
    """A list without repetitions; every element follows the rule."""

    rule: Rule
    may_be_empty: bool = False
    optional: bool = False

    @property
    def takes(self) -> str:
        return f"a list of {self.rule.takes}"

    def errors(self, path: str, value: object) -> list[str]:
        if not isinstance(value, list):
            return [f"{path}: got {shown(value)}, takes {self.takes}"]
        if not value and not self.may_be_empty:
            return [f"{path}: got [], takes {self.takes}, at least one"]
        repeated = [x for i, x in enumerate(value) if x in value[:i]]
        found = [e for i, x in enumerate(value) for e in self.rule.errors(f"{path}[{i}]", x)]
        return found + [f"{path}: got {shown(value)}: {shown(x)} is there twice" for x in repeated]


@dataclass(frozen=True)
class MapOf:
    """A mapping from names (any, or one of `names`) to values that follow the rule."""

    rule: Rule
    names: tuple[str, ...] | None = None
    optional: bool = False

    @property
    def takes(self) -> str:
        keys = "names" if self.names is None else listed(self.names)
        return f"a mapping from {keys} to {self.rule.takes}"

    def errors(self, path: str, value: object) -> list[str]:
        if not isinstance(value, Mapping):
            return [f"{path}: got {shown(value)}, takes {self.takes}"]
        found = []
        for name, element in value.items():
            if key_hint(f"{path}.{name}", ()) or (self.names is not None and name not in self.names):
                found.append(unknown(path, str(name), self.names or ("any other name",)))
            else:
                found += self.rule.errors(f"{path}.{name}", element)
        return found


@dataclass(frozen=True)
class Section:
    """A mapping with these keys and no others; `others`, when given, says what further keys may hold."""

    keys: Mapping[str, Check]
    others: Check | None = None
    optional: bool = False
    takes: str = "a section of the config"

    def errors(self, path: str, value: object) -> list[str]:
        if not isinstance(value, Mapping):
            return [f"{path}: got {shown(value)}, takes a section with {listed(self.keys)}"]
        found = []
        for name, element in value.items():
            inner = f"{path}.{name}".lstrip(".")
            if name in self.keys:
                found += self.keys[name].errors(inner, element)
            elif self.others is None or not (isinstance(element, Mapping) and "_target_" in element):
                found.append(unknown(path, str(name), self.keys))
        missing = [n for n, check in self.keys.items() if not check.optional and n not in value]
        return found + [f"{path}.{n}".lstrip(".") + f" is missing; it takes {self.keys[n].takes}" for n in missing]


@dataclass(frozen=True)
class Node:
    """A mapping with `_target_`: its arguments are checked in the second pass, but for the `metadata` keys."""

    group: str
    metadata: Mapping[str, Check] = field(default_factory=dict)
    optional: bool = False

    @property
    def takes(self) -> str:
        return f"an option of {self.group}"

    def errors(self, path: str, value: object) -> list[str]:
        if not isinstance(value, Mapping):
            return [f"{path}: got {shown(value)}, takes {self.takes}: write {self.group}=..."]
        if not isinstance(value.get("_target_"), str):
            return [f"{path} has no _target_; choose {self.takes}: write {self.group}=..."]
        return Section(self.metadata).errors(path, {k: value[k] for k in self.metadata if k in value})


@dataclass(frozen=True)
class Entries:
    """Named nodes, one per chosen option of a multi-select group. An entry without `_target_` is a ghost."""

    group: str
    metadata: Mapping[str, Check] = field(default_factory=dict)
    optional: bool = True

    @property
    def takes(self) -> str:
        return f"options of {self.group}"

    def errors(self, path: str, value: object) -> list[str]:
        if not isinstance(value, Mapping):
            return [f"{path}: got {shown(value)}, takes {self.takes}: write {self.group}=[...]"]
        chosen = [str(n) for n, entry in value.items() if isinstance(entry, Mapping) and entry.get("_target_")]
        found = []
        for name, entry in value.items():
            if not isinstance(entry, Mapping) or entry.get("_target_") is None:
                found.append(
                    f"{path}.{name} has no _target_: it is set by an overlay but "
                    f"{self.group}=[{','.join(chosen)}] does not select it{did_you_mean(str(name), chosen)}"
                )
            else:
                found += Node(self.group, self.metadata).errors(f"{path}.{name}", entry)
        return found


def unknown(path: str, name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """The message about a key that is not in a section."""
    here = f"{path}.{name}".lstrip(".")
    paths = [f"{path}.{k}".lstrip(".") for k in known]
    return f"{here}: unknown key{key_hint(here, paths)} ({path or 'the config'} takes {listed(known)})"


def whole(low: int, high: int | None = None, why: str = "") -> Rule:
    """A whole number from `low` to `high`; `why` these bounds, in words."""
    takes = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    takes += f" ({why})" if why else ""
    top = math.inf if high is None else high
    return Rule(takes, lambda x: isinstance(x, int) and not isinstance(x, bool) and low <= x <= top)


def number(low: float, high: float | None = None, open_low: bool = False) -> Rule:
    """A finite number from `low` (or, with `open_low`, above it) to `high`."""
    bottom = f"above {low:g}" if open_low else f"of at least {low:g}"
    takes = f"a number {bottom}" + ("" if high is None else f", at most {high:g}")
    top = math.inf if high is None else high

    def accepts(x: object) -> bool:
        if isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x):
            return False
        return (low < x if open_low else low <= x) and x <= top

    return Rule(takes, accepts)


def flag() -> Rule:
    """true or false."""
    return Rule("true or false", lambda x: isinstance(x, bool), ("true", "false"))


def text(takes: str, pattern: str = r"(?s).+") -> Rule:
    """Text that matches `pattern` as a whole; `takes` says it in words."""
    return Rule(takes, lambda x: isinstance(x, str) and re.fullmatch(pattern, x) is not None)


def choice(*words: str) -> Rule:
    """One of these words."""
    return Rule("one of " + listed(words), lambda x: isinstance(x, str) and x in words, words)


def nullable(rule: Rule) -> Rule:
    """The same, or null."""
    return Rule(f"{rule.takes}, or null", lambda x: x is None or rule.accepts(x), rule.words)
