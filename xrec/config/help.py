"""`--help` without Hydra: composing the whole config only to show it would take seconds on a large `conf/`."""

from __future__ import annotations

from pathlib import Path

HELP_FLAGS = (["--help"], ["-h"])
_HYDRAS = "hydra"
_USAGE = """\
python experiments/run.py [-m] [GROUP=OPTION ...] [KEY=VALUE ...]

One run; with -m, one run per combination of comma lists, or a sweep (sweep=...).
The composed config, nothing run:  python experiments/run.py [...] --cfg job
Hydra's own flags:                 python experiments/run.py --hydra-help

GROUPS (several options of a group: GROUP=[A,B])"""


def help_text(conf_dir: Path) -> str:
    """Usage, every group with its options and what each is (the first comment line of its file), and config.yaml."""
    lines = [_USAGE]
    for folder in sorted(p for p in conf_dir.rglob("*") if p.is_dir()):
        group = folder.relative_to(conf_dir).as_posix()
        options = sorted(folder.glob("*.yaml"))
        if options and group.split("/")[0] != _HYDRAS:
            lines += ["", group] + [f"  {p.stem:<22}{_about(p)}" for p in options]
    own = (conf_dir / "config.yaml").read_text(encoding="utf-8")
    return "\n".join([*lines, "", "KEYS (conf/config.yaml; those of an option are in its file)", "", own.rstrip()])


def _about(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.lstrip("#").strip()
        if line.startswith("#") and words and not words.startswith("@package"):
            return words
    return ""
