"""What the command line asks for: Hydra's flags, overrides, and the single configs that a multirun stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xrec.words import did_you_mean, listed

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

#: Hydra's flags that show something, or read another config: what follows is Hydra's alone
_HANDS_OFF = (
    "--help", "--hydra-help", "--version", "--cfg", "--info", "--shell-completion", "--config-path", "--config-name",
    "--config-dir", "--experimental-rerun",
)  # fmt: skip
_HANDS_OFF_SHORT = ("-h", "-c", "-i", "-sc", "-cp", "-cn", "-cd")
_MULTIRUN = ("-m", "--multirun")
_VALUED = ("-p", "--package")


@dataclass(frozen=True)
class CommandLine:
    """argv taken apart. `texts`: the overrides as written."""

    multirun: bool
    texts: tuple[str, ...]


def read(argv: Sequence[str]) -> CommandLine | None:
    """The overrides in argv, or None when a flag makes this Hydra's own affair (--help, --cfg, ...)."""
    multirun, texts, skip = False, [], False
    for argument in argv:
        if skip:
            skip = False
        elif not argument.startswith("-"):
            texts.append(argument)
            multirun |= argument == "hydra.mode=MULTIRUN"
        elif _is_hands_off(argument):
            return None
        else:
            multirun |= argument in _MULTIRUN or (len(argument) > 3 and _MULTIRUN[1].startswith(argument))
            skip = argument in _VALUED
    return CommandLine(multirun, tuple(texts))


def _is_hands_off(argument: str) -> bool:
    name = argument.split("=", 1)[0]
    if name.startswith("--"):  # argparse takes every unambiguous beginning
        return len(name) > 2 and any(flag.startswith(name) for flag in _HANDS_OFF)
    return name in _HANDS_OFF_SHORT


def parse(texts: Sequence[str]) -> tuple[list[Override], list[str]]:
    """The overrides that Hydra's grammar can read, and what is wrong with the others."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, parsed, errors = OverridesParser.create(), [], []
    for text in texts:
        try:
            override = parser.parse_override(text)
            if override.key_or_group:
                parsed.append(override)
            else:
                errors.append(f"{text!r} is no override (it has no key); write key=value")
        except HydraException as error:
            reason = str(error).strip().splitlines()[0]
            errors.append(f"{text!r} is no override ({reason}); write key=value, and quote what is not plain text")
    return parsed, errors


def is_hydras(override: Override) -> bool:
    """Whether an override is about Hydra itself."""
    return override.key_or_group.split("/")[0].split(".")[0] == "hydra"


def choices(override: Override) -> list[Override]:
    """The single overrides that a sweep over listed values stands for; none for intervals, ranges and globs."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, Glob, Sweep, Transformer

    if not override.is_sweep_override():
        return [override]
    sweep = override.value()
    if not isinstance(sweep, ChoiceSweep) or any(isinstance(x, Glob | Sweep) for x in sweep.list):
        return []
    parser, key = OverridesParser.create(), override.get_key_element()
    return [parser.parse_override(f"{key}={x}") for x in override.sweep_iterator(transformer=Transformer.encode)]


def variants(overrides: Sequence[Override]) -> Iterator[list[Override]]:
    """Lists of single overrides which together hold every listed value of every sweep: one job of the multirun, and
    then every other value on its own. What cannot be listed (intervals, ranges) is left out."""
    columns = [column for o in overrides if (column := choices(o))]
    yield [column[0] for column in columns]
    for i, column in enumerate(columns):
        for other in column[1:]:
            yield [other if j == i else c[0] for j, c in enumerate(columns)]


@dataclass(frozen=True)
class Groups:
    """The config groups under `roots`, conf/ first, and their options."""

    roots: tuple[Path, ...]

    def names(self) -> list[str]:
        """Every group, as `model` or `model/attention`."""
        found = {f.parent.relative_to(root).as_posix() for root in self.roots for f in root.glob("*/**/*.yaml")}
        return sorted(n for n in found if n.split("/")[0] != "hydra" and not any(p[0] in "._" for p in n.split("/")))

    def options(self, group: str) -> list[str]:
        """The options of a group."""
        return sorted(self._files(group))

    def _files(self, group: str) -> dict[str, Path]:
        """Option -> its file, in the root that Hydra takes it from."""
        return {f.stem: f for root in reversed(self.roots) for f in (root / group).glob("*.yaml")}

    def has(self, key: str) -> bool:
        """Whether Hydra reads `key=...` as a choice of a group."""
        return bool(key) and any((root / key).is_dir() for root in self.roots)

    def is_choice(self, override: Override) -> bool:
        """Whether an override chooses options (the rest sets values)."""
        return self.has(override.key_or_group) and not isinstance(override.value(), dict)

    def errors(self, override: Override) -> list[str]:
        """What is wrong with one choice, seen alone."""
        group, value = override.key_or_group, override.value()
        options = self.options(group)
        if override.is_delete():
            return []
        chosen = value if isinstance(value, list) else [value]
        if override.is_force_add() or not options or any(not isinstance(x, str) for x in chosen):
            inner = [name for name in self.names() if name.startswith(f"{group}/")]
            takes = f"one of {listed(options)}" if options else f"nothing: choose of {listed(inner)}"
            removal = f" (~{group} leaves it out)" if options else ""
            return [f"{override.input_line}: {group} takes {takes}{removal}"]
        takes = f"({group} takes {listed(options)})"
        return [
            f"{override.input_line}: {group} has no option {x!r}{did_you_mean(str(x), options)} {takes}"
            for x in chosen
            if x not in options
        ]

    def options_with(self, group: str, key: str) -> list[str]:
        """The options of a group whose file has this key at its top: temporal, for split and train_end."""
        files, line = self._files(group), re.compile(rf"^{re.escape(key)}:", re.MULTILINE)
        return sorted(option for option, file in files.items() if line.search(file.read_text("utf-8")))

    def parents_with(self, group: str) -> list[str]:
        """The options of the parent group that choose in this one: composed, for model/attention."""
        files = self._files(group.split("/")[0])
        return sorted(option for option, file in files.items() if f"/{group}:" in file.read_text("utf-8"))
