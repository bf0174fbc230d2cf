"""The Hydra sweeper: asks an Optuna study for trials and has Hydra's launcher run them, up to a total.

The number of a job is the number of its trial, so run directories survive a resume. Starting the same command again
goes on with the saved study; how much is left is read from the study each time, so any process may take it up.
"""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, OmegaConf

from xrec.errors import UserError
from xrec.sweep import results, trials
from xrec.sweep.grammar import read_space
from xrec.sweep.samplers import SamplerFactory
from xrec.sweep.space import Space, SweepError
from xrec.sweep.study import StudySettings, open_study
from xrec.words import did_you_mean

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

log = logging.getLogger(__name__)

#: of what a person got wrong, after which the other trials would fail too
_SAME_MISTAKES = 3


class StudySweeper(Sweeper):
    """Runs trials until the study has `n_trials` finished ones. The arguments are the config node `hydra.sweeper`.

    n_trials: total of the study (complete or failed of their own accord), not of this process.
    study_name, storage: which study; storage null keeps it in `<sweep dir>/journal.log`, else an Optuna URL.
    sampler: {name: tpe|nsga2|random, ...arguments of Optuna's class}. seed: of the sampler.
    objectives, directions: the numbers a job returns, in this order. space: see `xrec.sweep.grammar`.
    n_jobs: trials asked for and launched at a time. max_failures: stop when more trials have failed.
    """

    def __init__(
        self,
        *,
        n_trials: int,
        study_name: str,
        objectives: Sequence[str],
        directions: Sequence[str],
        space: Mapping[str, str],
        sampler: Mapping[str, Any],
        seed: int,
        storage: str | None = None,
        n_jobs: int = 1,
        max_failures: int | None = None,
    ) -> None:
        sampler = dict(_plain(sampler))
        self.n_trials = n_trials
        self.n_jobs = n_jobs
        self.max_failures = max_failures
        self.space: dict[str, str] = dict(_plain(space))
        self.settings = StudySettings(study_name, storage, tuple(objectives), tuple(directions))
        self.samplers = SamplerFactory(sampler.pop("name", "tpe"), seed, sampler)
        self._mistakes: list[str] = []
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> dict[str, Any]:
        """Runs what is left of the study and returns the contents of optimization_results.yaml.

        Raises SweepError for settings that make no sense, for a study made for something else, and when more than
        `max_failures` trials failed; an interrupt is passed on once the study is consistent.
        """
        assert self.config is not None, "setup() comes first"
        assert self.hydra_context is not None, "setup() comes first"
        self._check_settings()
        space, fixed = read_space(self.space, arguments, self.hydra_context.config_loader)
        self._check_composition(space, fixed)
        composed = self._composed(fixed)
        self._check_objectives(composed)
        sweep_dir = Path(str(self.config.hydra.sweep.dir))
        sweep_dir.mkdir(parents=True, exist_ok=True)
        study = open_study(self.settings, space, fixed, sweep_dir, composed)
        OmegaConf.save(self.config, sweep_dir / "multirun.yaml")
        trials.fail_dead_trials(study)
        trials.enqueue_killed_trials(study, space)
        self._run_all(study, space, fixed, sweep_dir)
        content = results.results(study, space, self.settings.objectives)
        path = results.write_results(content, sweep_dir)
        log.info("%s\n%s\n%s", self._summary(content), results.table(content, sweep_dir), path)
        return content

    def _run_all(self, study: Study, space: Space, fixed: list[str], sweep_dir: Path) -> None:
        if (n := trials.n_finished(study)) >= self.n_trials:
            log.info("study %s has %d finished trials of %d: nothing to do", study.study_name, n, self.n_trials)
        while (n_left := self._n_left(study)) > 0:
            self._stop_after_failures(study)
            batch = self._ask(study, space, min(self.n_jobs, n_left))
            if not batch:
                log.warning("every point of the space has been tried, or is being tried: stopping early")
                break
            try:
                self._run(study, space, fixed, batch, sweep_dir)
            finally:
                # Also after an interrupt: what is finished is on record, what is not will be asked again.
                _abandon(study, batch)
                results.write_results(results.results(study, space, self.settings.objectives), sweep_dir)
        self._stop_after_failures(study)

    def _n_left(self, study: Study) -> int:
        # Trials that run elsewhere count, or several workers would overshoot the total.
        return self.n_trials - trials.n_finished(study) - trials.counts(study)[trials.Fate.RUNNING]

    def _ask(self, study: Study, space: Space, n: int) -> list[Trial]:
        batch: list[Trial] = []
        try:
            for _ in range(n):
                trial = trials.ask(study, space, self.samplers)
                if trial is None:
                    break
                batch.append(trial)
        except BaseException:
            _abandon(study, batch)
            raise
        return batch

    def _run(self, study: Study, space: Space, fixed: list[str], batch: list[Trial], sweep_dir: Path) -> None:
        assert self.launcher is not None, "setup() comes first"
        for group in consecutive(batch):
            jobs = [[*fixed, *space.overrides(t.params)] for t in group]
            returns = self.launcher.launch(jobs, initial_job_idx=group[0].number)
            for trial, job in zip(group, returns, strict=True):
                self._record(study, trial, job, sweep_dir)

    def _record(self, study: Study, trial: Trial, job: JobReturn, sweep_dir: Path) -> None:
        from optuna.trial import TrialState

        directory = _directory(job, sweep_dir, trial.number)
        trial.set_user_attr(trials.DIRECTORY, directory)
        try:
            values = objective_values(job.return_value, self.settings.objectives)
        except Exception as error:  # noqa: BLE001  (whatever a job raises is a result of the sweep)
            reason = f"{type(error).__name__}: {error}"
            log.warning("trial %d failed: %s", trial.number, " ".join(reason.split()))
            _save_traceback(error, sweep_dir / directory)
            trial.set_user_attr(trials.ERROR, reason)
            study.tell(trial, state=TrialState.FAIL)
            self._mistakes.append(reason if isinstance(error, UserError) else f"trial {trial.number}")
            return
        study.tell(trial, values)
        self._mistakes.append("")
        shown = ", ".join(f"{k}={v:.4g}" for k, v in zip(self.settings.objectives, values, strict=True))
        log.info("trial %d: %s (%d of %d finished)", trial.number, shown, trials.n_finished(study), self.n_trials)

    def _check_settings(self) -> None:
        for name, value in (("n_trials", self.n_trials), ("n_jobs", self.n_jobs)):
            if value < 1:
                raise SweepError(f"hydra.sweeper.{name}={value}: must be at least 1")
        if self.max_failures is not None and self.max_failures < 0:
            raise SweepError(f"hydra.sweeper.max_failures={self.max_failures}: must be null or at least 0")
        self.settings.check()
        self.samplers.check()
        population = self.samplers.population_size()
        if population is not None and population >= self.n_trials:
            log.warning(
                "%s draws its first population_size=%d trials at random, and n_trials=%d: it will learn nothing; "
                "lower it, as in +hydra.sweeper.sampler.population_size=8",
                self.samplers.name,
                population,
                self.n_trials,
            )

    def _check_composition(self, space: Space, fixed: list[str]) -> None:
        """Composes the config with every option of every choice, before a study is made that would keep a typo."""
        assert self.config is not None
        for params in space.examples():
            try:
                self.validate_batch_is_legal([[*fixed, *space.overrides(params)]])
            except HydraException as error:
                hints = _path_hints(space, self.config)
                raise SweepError(f"{error}{hints}") from error.__cause__

    def _composed(self, fixed: list[str]) -> dict[str, Any]:
        """The config of a trial but for the parameters that are drawn, resolved, without Hydra's own node."""
        assert self.hydra_context is not None and self.config is not None
        loader = self.hydra_context.config_loader
        config = loader.load_sweep_config(master_config=self.config, sweep_overrides=list(fixed))
        return _plain(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))

    def _check_objectives(self, composed: Mapping[str, Any]) -> None:
        """A job returns what its own `objectives` name, where it has such a setting."""
        returned = list(composed.get("objectives", self.settings.objectives))
        if returned != list(self.settings.objectives):
            raise SweepError(
                f"hydra.sweeper.objectives={list(self.settings.objectives)}, but the jobs return "
                f"objectives={returned}: set objectives=[...], and leave hydra.sweeper.objectives to follow it"
            )

    def _stop_after_failures(self, study: Study) -> None:
        if len(self._mistakes) >= _SAME_MISTAKES and self._mistakes[0] and len(set(self._mistakes)) == 1:
            raise SweepError(
                f"the first {len(self._mistakes)} trials failed for the same reason: {self._mistakes[0]}\n"
                "put that right; then the same command goes on with the study"
            )
        failed = trials.counts(study)[trials.Fate.FAILED]
        if self.max_failures is not None and failed > self.max_failures:
            raise SweepError(
                f"{failed} trials of study {study.study_name!r} failed, more than "
                f"hydra.sweeper.max_failures={self.max_failures}; the warnings above say why"
            )

    def _summary(self, content: dict[str, Any]) -> str:
        counted = ", ".join(f"{n} {fate}" for fate, n in content["n_trials"].items() if n)
        return f"study {self.settings.name}: {counted or 'no trials'}; the front:"


