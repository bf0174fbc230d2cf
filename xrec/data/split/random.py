"""A random share of each user's events: only to replicate studies that did so."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import ALL_KINDS
from xrec.data.split.assigned import Assigned
from xrec.data.split.merge import (
    ASSIGNED_COLUMNS,
    in_time_order,
    merge_periods,
    merge_simultaneous,
    random_places,
    user_runs,
)
from xrec.data.split.settings import room_for_training, whole

NOTE = (
    "random split, for replication only: training holds events that are later than the targets, and a repeated item "
    "can be both, so its numbers flatter and do not compare with those of other splits"
)


@dataclass(frozen=True)
class RandomSplit:
    """Of a user's n events, round(test_share * n) test and round(validation_share * n) validate (.5 rounds up; at least
    one event trains), drawn by `seed`. A user with too few events for a share has no target in that part.

    Training events keep their order: the last gets period T, the one before it T - 1, and so on, T being the longest
    training history - 1 and train_end. Validation is period T + 1, test is period T + 2.

    Raises:
        DataError: settings out of range.
    """

    validation_share: float = 0.1
    test_share: float = 0.1
    seed: int = 0
    name: ClassVar[str] = "random"
    cold_items: ClassVar[bool] = False
    own_periods: ClassVar[bool] = True

    def __post_init__(self) -> None:
        room_for_training(self.validation_share, self.test_share)
        whole("seed", self.seed, 0)

    def key(self) -> dict[str, Any]:
        """What the cache must know of this split."""
        return {"kind": "random", **asdict(self)}

    def assign(self, events: pl.DataFrame, n_targets: int = ALL_KINDS) -> Assigned:
        """See `Split.assign`.

        Raises:
            DataError: no user has enough events for a part.
        """
        del n_targets  # periods are the same for every kind
        ordered, steps = merge_simultaneous(in_time_order(events))
        place = random_places(ordered, np.random.default_rng(self.seed))
        length = user_runs(ordered)[1]
        n_test = np.minimum(np.floor(self.test_share * length + 0.5).astype(np.int64), length - 1)
        n_validation = np.floor(self.validation_share * length + 0.5).astype(np.int64)
        n_validation = np.minimum(n_validation, length - 1 - n_test)
        test = place < n_test
        validation = ~test & (place < n_test + n_validation)
        for part, inside in (("validation", validation), ("test", test)):
            if not inside.any():
                share, longest = getattr(self, f"{part}_share"), int(length.max(initial=0))
                raise DataError(
                    f"split: no user has enough events for a {part} target (the longest history has {longest}); "
                    f"raise split.{part}_share={share}"
                )
        training = ~test & ~validation
        period = np.empty(len(length), dtype=np.int64)
        trained, of_how_many = user_runs(ordered.filter(pl.Series(training)))
        end = int(of_how_many.max()) - 1
        period[training] = end - (of_how_many - 1 - trained)
        period[validation], period[test] = end + 1, end + 2
        timed = ordered.with_columns(period=pl.Series(period)).select(ASSIGNED_COLUMNS)
        merged, more = merge_periods(timed, among=~training)
        return Assigned(
            merged,
            train_end=end,
            parts={"validation": (end + 1, end + 1), "test": (end + 2, end + 2)},
            steps=[*steps, *more],
            note=NOTE,
        )
