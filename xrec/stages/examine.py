"""`stages=[]`: the data set and all that is wrong with it and with the config, at once; nothing is fitted or kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from omegaconf import DictConfig

from xrec.config.schema import ConfigError
from xrec.config.validate import validate_job
from xrec.data.cache import ArrayCache
from xrec.data.interactions import SplitInteractions
from xrec.errors import UserError
from xrec.plan import STAGES
from xrec.rundir.directory import RunDirectory
from xrec.stages.early import checks_given_data, early_checks
from xrec.stages.report import show_data
from xrec.stages.run import Run
from xrec.stages.settle import settle
from xrec.tracking.tracker import NoTracker


class ProblemsError(UserError):
    """Everything that is wrong, in one message; `problems` holds the single ones."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__("\n".join([f"{count}:", *(f"  - {p}" for p in problems)]))


def examine(config: DictConfig, read: Callable[[DictConfig], SplitInteractions]) -> None:
    """Build the data set by `read`, print its data card, and do every check of a run of all stages.

    Raises:
        ProblemsError: all that is wrong, each once.
    """
    config.stages = list(STAGES)
    problems: list[str] = []
    malformed = False

    def tried(check: Callable[[], Any]) -> Any:
        try:
            return check()
        except ConfigError as error:
            problems.extend(error.errors)
        except UserError as error:
            problems.extend(str(error).split("\n"))
        except TypeError:
            if not malformed:  # else an option cannot be built for what is listed already
                raise
        return None

    tried(lambda: validate_job(config))
    malformed = bool(problems)
    for check in early_checks(config):
        tried(check)
    dataset: SplitInteractions | None = tried(lambda: read(config))
    if dataset is not None:
        show_data(dataset.card)
        tried(lambda: settle(config, dataset))
        cache, nowhere = ArrayCache(config.paths.cache), RunDirectory(config.paths.runs)
        for check in checks_given_data(Run(config, nowhere, NoTracker(), dataset, cache, torch.device("cpu"))):
            tried(check)
    if problems:
        raise ProblemsError(list(dict.fromkeys(problems)))
