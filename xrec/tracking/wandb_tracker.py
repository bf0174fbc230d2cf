"""Weights & Biases. The only place that imports wandb; offline unless asked otherwise."""

from __future__ import annotations

import configparser
import io
import netrc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from xrec.errors import SettingError

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # before the import: it looks a host up even offline
import wandb
import wandb.apis.public  # wandb.init does it, and takes twice as long once torch is there
from wandb.errors import Error

#: what a fit logs, drawn against the row's `step`
AGAINST_STEP = ("loss/*", "validation/*", "discriminator_loss", "epoch", "seconds")
_WAYS = "run `wandb login`, set WANDB_API_KEY, or choose tracking.mode=offline or tracking=none"


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

    def check(self) -> None:
        if self.mode == "online" and not has_key():
            raise SettingError(f"tracking.mode=online needs a W&B account, and there is no key: {_WAYS}")

    def start(self, directory: Path, config: Mapping[str, Any], name: str, group: str | None, job_type: str) -> None:
        try:
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
        except Error as error:
            reason = " ".join(str(error).split())
            raise SettingError(
                f"tracking.mode={self.mode}: W&B did not start ({reason}): {_WAYS}; "
                f"this run goes on with resume={directory} tracking=none"
            ) from error

        # Without this the axis counts calls, of which a step may have several.
        self._run.define_metric("step", hidden=True)
        for name in AGAINST_STEP:
            self._run.define_metric(name, step_metric="step")

    @property
    def run(self) -> wandb.Run:
        if self._run is None:
            raise RuntimeError("the tracker was not started")
        return self._run

    def log(self, row: Mapping[str, float]) -> None:
        self.run.log(dict(row))

    def summary(self, values: Mapping[str, float]) -> None:
        self.run.summary.update(dict(values))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.run.log({f"tables/{name}": wandb.Table(columns=list(columns), data=[list(r) for r in rows])})

    def image(self, name: str, png: Callable[[], bytes]) -> None:
        from PIL import Image

        self.run.log({f"figures/{name}": wandb.Image(Image.open(io.BytesIO(png())))})

    def artifact(self, name: str, kind: str, files: Sequence[Path]) -> None:
        artifact = wandb.Artifact(name, type=kind)
        for file in files:
            artifact.add_file(str(file))
        self.run.log_artifact(artifact)

    def finish(self, failed: bool = False) -> None:
        if self._run is not None:
            self._run.finish(exit_code=1 if failed else 0)
            self._run = None


def has_key() -> bool:
    """Whether W&B would find a key or token: in the environment, in netrc, or in its own settings. Asks no network."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    own = _settings()
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or own.get("base_url") or "https://api.wandb.ai").netloc
    return bool(own.get("api_key")) or any(_netrc_has(path, host) for path in _netrc_paths())


def _settings() -> dict[str, str]:
    """What `wandb login` and `wandb init` keep, for the person and in the working directory."""
    person = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    here = Path(os.environ.get("WANDB_DIR") or ".") / "wandb"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([folder.expanduser() / "settings" for folder in (person, here)])
    except (configparser.Error, UnicodeDecodeError):
        return {}
    return dict(parser["default"]) if parser.has_section("default") else {}


def _netrc_paths() -> list[Path]:
    chosen = os.environ.get("NETRC")
    return [Path(name).expanduser() for name in ([chosen] if chosen else ["~/.netrc", "~/_netrc"])]


def _netrc_has(path: Path, host: str) -> bool:
    try:
        found = netrc.netrc(path).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return False
    return found is not None and bool(found[2])
