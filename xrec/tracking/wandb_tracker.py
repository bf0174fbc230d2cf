"""Weights & Biases. The only place that imports wandb; offline unless asked otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xrec.errors import SettingError

if TYPE_CHECKING:
    import wandb


class WandbTracker:
    """Args:
    project: W&B project.
    mode: 'offline' (files in <run>/wandb, synchronised later with `wandb sync`) or 'online' (needs an account).
    group: None takes the experiment, multirun or study.
    """

    def __init__(
        self, project: str = "xrec", mode: Literal["offline", "online"] = "offline", group: str | None = None
    ) -> None:
        if mode not in ("offline", "online"):
            raise SettingError(f"tracking.mode must be 'offline' or 'online', got {mode!r}")
        self.project, self.group = project, group
        self.mode: Literal["offline", "online"] = mode
        self._run: wandb.Run | None = None

    def start(self, directory: Path, config: Mapping[str, Any], name: str, group: str | None, job_type: str) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it looks a host up even offline
        import wandb

        self._run = wandb.init(
            project=self.project,
            mode=self.mode,
            dir=directory,
            config=dict(config),
            name=name,
            group=self.group or group,
            job_type=job_type,
            reinit="create_new",
            settings=wandb.Settings(console="off", x_disable_stats=True, x_disable_meta=True, silent=True),
        )

    @property
    def run(self) -> wandb.Run:
        if self._run is None:
            raise RuntimeError("the tracker was not started")
        return self._run

    def log(self, row: Mapping[str, float]) -> None:
        self.run.log(dict(row))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        import wandb

        self.run.log({f"tables/{name}": wandb.Table(columns=list(columns), data=[list(r) for r in rows])})

    def artifact(self, name: str, kind: str, files: Sequence[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(name, type=kind)
        for file in files:
            artifact.add_file(str(file))
        self.run.log_artifact(artifact)

    def finish(self, failed: bool = False) -> None:
        if self._run is not None:
            self._run.finish(exit_code=1 if failed else 0)
            self._run = None
