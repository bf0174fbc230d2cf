"""The Hydra application: one run, a multirun, or a sweep. `python experiments/run.py --help`."""

import logging
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

CONF = str(Path(__file__).resolve().parent.parent / "conf")


@hydra.main(config_path=CONF, config_name="config", version_base="1.3")
def main(config: DictConfig) -> list[float] | float | None:
    from xrec.config.prepass import validate_job  # heavy imports only once there is something to run

    validate_job(config)
    from xrec import pipeline
    from xrec.errors import USER_ERRORS

    settings = HydraConfig.get()
    directory = Path(settings.runtime.output_dir)
    resume = config.resume is not None
    if resume:
        config = pipeline.restore(directory)
    group = Path(settings.sweep.dir).name if settings.mode == RunMode.MULTIRUN else None
    names = list(config.objectives)
    overrides = list(settings.overrides.task)
    # a trial that is asked again after a kill finds its own directory: it goes on there
    resume = resume or (group is not None and (directory / "config.yaml").exists())
    try:
        reached = pipeline.run(config, directory, overrides, resume=resume, group=group)
    except USER_ERRORS as error:
        if settings.mode == RunMode.MULTIRUN:
            raise
        logging.getLogger(__name__).debug("traceback", exc_info=True)
        pipeline.fail(error)
        return None
    missing = [name for name in names if name not in reached]
    if missing:
        raise ValueError(f"objectives {missing} were not measured; measured are: {', '.join(sorted(reached))}")
    return [reached[name] for name in names] or None


if __name__ == "__main__":
    from xrec.config.prepass import main_prepass

    sys.argv[1:] = main_prepass(sys.argv[1:], Path(CONF))
    main()
