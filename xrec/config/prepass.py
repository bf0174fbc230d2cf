"""Pass 1 on the command line, before Hydra starts: every error at once, and no heavy import."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xrec.config.commandline import CommandLine, read
from xrec.config.help import HELP_FLAGS, help_text
from xrec.config.searchpath import KEY, search_roots
from xrec.config.validate import validate_job

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

    from xrec.config.commandline import Groups
    from xrec.config.composing import Composer

__all__ = ["examine", "main_prepass", "validate_job"]

_COMMAND = "python experiments/run.py"


def main_prepass(argv: Sequence[str], conf_dir: str | Path) -> list[str]:
    """argv for Hydra: as it was, or with the run directory of `resume=` added.

    Prints all errors to stderr and exits with status 2 when there are any; answers a --help that stands alone, or
    beside a search path, and exits with 0.
    Other flags (--cfg, --hydra-help) pass through untouched, before Hydra is imported.
    """
    added = [a for a in argv if a.startswith(f"{KEY}=")]
    if [a for a in argv if a not in added] in HELP_FLAGS:
        _help(added, Path(conf_dir))
        raise SystemExit(0)
    command = read(argv)
    if command is None:
        return list(argv)
    errors, extra = examine(command, Path(conf_dir).resolve())
    _refuse(errors)
    return [*argv, *extra]


def _refuse(errors: list[str]) -> None:
    if errors:
        from xrec.config.schema import report

        print(report(errors), file=sys.stderr)
        raise SystemExit(2)


def _help(added: Sequence[str], conf_dir: Path) -> None:
    """Print the help, with the options that overrides of the search path add. Without these, Hydra is not imported."""
    roots = [conf_dir]
    if added:
        from xrec.config.commandline import parse

        parsed, errors = parse(added)
        roots, problems = search_roots(parsed, conf_dir)
        _refuse(errors + problems)
    try:
        print(help_text(*roots), flush=True)
    except BrokenPipeError:  # of `--help | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def examine(command: CommandLine, conf_dir: Path) -> tuple[list[str], list[str]]:
    """All errors of a command line, and the overrides to add to it."""
    from xrec.config.commandline import Groups, is_hydras, parse

    parsed, errors = parse(command.texts)
    overrides = [o for o in parsed if not is_hydras(o)]
    roots, problems = search_roots(parsed, conf_dir)
    errors += problems
    groups = Groups(tuple(roots))
    if not command.multirun:
        errors += [_ambiguous(o) for o in overrides if o.is_sweep_override()]
    resumed, extra = _resume(overrides, command)
    errors += resumed
    errors += [error for o in parsed if (error := _output_directory(o)) is not None]
    errors += _compose_all(overrides, groups, command)
    return list(dict.fromkeys(errors)), extra


def _compose_all(overrides: list[Override], groups: Groups, command: CommandLine) -> list[str]:
    """Errors of every single config that the command line stands for."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.types import Quote, QuotedString

    from xrec.config.commandline import variants
    from xrec.config.composing import Composer

    added = [QuotedString(f"file://{root}", Quote.single).with_quotes() for root in groups.roots[1:]]
    composer, found = Composer(groups, (f"{KEY}=[{','.join(added)}]",)), []
    unlisted = [o for o in overrides if o.is_sweep_override() and not groups.has(o.key_or_group)]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(groups.roots[0]), version_base="1.3"):
            for i, variant in enumerate(variants(overrides)):
                found += _check_one(variant, unlisted if i == 0 else [], composer, command)
    finally:
        GlobalHydra.instance().clear()
    return [*composer.errors, *found]


def _check_one(
    overrides: list[Override], sweeps: list[Override], composer: Composer, command: CommandLine
) -> list[str]:
    """Errors of one config. `sweeps`: overrides of which only the key is looked at, beside the single ones."""
    from xrec.config.composing import apply_value
    from xrec.config.schema import UNRESOLVED, check, plain

    groups = composer.groups
    chosen = [o for o in overrides if groups.is_choice(o)]
    wrong = {id(o): problems for o in chosen if (problems := groups.errors(o))}
    found = [problem for problems in wrong.values() for problem in problems]
    config = composer.compose([o for o in chosen if id(o) not in wrong])
    if config is None:
        return found
    single = {o.key_or_group for o in overrides}
    values = [o for o in overrides if not groups.is_choice(o)] + [o for o in sweeps if o.key_or_group not in single]
    found += [problem for o in values if (problem := apply_value(config, o, groups)) is not None]
    if not command.multirun and (problem := _sweep_alone(config, command)) is not None:
        found.append(problem)
    problems = check(config)
    if not any(p.startswith(UNRESOLVED) for p in problems):
        from xrec.config.directories import directory_errors

        problems += directory_errors(plain(config))
    return found + problems


def _resume(overrides: list[Override], command: CommandLine) -> tuple[list[str], list[str]]:
    """Errors of `resume=DIR`, and the override that makes Hydra use that directory."""
    from hydra.core.override_parser.types import Quote, QuotedString

    from xrec.config.directories import run_directory_error

    asked = [o for o in overrides if o.key_or_group == "resume" and not o.is_delete() and not o.is_sweep_override()]
    if not asked or asked[-1].value() is None:
        return [], []
    directory = asked[-1].value()
    found = [error] if (error := run_directory_error("resume", directory)) is not None else []
    others = [o for o in overrides if o.key_or_group != "resume" and o.key_or_group.split(".")[0] != "tracking"]
    if others:
        shown = " ".join(str(o.input_line) for o in others)
        found.append(f"resume takes the saved run's own config, and no other override than tracking; leave out {shown}")
    if command.multirun:
        found.append("resume goes on with one run: leave out -m (a sweep resumes by its own command)")
    return found, [f"hydra.run.dir={QuotedString(str(directory), Quote.single).with_quotes()}"]


def _output_directory(override: Override) -> str | None:
    """Why Hydra could not make the directory it is given; what refers to other settings is left to `paths.runs`."""
    from xrec.config.directories import unwritable_error

    key, value = override.key_or_group, override.value()
    if key not in ("hydra.run.dir", "hydra.sweep.dir") or not isinstance(value, str) or "${" in value:
        return None
    return unwritable_error(key, value, "give a directory that can be written to")


def _ambiguous(override: Override) -> str:
    line = str(override.input_line)
    key, _, value = line.partition("=")
    return f"{line}: several values are a multirun, which needs -m; for one list write {key}=[{value}]"


def _sweep_alone(config: DictConfig, command: CommandLine) -> str | None:
    """The error of a sweep that would silently run a single job."""
    if config.get("sweep") is None:
        return None
    name = str(config.sweep.get("name", "sweep"))
    return f"sweep={name} needs -m, or it would be a single run: {_COMMAND} -m {shlex.join(command.texts)}"
