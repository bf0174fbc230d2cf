"""Errors that tell a person what to do: printed without a traceback."""

from __future__ import annotations

from xrec.config.schema import ConfigError
from xrec.data.errors import DataError
from xrec.losses.weights import LossError
from xrec.tracking.store import RunError
from xrec.training.checkpoint import CheckpointError

USER_ERRORS = (ConfigError, DataError, LossError, RunError, CheckpointError, FileNotFoundError, ValueError)
