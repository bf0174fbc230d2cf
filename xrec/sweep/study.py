"""The Optuna study of a sweep: made, or taken up again."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xrec.sweep.space import Space, SweepError
from xrec.words import did_you_mean

if TYPE_CHECKING:
    from optuna import Study

JOURNAL = "journal.log"
DIRECTIONS = ("maximize", "minimize")

#: User attributes of a study.
SPACE = "space"
OBJECTIVES = "objectives"
FIXED = "fixed_overrides"
CONFIG = "config"

#: settings that change no number of a trial, or are compared by themselves
HARMLESS = (
    "hydra", "paths", "tracking", "threads", "device", "resume", "objectives", "sweep", "experiment",
    "cases.chunk_size", "cases.mask_chunk", "ranking.chunk_size", "training.log_every",
)  # fmt: skip
_MOST_SHOWN = 12
#: also the name of a directory
_NAME = r"\w[\w.-]{0,99}"


@dataclass(frozen=True)
class StudySettings:
    """What identifies a study: its name and where it is kept, and what it optimises."""

    name: str
    storage: str | None
    """An Optuna URL, or None for a journal file in the sweep directory."""
    objectives: tuple[str, ...]
    directions: tuple[str, ...]

    def check(self) -> None:
        """Raises SweepError for a name that is none, and when objectives and directions do not fit together."""
        if not re.fullmatch(_NAME, self.name):
            raise SweepError(
                f"hydra.sweeper.study_name={self.name!r}: takes up to 100 letters, digits, '_', '-' and '.', not "
                "beginning with '-' or '.': it is also the name of a directory"
            )
        for direction in self.directions:
            if direction not in DIRECTIONS:
                hint = did_you_mean(direction, DIRECTIONS)
                raise SweepError(f"hydra.sweeper.directions: {direction!r}{hint} (known: {', '.join(DIRECTIONS)})")
        if len(self.objectives) != len(self.directions) or not self.objectives:
            raise SweepError(
                f"hydra.sweeper.objectives {list(self.objectives)} and hydra.sweeper.directions "
                f"{list(self.directions)} must have the same length, at least 1"
            )
        if len(set(self.objectives)) < len(self.objectives):
            raise SweepError(f"hydra.sweeper.objectives {list(self.objectives)}: a name is there twice")


def open_study(
    settings: StudySettings,
    space: Space,
    fixed: Sequence[str],
    sweep_dir: Path,
    composed: Mapping[str, Any] | None = None,
) -> Study:
    """Makes the study, or loads it when it is there.

    Args:
        fixed: the overrides that every trial gets. composed: the config they compose to, before the space's parameters.
    Raises:
        SweepError: the saved one has other directions, objectives, another space or other settings, so that its trials
            would not be comparable; or it cannot be opened.
    """
    import optuna
    from optuna.study import StudyDirection

    from xrec.sweep.journal import journal_storage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [StudyDirection[d.upper()] for d in settings.directions]
    with _named_storage_errors(settings.storage or str(sweep_dir / JOURNAL)):
        study = optuna.create_study(
            study_name=settings.name,
            storage=settings.storage or journal_storage(sweep_dir / JOURNAL),
            directions=directions,
            load_if_exists=True,
        )
        config = what_shapes_trials(composed or {}, space)
        _refuse_another(study, settings, space, fixed, config)
        if not study.get_trials(deepcopy=False):
            study.set_user_attr(SPACE, space.signature())
            study.set_user_attr(OBJECTIVES, list(settings.objectives))
            study.set_user_attr(FIXED, list(fixed))
            study.set_user_attr(CONFIG, config)
    return study


def what_shapes_trials(composed: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Path -> value of every setting that could change the numbers of a trial and is not drawn from the space."""
    drawn = [p.path.replace("/", ".") for p in space.parameters]
    return {path: value for path, value in _leaves(composed) if not _under(path, (*HARMLESS, *drawn))}


def _leaves(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        here = f"{path}.{key}".lstrip(".")
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, here)
        else:
            yield here, value


def _under(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(f"{root}.") for root in roots)


def _refuse_another(
    study: Study, settings: StudySettings, space: Space, fixed: Sequence[str], config: Mapping[str, Any]
) -> None:
    found = []
    directions = [d.name.lower() for d in study.directions]
    if directions != list(settings.directions):
        found.append(f"directions: saved {directions}, now {list(settings.directions)}")
    if study.get_trials(deepcopy=False):
        saved = study.user_attrs
        if saved.get(OBJECTIVES) != list(settings.objectives):
            found.append(f"objectives: saved {saved.get(OBJECTIVES)}, now {list(settings.objectives)}")
        found += _differences(saved.get(SPACE) or {}, space.signature(), "space: ", "not in the space")
        if CONFIG in saved:
            found += _differences(saved[CONFIG], config)
        elif (before := _shaping(saved.get(FIXED) or [])) != (now := _shaping(fixed)):  # made by an older version
            found.append(f"overrides: saved {before}, now {now}")
    if found:
        more = [f"and {len(found) - _MOST_SHOWN} more"] if len(found) > _MOST_SHOWN else []
        raise SweepError(
            f"study {study.study_name!r} was made for something else:\n  "
            + "\n  ".join(found[:_MOST_SHOWN] + more)
            + "\nchoose another name (hydra.sweeper.study_name=...), or go back to the saved settings"
        )


def _differences(
    saved: Mapping[str, Any], now: Mapping[str, Any], what: str = "", absent: str = "not there"
) -> list[str]:
    return [
        f"{what}{path}: saved {saved.get(path, absent)}, now {now.get(path, absent)}"
        for path in sorted({*saved, *now})
        if (path in saved, saved.get(path)) != (path in now, now.get(path))
    ]


def _shaping(overrides: Iterable[str]) -> list[str]:
    return [o for o in overrides if not _under(o.split("=")[0].lstrip("+~").replace("/", "."), HARMLESS)]


@contextlib.contextmanager
def _named_storage_errors(where: str) -> Iterator[None]:
    """What a database or a journal cannot do is a `SweepError` that names it."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OptunaError, SQLAlchemyError, ImportError, OSError, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        fix = "put the file back as it was, or choose another hydra.sweep.dir"
        if "://" in where or not where.endswith(JOURNAL):
            fix = "hydra.sweeper.storage takes an Optuna URL such as sqlite:///study.db, or null: a journal file"
        raise SweepError(f"the study in {where} cannot be opened ({reason}): {fix}") from error
