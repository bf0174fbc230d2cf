"""Both passes together, for the start of a job."""

from __future__ import annotations

from typing import Any

from xrec.config.capabilities import check_requires
from xrec.config.schema import UNRESOLVED, ConfigError, check
from xrec.config.targets import check_objectives, check_targets


def validate_job(cfg: Any) -> None:
    """Checks a composed config before any data is read.

    Raises:
        ConfigError: listing all that pass 1 (schema) and pass 2 (signatures, `requires`) find.
    """
    errors = check(cfg)
    if not any(e.startswith(UNRESOLVED) for e in errors):
        errors += [*check_targets(cfg), *check_requires(cfg), *check_objectives(cfg)]
    if errors:
        raise ConfigError(list(dict.fromkeys(errors)))
