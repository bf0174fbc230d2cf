"""Settings of splits, checked; every message names the setting, the value it got and the values it takes."""

from __future__ import annotations

from collections.abc import Sequence

from xrec.data.errors import DataError
from xrec.words import did_you_mean


def share(name: str, value: object) -> None:
    """Raise `DataError` unless 0 < value < 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise DataError(f"split.{name}: got {value!r}, takes a number between 0 and 1, both excluded")


def whole(name: str, value: object, least: int, why: str = "") -> None:
    """Raise `DataError` unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"split.{name}: got {value!r}, takes a whole number of at least {least}{why}")


def choice(name: str, value: object, known: Sequence[str]) -> None:
    """Raise `DataError` unless `value` is one of `known`."""
    if value not in known:
        raise DataError(f"split.{name}: got {value!r}, takes {' or '.join(known)}{did_you_mean(value, known)}")


def fold_of(fold: object, n_folds: int) -> None:
    """Raise `DataError` unless `fold` is one of 0 .. n_folds - 1."""
    if isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < n_folds:
        raise DataError(f"split.fold: got {fold!r}, takes 0 to {n_folds - 1}, since split.n_folds={n_folds}")


def room_for_training(validation_share: float, test_share: float) -> None:
    """Raise `DataError` for shares out of range, or that leave nothing to train on."""
    share("validation_share", validation_share)
    share("test_share", test_share)
    if validation_share + test_share >= 1:
        raise DataError(
            f"split: validation_share={validation_share} and test_share={test_share} leave nothing to train on; "
            "together they must be less than 1"
        )
