"""No future in the training: what is checked on every split, whoever wrote it. Every breach is an error."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from xrec.data.errors import DataError
from xrec.data.schema import ALL_KINDS
from xrec.data.split.assigned import PROMISES, Assigned

EVENT = ["user", "item", "time"]
Time = int | datetime


def check(
    assigned: Assigned,
    events_before: pl.DataFrame | None = None,
    split_name: str = "split",
    n_targets: int = ALL_KINDS,
) -> None:
    """Check what holds for every split, and what this one promises (`Assigned.promises`).

    For every split: training, validation and test follow each other on the axis, and nothing is after the test; no
    target event (user, item, time) is also in the history; cold items are in their own part only, and in one part only;
    users and items of `folds` are where their part says.

    Args:
        events_before: what was given to the split; if given, every target must be one of these events.
        n_targets: events of kinds 0 .. n_targets - 1 are targets in a part's periods.
    Raises:
        DataError: names the split, the breach, how many events, and one of them.
    """
    unknown = [p for p in assigned.promises if p not in PROMISES]
    if unknown:
        raise DataError(f"{split_name}: promises {unknown[0]!r}; a split can promise {', '.join(PROMISES)}")
    _axis(assigned, split_name)
    wanted = pl.col("kind") < n_targets
    targets = {p: assigned.events.filter(pl.col("period").is_between(*s) & wanted) for p, s in assigned.parts.items()}
    for part, rows in targets.items():
        _no_target_in_history(assigned, rows.select(EVENT), part, split_name)
        if events_before is not None:
            _known(rows.select(EVENT), events_before, part, split_name)
    for part, rows in targets.items():
        if "user_order" in assigned.promises:
            _user_order(assigned, rows, part, split_name)
        if "last_out" in assigned.promises:
            _breach(rows.filter(pl.col("user").is_duplicated()), f"targets of users with several in {part}", split_name)
        if "last_basket_out" in assigned.promises:
            several = pl.col("time").n_unique().over("user") > 1
            _breach(rows.filter(several), f"targets of users with several baskets in {part}", split_name)
    if "global_order" in assigned.promises:
        _global_order(assigned, split_name)
    if "users_apart" in assigned.promises:
        _users_apart(assigned, split_name)
    _cold(assigned, split_name)
    _folds(assigned, split_name)
    for part, rows in targets.items():
        if rows.is_empty():
            raise DataError(
                f"{split_name}: no event of {part} is of a kind that is to be predicted; see the split's settings"
            )


def last_training_time(assigned: Assigned) -> Time:
    """The time, as the source has it, of the last training event."""
    return assigned.events.filter(pl.col("period") <= assigned.train_end)["time"].max()  # type: ignore[return-value]


def check_attributes(latest: Time | None, train_end_time: Time, split_name: str = "split") -> None:
    """Attributes that change are known from training times only.

    Args:
        latest: the time of the latest attribute value that was kept; None: there is none.
        train_end_time: see `last_training_time`.
    Raises:
        DataError: the value is from later.
    """
    if latest is not None and latest > train_end_time:  # type: ignore[operator]
        raise DataError(
            f"{split_name}: leakage: an attribute value of {latest} is kept, but training ends at {train_end_time}"
        )


def _axis(assigned: Assigned, name: str) -> None:
    if set(assigned.parts) != {"validation", "test"}:
        raise DataError(f"{name}: parts are {', '.join(assigned.parts) or 'missing'}; must be validation and test")
    (first, last), (test, end) = assigned.parts["validation"], assigned.parts["test"]
    if not assigned.train_end < first <= last < test <= end:
        raise DataError(
            f"{name}: leakage: training (<= {assigned.train_end}), validation ({first}-{last}) and test ({test}-{end}) "
            "overlap or are out of order"
        )
    _breach(assigned.events.filter(pl.col("period") > end), f"events after the last test period {end}", name)


def _no_target_in_history(assigned: Assigned, targets: pl.DataFrame, part: str, name: str) -> None:
    first = assigned.parts[part][0]
    history = assigned.events.lazy().select(*EVENT, "period").filter(pl.col("period") < first)
    seen = history.join(targets.lazy(), on=EVENT, how="semi").collect(engine="streaming")
    training = seen.filter(pl.col("period") <= assigned.train_end)
    _breach(training, f"{part} targets are also in training", name)
    _breach(seen, f"{part} targets are also in the history before period {first}", name)


def _known(targets: pl.DataFrame, before: pl.DataFrame, part: str, name: str) -> None:
    # the small table is hashed, the large one streams past it
    known = before.lazy().select(EVENT).join(targets.lazy(), on=EVENT, how="semi").collect(engine="streaming").unique()
    _breach(targets.join(known, on=EVENT, how="anti"), f"{part} targets are no event of the data", name)


def _user_order(assigned: Assigned, targets: pl.DataFrame, part: str, name: str) -> None:
    before = pl.col("period") < assigned.parts[part][0]
    history = assigned.events.lazy().select("user", "time", "period").filter(before)
    latest = history.group_by("user").agg(latest=pl.col("time").max()).collect(engine="streaming")
    travelled = targets.join(latest, on="user").filter(pl.col("time") < pl.col("latest"))
    _breach(travelled, f"{part} targets are before an event of the same user's history", name)


def _global_order(assigned: Assigned, name: str) -> None:
    time, period = pl.col("time"), pl.col("period")
    spans = {"training": period <= assigned.train_end}
    spans |= {part: period.is_between(*span) for part, span in assigned.parts.items()}
    found = assigned.events.select(
        *(e for part, span in spans.items() for e in (
            time.filter(span).min().alias(f"{part} first"), time.filter(span).max().alias(f"{part} last")
        ))
    ).row(0, named=True)  # fmt: skip
    for earlier, later in (("training", "validation"), ("validation", "test"), ("training", "test")):
        last, first = found[f"{earlier} last"], found[f"{later} first"]
        if last is not None and first is not None and not last < first:
            raise DataError(f"{name}: leakage: {earlier} goes to {last}, but {later} begins at {first}")


def _users_apart(assigned: Assigned, name: str) -> None:
    """A user's events lie in one of: up to train_end, up to the validation's last period, after it."""
    bounds = (assigned.train_end, assigned.parts["validation"][1])
    block = sum(((pl.col("period") > b).cast(pl.UInt8) for b in bounds), pl.lit(0, dtype=pl.UInt8))
    blocks = assigned.events.group_by("user").agg(first=block.min(), last=block.max())
    mixed = blocks.filter(pl.col("first") != pl.col("last")).select("user")
    if mixed.height:
        events = assigned.events.join(mixed, on="user", how="semi")
        _breach(events, "events are of users in two of training, validation and test", name)


def _cold(assigned: Assigned, name: str) -> None:
    drawn = [np.unique(codes) for codes in assigned.cold.values()]
    codes, n_parts = np.unique(np.concatenate(drawn or [np.array([], dtype=np.int64)]), return_counts=True)
    shared = codes[n_parts > 1]
    if len(shared):
        raise DataError(f"{name}: leakage: {len(shared)} items are cold in both parts, such as item {shared[0]}")
    for part, codes in assigned.cold.items():
        events = assigned.events.filter(pl.col("item").is_in(codes.tolist()))
        _breach(
            events.filter(pl.col("period") <= assigned.train_end), f"training events are of cold {part} items", name
        )
        first, last = assigned.parts[part]
        outside = events.filter(~pl.col("period").is_between(first, last))
        _breach(outside, f"events of cold {part} items are outside the {part} periods", name)


def _folds(assigned: Assigned, name: str) -> None:
    if assigned.folds is None:
        return
    twice = assigned.folds.filter(pl.struct("entity", "id").is_duplicated())
    if twice.height:
        entity, code = twice.row(0)[:2]
        raise DataError(f"{name}: leakage: {entity} {code} is in several folds")
    for entity in ("user", "item"):
        held_out = assigned.folds.filter((pl.col("entity") == entity) & (pl.col("part") != "train"))
        if held_out.is_empty():
            continue
        training = assigned.events.filter(pl.col("period") <= assigned.train_end)
        ids = held_out["id"].cast(pl.Int64).to_list()
        _breach(training.filter(pl.col(entity).is_in(ids)), f"training events are of held-out {entity}s", name)


def _breach(events: pl.DataFrame, what: str, name: str) -> None:
    """Raise `DataError` if there are such events."""
    if events.is_empty():
        return
    columns = [c for c in (*EVENT, "period") if c in events.columns]
    example: dict[str, Any] = events.select(columns).sort(columns).row(0, named=True)
    shown = ", ".join(f"{k} {v}" for k, v in example.items())
    raise DataError(f"{name}: leakage: {events.height} {what}; the first: {shown}")
