"""A split that comes with the data: the log says which part each event is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.data.interactions import PARTS
from xrec.data.schema import ALL_KINDS
from xrec.data.split.assigned import Assigned
from xrec.data.split.merge import (
    ASSIGNED_COLUMNS,
    merge_periods,
    merge_simultaneous,
    user_runs,
)
from xrec.words import counted

TRAIN, VALIDATION, TEST = range(len(PARTS))
#: how a log comes to have parts
GIVE = "name the column with the parts (data.source.columns.part), or a file for each part (data.source.parts)"


@dataclass(frozen=True)
class GivenSplit:
    """Every event is of the part that the log says; no event changes its part.

    Training events keep their order, by time and then by the given rows: a user's last gets period T, the one before it
    T - 1, and so on, T being the longest training history - 1 and train_end. Validation, where there is one, is the
    period after it, and test the next. An item may be both in a user's training and among the targets; an event (user,
    item, time) may not.
    """

    name: ClassVar[str] = "given"
    #: a log with parts is not refused by `check_given`
    takes_parts: ClassVar[bool] = True
    own_periods: ClassVar[bool] = True

    def key(self) -> dict[str, Any]:
        """What the cache must know of this split."""
        return {"kind": "given"}

    def assign(self, events: pl.DataFrame, n_targets: int = ALL_KINDS) -> Assigned:
        """See `Split.assign`; `events` have the column `part`, a place in PARTS.

        Raises:
            DataError: no such column; no event is of the training, or of the test.
        """
        if "part" not in events.columns:
            raise DataError(f"split: given takes the parts that the log says, but it says none; {GIVE}")
        ordered = events.sort("user", "part", "time", maintain_order=True)
        ordered, steps = merge_simultaneous(ordered, ("user", "part", "time"))
        part = ordered["part"].to_numpy()
        there = [number for number in range(len(PARTS)) if (part == number).any()]
        for number in (TRAIN, TEST):
            if number not in there:
                found = ", ".join(PARTS[n] for n in there) or "none"
                raise DataError(f"split: no event is of the {PARTS[number]} part (the log has {found}); {GIVE}")
        training = part == TRAIN
        place, length = user_runs(ordered.filter(pl.Series(training)))
        end = int(length.max()) - 1
        parts = {PARTS[n]: (end + i, end + i) for i, n in enumerate(there[1:], start=1)}
        period = np.empty(len(part), dtype=np.int64)
        period[training] = end - (length - 1 - place)
        for name, (only, _) in parts.items():
            period[part == PARTS.index(name)] = only
        timed = ordered.with_columns(period=pl.Series(period)).select(ASSIGNED_COLUMNS)
        timed, more = merge_periods(timed, among=~training)
        notes = [_without_training(timed, end, n_targets), _before_history(timed, end, parts, n_targets)]
        if VALIDATION not in there:
            notes.append("there is no validation part")
        return Assigned(timed, end, parts, [*steps, *more], note="; ".join(n for n in notes if n))


def check_given(columns: Sequence[str], split: Any, source: str) -> None:
    """Raise `DataError` when a log has parts that the split would ignore."""
    if "part" in columns and not getattr(split, "takes_parts", False):
        raise DataError(
            f"{source}: the log says which part each event is of, which split={split.name} would ignore; take "
            "split=given, or split it anew: set data.source.columns.part to null, and make one file of several"
        )


def _without_training(events: pl.DataFrame, end: int, n_targets: int) -> str:
    """How many users have targets and nothing in training, in words."""
    training = events.filter(pl.col("period") <= end).select("user").unique()
    targets = events.filter((pl.col("period") > end) & (pl.col("kind") < n_targets)).select("user").unique()
    n_users = targets.join(training, on="user", how="anti").height
    return (
        f"{counted(n_users, 'user')} with targets {'have' if n_users != 1 else 'has'} no event in training"
        if n_users
        else ""
    )


def _before_history(events: pl.DataFrame, end: int, parts: dict[str, tuple[int, int]], n_targets: int) -> str:
    """How many targets are earlier than an event of the same user's history, in words."""
    found = []
    for part, (only, _) in parts.items():
        history = events.filter(pl.col("period") < only).group_by("user").agg(latest=pl.col("time").max())
        targets = events.filter((pl.col("period") == only) & (pl.col("kind") < n_targets))
        n_early = targets.join(history, on="user").filter(pl.col("time") < pl.col("latest")).height
        found += [f"{n_early:,} of {counted(targets.height, f'{part} target')}"] if n_early else []
    return f"earlier than an event of the same user's history are {' and '.join(found)}" if found else ""
