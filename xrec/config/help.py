"""`--help` without Hydra: composing the whole config only to show it would take seconds on a large `conf/`."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

HELP_FLAGS = (["--help"], ["-h"])
_HYDRAS = "hydra"
_USAGE = """\
python experiments/run.py [-m] [GROUP=OPTION ...] [KEY=VALUE ...]

One run; with -m, one run per combination of comma lists, or a sweep (sweep=...).
The composed config, nothing run:  python experiments/run.py [...] --cfg job
Hydra's own flags:                 python experiments/run.py --hydra-help
Options of your own:               'hydra.searchpath=[file:///path/to/conf]', also before --help

GROUPS (several options of a group: GROUP=[A,B])"""


def help_text(conf_dir: Path, *others: Path) -> str:
    """Usage, every group with its options and what each is (the first comment line of its file), and config.yaml.

    others: further folders of options, of `hydra.searchpath`.
    """
    lines = [_USAGE]
    groups: dict[str, list[Path]] = {}
    for root in (conf_dir, *others):
        for path in sorted(root.glob("*/**/*.yaml")):
            groups.setdefault(path.parent.relative_to(root).as_posix(), []).append(path)
    for group, options in sorted(groups.items()):
        if group.split("/")[0] != _HYDRAS:
            lines += ["", group] + [_wrapped(f"  {p.stem:<22}{_about(p)}") for p in options]
    own = (conf_dir / "config.yaml").read_text(encoding="utf-8")
    return "\n".join([*lines, "", "KEYS (conf/config.yaml; those of an option are in its file)", "", own.rstrip()])


def _wrapped(line: str) -> str:
    """As wide as the terminal, or as COLUMNS says; whole lines elsewhere."""
    width = shutil.get_terminal_size((1000, 24)).columns
    return textwrap.fill(line, max(width, 60), subsequent_indent=" " * 24, break_long_words=False)


def _about(path: Path) -> str:
    """The first comment line, and the rest of its sentence where that goes on below."""
    about = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.lstrip("#").strip() if line.startswith("#") else ""
        if about and not words[:1].islower():
            break
        if not words.startswith("@package"):
            about += f" {words.split('. ')[0]}" if about else words
    return about
