"""From a coded event log to clean events: one row per user, item and time, every step counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from xrec.data.accounting import Tally
from xrec.data.dates import moment_of
from xrec.data.errors import DataError
from xrec.data.runs import by_user, last_of_runs, merge_runs
from xrec.data.schema import Step
from xrec.words import did_you_mean

#: nobody recorded an interaction outside these years; Int64 times are only refused below 0
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Cleaning:
    """`data.clean`.

    Args:
        since, until: dates ('2015-01-31', both days included) or, where times are whole numbers, such numbers.
        min_value: events of a smaller value go (ratings >= 4 are positive).
        kind_weights: event kind -> weight, 1 for kinds that are not named; 0 drops the kind. None: all weigh 1.
        target_kinds: kinds that are to be predicted, and that the core counts; None: all but those that the source says
            are history only. The others are history only.
        strength: 'value' (an event counts its value times its kind's weight) or 'one' (its kind's weight).
        deduplicate: events of the same user, item, time and kind are one.
        outlier_mads: users go whose log number of training events is above median + this * 1.4826 * MAD; None: off.
        min_item_users, min_user_items: the core, counted on training, to a fixed point; 0: no such limit.
        min_level_count: attribute levels of fewer items (or users) of the training are pooled.
        strict: whatever drops an event is an error.
    Raises:
        DataError: a value that is not one of these.
    """

    since: str | int | None = None
    until: str | int | None = None
    min_value: float | None = None
    kind_weights: Mapping[str, float] | None = None
    target_kinds: Sequence[str] | None = None
    strength: str = "value"
    deduplicate: bool = True
    outlier_mads: float | None = None
    min_item_users: int = 0
    min_user_items: int = 0
    min_level_count: int = 1
    strict: bool = False

    def __post_init__(self) -> None:
        if self.strength not in ("value", "one"):
            raise DataError(f"data.clean.strength is {self.strength!r}; takes value or one")

    def key(self) -> dict[str, Any]:
        """What the cache must know of this."""
        return asdict(self)


@dataclass(frozen=True)
class Kinds:
    """The kinds of events as `clean` numbers them: first those that are to be predicted, and of equals the one of more
    weight, then the source's order. Where several events become one row, the first of their kinds is the row's: a
    purchase that was also a view stays a purchase.

    names, weights: by number. n_targets: kinds 0 .. n_targets - 1 are to be predicted. ranks: source's number -> ours.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    n_targets: int
    ranks: tuple[int, ...]

    @classmethod
    def of(cls, names: tuple[str, ...], cleaning: Cleaning, source: str, history_only: Sequence[str] = ()) -> Kinds:
        """The kinds of a source under `data.clean`; `history_only` are not predicted unless it says so.

        Raises:
            DataError: a setting names a kind that the source does not have; no kind is left to be predicted.
        """
        weights = dict.fromkeys(names, 1.0) | {k: float(w) for k, w in (cleaning.kind_weights or {}).items()}
        targets = cleaning.target_kinds
        targets = tuple(n for n in names if n not in history_only) if targets is None else tuple(targets)
        for setting, given in (("kind_weights", weights), ("target_kinds", targets)):
            for name in given:
                if name not in names:
                    hint = did_you_mean(name, names, cutoff=0.6)
                    raise DataError(
                        f"{source}: data.clean.{setting} names the kind {name!r}, which this source does not "
                        f"have{hint} (kinds: {', '.join(names)})"
                    )
        if not any(weights[name] for name in targets):
            raise DataError(
                f"{source}: no kind of event is left to be predicted; data.clean.target_kinds must name one whose "
                "data.clean.kind_weights is not 0"
            )
        order = sorted(range(len(names)), key=lambda i: (names[i] not in targets, -weights[names[i]]))
        ranked = tuple(names[i] for i in order)
        return cls(
            ranked,
            tuple(weights[name] for name in ranked),
            len(set(targets)),
            tuple(ranked.index(name) for name in names),
        )


