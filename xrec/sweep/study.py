"""The Optuna study of a sweep: made, or taken up again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xrec.sweep.space import Space, SweepError
from xrec.words import did_you_mean

if TYPE_CHECKING:
    from optuna import Study

log = logging.getLogger(__name__)

JOURNAL = "journal.log"
DIRECTIONS = ("maximize", "minimize")

#: User attributes of a study.
SPACE = "space"
OBJECTIVES = "objectives"
FIXED = "fixed_overrides"


@dataclass(frozen=True)
class StudySettings:
    """What identifies a study: its name and where it is kept, and what it optimises."""

    name: str
    storage: str | None
    """An Optuna URL, or None for a journal file in the sweep directory."""
    objectives: tuple[str, ...]
    directions: tuple[str, ...]

    def check(self) -> None:
        """Raises SweepError when objectives and directions do not fit together."""
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


def open_study(settings: StudySettings, space: Space, fixed: Sequence[str], sweep_dir: Path) -> Study:
    """Makes the study, or loads it when it is there.

    Raises SweepError when the saved one has other directions, objectives or another space: its trials would not be
    comparable. Other fixed overrides are only warned about, for they may be as harmless as a thread count.
    """
    import optuna
    from optuna.study import StudyDirection

    from xrec.sweep.journal import journal_storage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=settings.name,
        storage=settings.storage or journal_storage(sweep_dir / JOURNAL),
        directions=[StudyDirection[d.upper()] for d in settings.directions],
        load_if_exists=True,
    )
    _refuse_another(study, settings, space)
    if not study.get_trials(deepcopy=False):
        study.set_user_attr(SPACE, space.signature())
        study.set_user_attr(OBJECTIVES, list(settings.objectives))
        study.set_user_attr(FIXED, list(fixed))
    elif study.user_attrs.get(FIXED) != list(fixed):
        log.warning("earlier trials of study %s ran with %s, now %s", study.study_name, study.user_attrs[FIXED], fixed)
    return study


def _refuse_another(study: Study, settings: StudySettings, space: Space) -> None:
    differences = []
    directions = [d.name.lower() for d in study.directions]
    if directions != list(settings.directions):
        differences.append(f"directions: saved {directions}, now {list(settings.directions)}")
    if study.get_trials(deepcopy=False):
        saved = study.user_attrs
        if saved.get(OBJECTIVES) != list(settings.objectives):
            differences.append(f"objectives: saved {saved.get(OBJECTIVES)}, now {list(settings.objectives)}")
        differences += _space_differences(saved.get(SPACE) or {}, space.signature())
    if differences:
        raise SweepError(
            f"study {study.study_name!r} was made for something else:\n  "
            + "\n  ".join(differences)
            + "\nchoose another name (hydra.sweeper.study_name=...), or go back to the saved settings"
        )


def _space_differences(saved: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [
        f"space: {path}: saved {saved.get(path, 'not in the space')}, now {now.get(path, 'not in the space')}"
        for path in sorted({*saved, *now})
        if saved.get(path) != now.get(path)
    ]
