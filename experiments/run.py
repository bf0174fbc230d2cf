"""The Hydra application: one run, a multirun, or a sweep. `python experiments/run.py --help`."""

import contextlib
import gc
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONF = str(Path(__file__).resolve().parent.parent / "conf")
INTERRUPTED = 128 + signal.SIGINT
COLLECTIONS = gc.get_threshold()


def job(config: "DictConfig") -> list[float] | None:
    """One run: of its own, of a multirun, or a trial of a sweep, which is handed the objectives."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException
    from hydra.types import RunMode

    from xrec.errors import UserError
    from xrec.plan import CONFIG

    settings = HydraConfig.get()
    multirun, directory = settings.mode == RunMode.MULTIRUN, Path(settings.runtime.output_dir)
    runs = Path(config.paths.runs).absolute()
    try:
        if not config.stages and config.resume is None:  # a look at the data set, which leaves nothing
            _examine(config)
            _remove_empty(directory, runs)
            return None
        return _run(config, directory, list(settings.overrides.task), settings.sweep.dir if multirun else None)
    except UserError as error:
        if config.get("sweep") is not None:  # the study records it
            raise
        _remove_empty(directory, runs)
        if not multirun:
            print(f"\nerror: {error}", file=sys.stderr)
            sys.exit(1)
        raise CompactHydraException(f"\nerror: {error}") from error  # of this kind Hydra prints no traceback
    except KeyboardInterrupt:
        _remove_empty(directory, runs)
        if config.get("sweep") is not None:
            leave("the same command goes on with the study")
        later = ["the later jobs of this multirun have not begun"] if multirun else []
        began = (directory / CONFIG).is_file()
        leave(*later, *([f"go on with: python experiments/run.py resume={directory}"] if began else []))


def _examine(config: "DictConfig") -> None:
    from xrec import pipeline

    pipeline.examine(config)


def _run(config: "DictConfig", directory: Path, overrides: list[str], sweep_dir: str | None) -> list[float] | None:
    from xrec.config.instantiate import resolve
    from xrec.errors import RunError, UserError

    # W&B before torch: each of its many classes looks through all modules that are there
    with contextlib.suppress(UserError):  # validate_job says what is wrong with it
        resolve(config.tracking._target_)
    from xrec import pipeline  # heavy imports only once there is something to run
    from xrec.config.validate import validate_job

    resume, names = config.resume is not None, list(config.objectives)
    if resume:
        config = _with_tracking(pipeline.restore(directory), config, overrides)
    validate_job(config)
    gc.set_threshold(*COLLECTIONS)
    group = None if sweep_dir is None else Path(sweep_dir).name
    reached = pipeline.run(config, directory, overrides, resume=resume, group=group)
    missing = [name for name in names if name not in reached]
    if missing:
        raise RunError(f"objectives {missing} were not measured; measured are: {', '.join(sorted(reached))}")
    return [reached[name] for name in names] or None


def _with_tracking(saved: "DictConfig", asked: "DictConfig", overrides: list[str]) -> "DictConfig":
    """The config of a run that is resumed: its own, but for what is asked for of tracking."""
    from omegaconf import OmegaConf

    for override in overrides:
        key = override.split("=")[0].lstrip("+")
        if key == "tracking" or key.startswith("tracking."):
            OmegaConf.update(saved, key, OmegaConf.select(asked, key), merge=False, force_add=True)
    return saved


def leave(*words: str) -> NoReturn:
    """Say in one line that a person interrupted this, and exit with the status that shells give to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # again: at once, and without a traceback from what cleans up
    print("\n" + "; ".join(["interrupted", *words]), file=sys.stderr, flush=True)
    sys.exit(INTERRUPTED)


def _remove_empty(directory: Path, runs: Path) -> None:
    """Hydra makes the directory of a run before the run begins: one that nothing was written into goes again."""
    for folder in [directory, *([directory.parent] if directory.parent.parent == runs else [])]:
        with contextlib.suppress(OSError):
            folder.rmdir()


def main() -> None:
    """Check the command line, then hand it to Hydra. Imports come as late as they can: --help needs none."""
    # imports and configs make objects by the million, which stay: to look for garbage among them is a tenth of the time
    gc.set_threshold(100_000)
    from xrec.config.prepass import main_prepass

    sys.argv[1:] = main_prepass(sys.argv[1:], Path(CONF))
    import hydra

    hydra.main(config_path=CONF, config_name="config", version_base="1.3")(job)()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before a job, or between two of them
        leave()
