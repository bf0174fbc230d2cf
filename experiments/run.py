"""The Hydra application: one run, a multirun, or a sweep. `python experiments/run.py --help`."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

CONF = str(Path(__file__).resolve().parent.parent / "conf")


@hydra.main(config_path=CONF, config_name="config", version_base="1.3")
def main(config: DictConfig) -> list[float] | float | None:
    from xrec import pipeline  # heavy imports only once there is something to run
    from xrec.config.validate import validate_job
    from xrec.errors import RunError, UserError

    settings = HydraConfig.get()
    directory = Path(settings.runtime.output_dir)
    multirun = settings.mode == RunMode.MULTIRUN
    resume = config.resume is not None
    names = list(config.objectives)
    try:
        if config.resume is not None:
            config = pipeline.restore(directory)
        validate_job(config)
        group = Path(settings.sweep.dir).name if multirun else None
        reached = pipeline.run(config, directory, list(settings.overrides.task), resume=resume, group=group)
        missing = [name for name in names if name not in reached]
        if missing:
            raise RunError(f"objectives {missing} were not measured; measured are: {', '.join(sorted(reached))}")
    except UserError as error:
        if not multirun:
            pipeline.fail(error)
        if config.get("sweep") is not None:  # the study records it
            raise
        raise CompactHydraException(f"\nerror: {error}") from error  # of this kind Hydra prints no traceback
    return [reached[name] for name in names] or None


if __name__ == "__main__":
    from xrec.config.prepass import main_prepass

    sys.argv[1:] = main_prepass(sys.argv[1:], Path(CONF))
    main()
