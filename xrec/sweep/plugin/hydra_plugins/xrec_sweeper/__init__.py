"""Where Hydra looks for plugins. The work is done in `xrec.sweep.sweeper`.

No `from __future__ import annotations` in here: Hydra 1.3 runs this module before it enters it in `sys.modules`, and
dataclasses would look their module up. No heavy imports either: Hydra reads this at every `--help`.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import MISSING, DictConfig


class XrecSweeper(Sweeper):
    """`hydra/sweeper=xrec`: hands everything on to `xrec.sweep.sweeper.StudySweeper`."""

    def __init__(self, **settings: Any) -> None:
        from xrec.sweep.sweeper import StudySweeper

        self._sweeper = StudySweeper(**settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        return self._sweeper.sweep(arguments)


@dataclass
class XrecSweeperConf:
    """The arguments of `xrec.sweep.sweeper.StudySweeper`."""

    _target_: str = "hydra_plugins.xrec_sweeper.XrecSweeper"
    n_trials: int = 20
    study_name: str = MISSING
    storage: str | None = None
    sampler: dict[str, Any] = field(default_factory=lambda: {"name": "tpe"})
    seed: int = 0
    objectives: list[str] = field(default_factory=lambda: ["objective"])
    directions: list[str] = field(default_factory=lambda: ["maximize"])
    space: dict[str, str] = field(default_factory=dict)
    n_jobs: int = 1
    max_failures: int | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="xrec", node=XrecSweeperConf, provider="xrec")