def consecutive(batch: Sequence[Trial]) -> list[list[Trial]]:
    """Groups of trials with consecutive numbers: a launcher numbers the jobs of one call consecutively."""
    groups: list[list[Trial]] = []
    for trial in sorted(batch, key=lambda t: t.number):
        if groups and trial.number == groups[-1][-1].number + 1:
            groups[-1].append(trial)
        else:
            groups.append([trial])
    return groups


def objective_values(returned: object, objectives: Sequence[str]) -> list[float]:
    """What a job returned, as one finite number per objective. Raises ValueError or TypeError saying what is wrong."""
    values = _plain(returned)
    if returned is None:
        raise ValueError(f"the job returned None instead of {', '.join(objectives)}")
    if not isinstance(values, list | tuple):
        values = [values]
    if len(values) != len(objectives):
        raise ValueError(f"the job returned {len(values)} values instead of {len(objectives)}: {', '.join(objectives)}")
    numbers = [float(v) for v in values]
    for name, number in zip(objectives, numbers, strict=True):
        if not math.isfinite(number):
            raise ValueError(f"{name} is {number}")
    return numbers


def _abandon(study: Study, batch: Sequence[Trial]) -> None:
    """Fails what has not been recorded, without an error of its own: the next start asks for it again."""
    from optuna.trial import TrialState

    for trial in batch:
        if study.get_trials(deepcopy=False)[trial.number].state == TrialState.RUNNING:
            log.warning("trial %d was interrupted; the same command again will ask for its parameters", trial.number)
            study.tell(trial, state=TrialState.FAIL)


