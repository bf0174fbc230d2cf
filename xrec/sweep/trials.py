"""What became of the trials of a study, and asking for the next one."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

from xrec.processes import is_dead, is_elsewhere, this_process
from xrec.sweep.samplers import SamplerFactory
from xrec.sweep.space import Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)

#: User attributes of a trial.
OWNER = "owner"  # the process that runs it
ERROR = "error"  # why it failed of its own accord
DUPLICATE_OF = "duplicate_of"  # the trial that has the same parameters; this one was not run
RETRY_OF = "retry_of"  # the killed trial whose parameters it takes over
DIRECTORY = "directory"  # its run directory, relative to the sweep's

#: Known points in a row, after which the sampler is not asked any more, and after which the sweep ends.
_SAMPLER_DRAWS = 3
_RANDOM_DRAWS = 50


class Fate(StrEnum):
    """What became of a trial. Optuna knows one state FAIL; here three things are told apart."""

    COMPLETE = "complete"
    FAILED = "failed"
    """Of its own accord: it raised, or returned no usable numbers."""
    KILLED = "killed"
    """From outside: its process died or was interrupted. Not counted; its parameters are asked again."""
    SKIPPED = "skipped"
    """Never run, because another trial has the same parameters. Not counted."""
    RUNNING = "running"
    WAITING = "waiting"
    PRUNED = "pruned"


FINISHED = (Fate.COMPLETE, Fate.FAILED, Fate.PRUNED)


def fate(trial: FrozenTrial) -> Fate:
    """What became of one trial."""
    if trial.state.name != "FAIL":
        return Fate(trial.state.name.lower())
    if ERROR in trial.user_attrs:
        return Fate.FAILED
    return Fate.SKIPPED if DUPLICATE_OF in trial.user_attrs else Fate.KILLED


def counts(study: Study) -> dict[Fate, int]:
    """Number of trials by fate, all fates named."""
    tally = Counter(fate(t) for t in study.get_trials(deepcopy=False))
    return {f: tally[f] for f in Fate}


def n_finished(study: Study) -> int:
    """Trials that count towards the total: complete, pruned, or failed of their own accord."""
    tally = counts(study)
    return sum(tally[f] for f in FINISHED)


def fail_dead_trials(study: Study) -> None:
    """Fails running trials whose process is gone; says which ones run on other machines, where nothing can be known."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(OWNER)
        if is_dead(owner):
            log.warning("trial %d was killed; its parameters are asked again", trial.number)
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        elif owner is not None and is_elsewhere(owner):
            log.warning(
                "trial %d is run by process %s on %s and counts as running; if that is dead: "
                "optuna tell --study-name %s --trial-number %d --state fail --storage ...",
                trial.number,
                owner["pid"],
                owner["host"],
                study.study_name,
                trial.number,
            )


def enqueue_killed_trials(study: Study, space: Space) -> None:
    """Puts the parameters of killed trials first in the queue, each once, under a new number.

    Which ones is worked out from the trials alone, so dying in here loses nothing and doubles nothing.
    """
    trials = study.get_trials(deepcopy=False)
    taken_over = {t.user_attrs.get(RETRY_OF) for t in trials}
    for trial in trials:
        # One that died while it drew has never run, and its place in the random sequence is not needed.
        if fate(trial) is Fate.KILLED and trial.number not in taken_over and space.is_complete(trial.params):
            study.enqueue_trial(dict(trial.params), user_attrs={RETRY_OF: trial.number})


def ask(study: Study, space: Space, samplers: SamplerFactory) -> Trial | None:
    """The next trial: running, owned by this process, with parameters that no other trial has.

    A sampler may well draw a point twice (several lambdas at exactly 0), and, as it is not told, draw it for ever.
    Such a draw is recorded as skipped; after a few the next untried point of a finite space is taken, or one at random.
    None when a finite space has been tried in full, or nothing new is found.
    """
    for _ in range(_SAMPLER_DRAWS):
        if _next_untried(study, space) is _EXHAUSTED:
            return None
        trial = _draw(study, space, samplers)
        if not _skip_duplicate(study, space, trial):
            return trial
    point = _next_untried(study, space)
    if isinstance(point, dict):
        study.enqueue_trial(point)
        return _draw(study, space, samplers)
    for _ in range(_RANDOM_DRAWS):
        trial = _draw(study, space, samplers, explore=True)
        if not _skip_duplicate(study, space, trial):
            return trial
    log.warning("%d random points in a row were known", _RANDOM_DRAWS)
    return None


_EXHAUSTED = object()


def _draw(study: Study, space: Space, samplers: SamplerFactory, explore: bool = False) -> Trial:
    n_drawn = sum(RETRY_OF not in t.user_attrs for t in study.get_trials(deepcopy=False))
    study.sampler = samplers.explorer(n_drawn) if explore else samplers(n_drawn)
    trial = study.ask()
    trial.set_user_attr(OWNER, this_process())
    space.draw(trial, samplers.conditional)
    return trial


def _skip_duplicate(study: Study, space: Space, trial: Trial) -> bool:
    from optuna.trial import TrialState

    values = space.values(trial.params)
    for other in _tried(study, space):
        if other.number != trial.number and space.values(other.params) == values:
            trial.set_user_attr(DUPLICATE_OF, other.number)
            study.tell(trial, state=TrialState.FAIL)
            log.info("trial %d skipped: the same parameters as trial %d", trial.number, other.number)
            return True
    return False


def _tried(study: Study, space: Space) -> Iterable[FrozenTrial]:
    """Trials whose parameters need not be tried again."""
    for trial in study.get_trials(deepcopy=False):
        if fate(trial) in (*FINISHED, Fate.RUNNING) and space.is_complete(trial.params):
            yield trial


def _next_untried(study: Study, space: Space) -> object:
    """Optuna params of the first untried point of a finite space, or _EXHAUSTED; None if the space is infinite."""
    points = space.points()
    if points is None:
        return None
    tried = [space.values(t.params) for t in _tried(study, space)]
    untried = (p for p in islice(points, len(tried) + 1) if space.values(p) not in tried)
    return next(untried, _EXHAUSTED)
