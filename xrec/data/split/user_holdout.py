"""Whole users are held out: part of their events is folded in as history, the rest are targets."""

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
    whole_numbers,
)
from xrec.data.split.settings import choice, fold_of, room_for_training, share, whole
from xrec.types import Bools, Ints

TRAIN, VALIDATION, TEST = 0, 1, 2
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class UserHoldoutSplit:
    """Users train, validate or test (Liang et al., Variational Autoencoders for Collaborative Filtering, 2018).

    A held-out user's first round(fold_in_share * n) of n events (.5 rounds up; at least one, at most n - 1) are
    history, the rest targets. Users of one event cannot be held out and train. All periods count events, so that ages
    mean the same for everyone:

        0 .. train_end      a training user's last event gets train_end, the one before it train_end - 1, ...
        .. v - 1            a validation user's last folded-in event gets v - 1, the one before it v - 2, ...
        v                   all targets of validation users
        .. t - 1, t         the same of test users

    train_end, v and t are as small as the longest histories allow. A user has no event outside the block of its part.

    Args:
        n_folds: users are dealt into so many folds of the same size (to one): fold `fold` tests, the next one (fold 0
            after the last) validates, the others train. None: `test_share` and `validation_share` of the users do.
        fold_in: 'first' folds the first events in, ties in the order of the given rows; 'random' draws them.
        seed: of the users' order, and of 'random'.
    Raises:
        DataError: settings out of range.
    """

    fold: int | None = None
    n_folds: int | None = None
    validation_share: float = 0.1
    test_share: float = 0.1
    fold_in_share: float = 0.8
    fold_in: str = "first"
    seed: int = 0
    name: ClassVar[str] = "user_holdout"
    cold_items: ClassVar[bool] = False
    own_periods: ClassVar[bool] = True

    def __post_init__(self) -> None:
        share("fold_in_share", self.fold_in_share)
        choice("fold_in", self.fold_in, ("first", "random"))
        whole("seed", self.seed, 0)
        room_for_training(self.validation_share, self.test_share)
        if self.n_folds is None:
            if self.fold is not None:
                raise DataError(
                    f"split.fold: got {self.fold!r}, which needs split.n_folds; give it, or set fold to null"
                )
            return
        whole("n_folds", self.n_folds, 3, " (one each for training, validation and test)")
        fold_of(self.fold, self.n_folds)

    def key(self) -> dict[str, Any]:
        """What the cache must know of this split."""
        return {"kind": "user_holdout", **asdict(self)}

    def assign(self, events: pl.DataFrame, n_targets: int = ALL_KINDS) -> Assigned:
        """See `Split.assign`.

        Raises:
            DataError: too few users for the training or a part.
        """
        del n_targets  # periods are the same for every kind
        ordered, steps = merge_simultaneous(in_time_order(events))
        place, length = user_runs(ordered)
        heads = np.flatnonzero(place == 0)
        part_of_user = self._parts(length[heads])
        part = np.repeat(part_of_user, length[heads])
        n_history = np.floor(self.fold_in_share * length + 0.5).astype(np.int64)
        n_history = np.where(part == TRAIN, length, np.clip(n_history, 1, np.maximum(length - 1, 1)))
        rank = place
        if self.fold_in == "random":
            rank = random_places(ordered, np.random.default_rng([self.seed, 1]))
        target = rank >= n_history
        period, ends = _periods(part, target, whole_numbers(ordered, "user"))
        timed = ordered.with_columns(period=pl.Series(period)).select(ASSIGNED_COLUMNS)
        merged, more = merge_periods(timed, among=target)
        users = ordered["user"].gather(heads)
        folds = pl.DataFrame({"id": users, "part": [PARTS[p] for p in part_of_user]})
        late = (
            "" if self.fold_in == "first" else "; folded-in events are random ones, and can be later than the targets"
        )
        return Assigned(
            merged,
            train_end=ends[0],
            parts={"validation": (ends[1], ends[1]), "test": (ends[2], ends[2])},
            steps=[*steps, *more],
            folds=folds.select(pl.lit("user").alias("entity"), "id", "part"),
            note="held-out users are scored by what others did at any time, also later than their targets" + late,
            promises=("users_apart", "user_order") if self.fold_in == "first" else ("users_apart",),
        )

    def _parts(self, n_events: Ints) -> Ints:
        """[n_users] the part of each user, in the order of their codes."""
        able = np.flatnonzero(n_events >= 2)
        shuffled = able[np.random.default_rng([self.seed, 0]).permutation(len(able))]
        part = np.full(len(n_events), TRAIN)
        if self.n_folds is not None and self.fold is not None:
            fold = np.arange(len(shuffled)) % self.n_folds
            part[shuffled[fold == (self.fold + 1) % self.n_folds]] = VALIDATION
            part[shuffled[fold == self.fold]] = TEST
        else:
            n_test, n_validation = (int(s * len(able) + 0.5) for s in (self.test_share, self.validation_share))
            part[shuffled[:n_test]] = TEST
            part[shuffled[n_test : n_test + n_validation]] = VALIDATION
        for number, name in enumerate(PARTS):
            if not (part == number).any():
                raise DataError(
                    f"split: no user is left for {name}: {len(able)} users have two or more events; "
                    + ("lower split.n_folds" if self.n_folds is not None else "change the shares, or give more users")
                )
        return part


def _periods(part: Ints, target: Bools, user: Ints) -> tuple[Ints, tuple[int, int, int]]:
    """[n] periods; train_end, and the periods of validation and test targets. Rows stand in time order."""
    period = np.empty(len(part), dtype=np.int64)
    at, ends = 0, []
    for number in (TRAIN, VALIDATION, TEST):
        rows = np.flatnonzero((part == number) & ~target)
        place, length = user_runs(pl.DataFrame({"user": user[rows]}))
        end = at + int(length.max())  # the period after the block's histories
        period[rows] = end - length + place
        if number != TRAIN:
            period[(part == number) & target] = end
        ends.append(end if number != TRAIN else end - 1)
        at = end if number == TRAIN else end + 1
    return period, (ends[0], ends[1], ends[2])