def _directory(job: JobReturn, sweep_dir: Path, number: int) -> str:
    """Relative to the sweep directory where it lies in there, so that the whole can be moved."""
    output = None if job.hydra_cfg is None else OmegaConf.select(job.hydra_cfg, "hydra.runtime.output_dir")
    if output is None:
        return str(number)
    path = Path(output)
    return str(path.relative_to(sweep_dir.absolute())) if path.is_relative_to(sweep_dir.absolute()) else str(path)


def _save_traceback(error: Exception, directory: Path) -> None:
    if directory.is_dir():  # not when the job ran out of reach
        (directory / "error.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")


def _path_hints(space: Space, config: DictConfig) -> str:
    known: list[str] = []
    pending = [(k, v) for k, v in _plain(config, resolve=False).items() if k != "hydra"]
    while pending:
        path, node = pending.pop()
        known.append(path)
        if isinstance(node, dict):
            pending += [(f"{path}.{k}", v) for k, v in node.items()]
    hints = [did_you_mean(p.path, known) for p in space.parameters if p.path not in known and p.key == p.path]
    return "".join(f"\n{h.lstrip('; ')}" for h in hints if h)


def _plain(value: Any, resolve: bool = True) -> Any:
    return OmegaConf.to_container(value, resolve=resolve) if isinstance(value, DictConfig | ListConfig) else value
