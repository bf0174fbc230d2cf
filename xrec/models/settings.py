"""Numbers that models are made with, checked; every message names whose it is, the setting and the value it got."""

from __future__ import annotations

import math

from xrec.errors import SettingError


def at_least(least: float, owner: str, **values: float) -> None:
    """Raises: SettingError, when one of the values is below `least`."""
    for name, value in values.items():
        if not value >= least:  # nan is neither
            raise SettingError(f"{owner}: {name} must be at least {least}, got {value}")


def above_0(owner: str, **values: float) -> None:
    """Raises: SettingError, when one of the values is 0 or less, or infinite."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise SettingError(f"{owner}: {name} must be above 0, got {value}")


def from_0_below_1(owner: str, **values: float) -> None:
    """Raises: SettingError, when one of the values is outside [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise SettingError(f"{owner}: {name} must be in [0, 1), got {value}")