def clean(events: pl.DataFrame, kinds: Kinds, cleaning: Cleaning, tally: Tally) -> pl.DataFrame:
    """Coded events -> user, item, time, kind, strength; one row per (user, item, time), sorted by user, time, item.

    Where the log comes split, the part goes along, and only events of one part become one row.

    Raises:
        DataError: settings that do not suit the data, or that leave nothing.
    """
    if kinds.ranks != tuple(range(len(kinds.ranks))):
        ranks = np.array(kinds.ranks, dtype=np.uint8)
        events = events.with_columns(pl.Series("kind", ranks[events["kind"].to_numpy()]))
    events = _present(events, tally)
    events = _within(events, cleaning, tally)
    if cleaning.min_value is not None:
        value = cleaning.min_value
        events = tally.count(events.filter(pl.col("value") >= value), "value", f"value below {value:g}")
    if dropped := [i for i, w in enumerate(kinds.weights) if w == 0]:
        reason = "kinds of weight 0: " + ", ".join(kinds.names[i] for i in dropped)
        events = tally.count(events.filter(~pl.col("kind").is_in(dropped)), "kinds", reason)
    if cleaning.strength == "value" and (events["value"] <= 0).any():
        events = tally.count(events.filter(pl.col("value") > 0), "strength", "value of 0 or less, so no strength")
    if events.height == 0:
        raise DataError(
            f"{tally.source}: no events are left after the step {tally.steps[-1].step!r} ({tally.steps[-1].reason}); "
            "loosen data.clean"
        )
    return _merged(events, kinds, cleaning, tally)


def _present(events: pl.DataFrame, tally: Tally) -> pl.DataFrame:
    """Rows with a user, an item, a time and a finite value."""
    nulls = events.select(
        pl.col("user", "item", "time").null_count(), (~pl.col("value").is_finite()).fill_null(True).sum()
    ).row(0, named=True)
    there = pl.all_horizontal(pl.col("user", "item", "time").is_not_null()) & pl.col("value").is_finite()
    kept = events.filter(there) if any(nulls.values()) else events
    missing = ", ".join(f"{n} without {c}" for c, n in nulls.items() if n)
    return tally.count(kept, "missing", missing or "every event has user, item, time and value")


def _within(events: pl.DataFrame, cleaning: Cleaning, tally: Tally) -> pl.DataFrame:
    """Rows with a possible time, between `since` and `until`."""
    dated = events.schema["time"] != pl.Int64
    time = pl.col("time")
    if not events.height:
        return events
    possible = time.is_between(_EARLIEST, _LATEST, closed="left") if dated else time >= 0
    if not events.select(possible.all()).item():
        reason = "time before 1970 or from 2100 on" if dated else "negative time"
        events = tally.count(events.filter(possible), "time", reason)
    for name, value in (("since", cleaning.since), ("until", cleaning.until)):
        if value is None:
            continue
        if dated == isinstance(value, int):
            have = "dates" if dated else "whole numbers"
            raise DataError(f"{tally.source}: data.clean.{name} is {value!r}, but the times of this source are {have}")
        edge = moment_of(value, end=name == "until", where=f"data.clean.{name}") if isinstance(value, str) else value
        chosen = time >= edge if name == "since" else time <= edge
        events = tally.count(events.filter(chosen), name, f"{'before' if name == 'since' else 'after'} {value}")
    return events


def _merged(events: pl.DataFrame, kinds: Kinds, cleaning: Cleaning, tally: Tally) -> pl.DataFrame:
    """Duplicates are one event, and the events of a user, item and time are one row."""
    strength = pl.col("kind").replace_strict(dict(enumerate(kinds.weights)), return_dtype=pl.Float32)
    if cleaning.strength == "value":
        strength = strength * pl.col("value")
    pieces, n_distinct = [], 0
    given = [c for c in events.columns if c == "part"]  # of a log that comes split
    row = ("user", "item", "time", *given)
    for piece in by_user(events, ["user", "time", "item", *given, "kind", "value"]):
        # of events that differ in value only, the one of the largest value stays
        distinct = piece.filter(last_of_runs(piece, (*row, "kind"))) if cleaning.deduplicate else piece
        n_distinct += distinct.height
        weighed = distinct.select("user", "item", "time", "kind", strength.alias("strength"), *given)
        pieces.append(merge_runs(weighed, row))
    if cleaning.deduplicate:
        last = tally.steps[-1]
        reason = "the same user, item, time and kind again"
        tally.add(Step("duplicates", reason, n_distinct, last.users, last.items))
    return tally.count(pl.concat(pieces), "merged", "events of one user, item and time are one row", merged=True)
