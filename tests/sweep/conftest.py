"""A sweeper that runs in this process: real study, real space, a launcher that calls a plain function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from xrec.errors import UserError
from xrec.sweep.sweeper import StudySweeper

Objective = Callable[[dict[str, str]], Any]


@dataclass
class FakeLauncher:
    """Numbers jobs as Hydra's launchers do, and calls `objective` with the overrides of each."""

    objective: Objective
    sweep_dir: Path
    jobs: dict[int, dict[str, str]] = field(default_factory=dict)
    calls: list[tuple[int, int]] = field(default_factory=list)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self.calls.append((initial_job_idx, len(job_overrides)))
        returns = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            assert number not in self.jobs, "a job number was given twice"
            self.jobs[number] = dict(o.split("=", 1) for o in overrides)
            directory = self.sweep_dir / str(number)
            directory.mkdir()
            returned = JobReturn(hydra_cfg=OmegaConf.create({"hydra": {"runtime": {"output_dir": str(directory)}}}))
            try:
                returned.return_value = self.objective(self.jobs[number])
                returned.status = JobStatus.COMPLETED
            except (RuntimeError, UserError) as error:
                returned.return_value = error
                returned.status = JobStatus.FAILED
            returns.append(returned)
        return returns


@dataclass
class Bench:
    """Makes sweepers over one sweep directory; each `run` is what one start of the command would do."""

    sweep_dir: Path
    launchers: list[FakeLauncher] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)

    def run(self, objective: Objective, arguments: Sequence[str] = (), **settings: Any) -> dict[str, Any]:
        defaults: dict[str, Any] = {
            "n_trials": 6,
            "study_name": "toy",
            "objectives": ["quality"],
            "directions": ["maximize"],
            "space": {"x": "interval(0,1)"},
            "sampler": {"name": "random"},
            "seed": 0,
        }
        sweeper: Any = StudySweeper(**{**defaults, **settings})
        launcher = FakeLauncher(objective, self.sweep_dir)
        self.launchers.append(launcher)
        sweeper.launcher = launcher
        sweeper.config = OmegaConf.create({"x": 0, **self.config, "hydra": {"sweep": {"dir": str(self.sweep_dir)}}})
        sweeper.hydra_context = SimpleNamespace(config_loader=SimpleNamespace(load_sweep_config=compose))
        return sweeper.sweep(list(arguments))

    def sibling(self, name: str) -> Bench:
        """One with a directory of its own."""
        return Bench(self.sweep_dir.with_name(name))

    @property
    def launcher(self) -> FakeLauncher:
        """The one of the last run."""
        return self.launchers[-1]

    def trials(self, name: str = "toy") -> list[Any]:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        storage = JournalStorage(JournalFileBackend(str(self.sweep_dir / "journal.log")))
        return optuna.load_study(study_name=name, storage=storage).trials


def compose(*, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
    """What Hydra's loader does, for plain values."""
    values = OmegaConf.from_dotlist([o.lstrip("+") for o in sweep_overrides])
    return OmegaConf.merge(master_config, values)  # type: ignore[return-value]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "sweep")
