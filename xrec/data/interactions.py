"""Clean, split interactions: histories as of any moment, targets of any span, item statistics as of any moment."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from xrec.data.errors import DataError
from xrec.types import HALF_LIVES, Catalogue, Doubles, Floats, HistoryTable, Ints, TargetTable

Array = npt.NDArray[Any]

#: what the codes in the stored folds stand for
ENTITIES = ("user", "item")
PARTS = ("train", "validation", "test")

STATISTIC_SPANS = (1, 2, 4, 8, 16, 52)
STATISTIC_NAMES = (*(f"log_users_{s}" for s in STATISTIC_SPANS), "repeat_rate", "log_age", "log_since_last")


#: bytes of histories that are kept although nobody holds them: all moments of a small data set, none of a large one
_KEPT = 2**29


class _Recent:
    """Histories by moment: those that somebody holds, and the latest others up to `_KEPT` bytes."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[int, HistoryTable] = WeakValueDictionary()
        self._kept: OrderedDict[int, HistoryTable] = OrderedDict()

    def get(self, moment: int, build: Callable[[], HistoryTable]) -> HistoryTable:
        table = self._held.get(moment)
        if table is None:
            table = self._held[moment] = build()
        self._kept[moment] = table
        self._kept.move_to_end(moment)
        while sum(_size(kept) for kept in self._kept.values()) > _KEPT:
            self._kept.popitem(last=False)
        return table


def _size(table: HistoryTable) -> int:
    return sum(value.nbytes for value in vars(table).values() if isinstance(value, np.ndarray))


def _firsts(user: Array, item: Array) -> Ints:
    """Where each pair of user and item begins, in events sorted by both: what `np.unique` finds much more slowly."""
    new = np.ones(len(user), dtype=bool)
    new[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    return np.flatnonzero(new)


def _halved(age: Ints, half_life: float) -> Doubles:
    """0.5 ** (age / half_life). Ages are few and events many, as a rule: each power is taken once."""
    oldest = int(age.max(initial=0))
    if oldest < len(age):
        return (0.5 ** (np.arange(oldest + 1) / half_life))[age]
    return 0.5 ** (age / half_life)


@dataclass(frozen=True)
class SplitInteractions:
    """Events sorted by (user, item, period), one per triple; internal ids are 0 .. n - 1 in the order of the catalogue.

    Implements `xrec.types.Dataset`. Arrays may be memory-mapped and of small types: user, item, time Int32, kind UInt8.
    parts: name -> (first, last) period. card: the data card. cold: part -> items that are ranked among themselves.
    fold_codes, truth: arrays, see `folds` and `causes`. n_target_kinds: kinds 0 .. n - 1 are targets; None: all.
    users_apart: held-out users come after the training on the axis, though not in time. split: settled; what made it.
    """

    user: Array
    item: Array
    time: Array
    strength: Floats
    kind: Array
    catalogue: Catalogue
    train_end: int
    parts: dict[str, tuple[int, int]]
    fingerprint: str
    card: dict[str, Any]
    cold: dict[str, Array] = field(default_factory=dict)
    fold_codes: dict[str, Array] = field(default_factory=dict)
    truth: dict[str, Array] = field(default_factory=dict)
    mechanisms: Sequence[str] = ()
    n_target_kinds: int | None = None
    users_apart: bool = False
    split: Any = field(default=None, repr=False, compare=False)
    _histories: _Recent = field(default_factory=_Recent, init=False, repr=False, compare=False)

    @property
    def own_periods(self) -> bool:
        """See `xrec.data.split.assigned.Split`."""
        return bool(getattr(self.split, "own_periods", False))

    def period(self, part: str) -> tuple[int, int]:
        """(first, last) period of a part.

        Raises:
            DataError: unknown part.
        """
        if part not in self.parts:
            raise DataError(f"split: no part {part!r}; parts are {', '.join(self.parts)}")
        return self.parts[part]

    def cold_items(self, part: str) -> Ints | None:
        """The items that are ranked among themselves in a part, sorted; None: the split has no cold items."""
        return self.cold[part].astype(np.int64) if part in self.cold else None

    def folds(self) -> dict[str, list[str]]:
        """Which users and items the split kept out of which part: entity ('user' or 'item'), id and part, row by row;
        empty for splits by time alone."""
        if not self.fold_codes:
            return {}
        rows = self.fold_codes["entity_code_part"].tolist()
        ids = (self.catalogue.user_ids, self.catalogue.item_ids)
        return {
            "entity": [ENTITIES[entity] for entity, _, _ in rows],
            "id": [ids[entity][code] for entity, code, _ in rows],
            "part": [PARTS[part] for _, _, part in rows],
        }

    def causes(self) -> dict[str, Any]:
        """The known causes of events by external ids: user, item, period, cause (None: no item),
        strength, mechanism; empty where unknown."""
        if not self.truth:
            return {}
        users, items = self.catalogue.user_ids, self.catalogue.item_ids
        return {
            "user": [users[i] for i in self.truth["user"].tolist()],
            "item": [items[i] for i in self.truth["item"].tolist()],
            "period": self.truth["period"],
            "cause": [items[i] if i >= 0 else None for i in self.truth["cause"].tolist()],
            "strength": self.truth["strength"],
            "mechanism": [self.mechanisms[i] for i in self.truth["mechanism"].tolist()],
        }

    def _wanted(self) -> Array:
        """[n] which events are of a kind that is to be predicted."""
        return np.ones(len(self.kind), dtype=bool) if self.n_target_kinds is None else self.kind < self.n_target_kinds

    def histories(self, moment: int) -> HistoryTable:
        """All users' histories of periods < `moment`, one entry per (user, item); not to be written to: all who ask for
        a moment share them."""
        return self._histories.get(moment, lambda: self._histories_before(moment))

    def _histories_before(self, moment: int) -> HistoryTable:
        before = self.time < moment
        user, item, time = self.user[before], self.item[before], self.time[before]
        strength, kind = self.strength[before].astype(np.float64), self.kind[before]
        wanted = self._wanted()[before]
        first = _firsts(user, item)
        last = np.append(first[1:], len(user))[: len(first)] - 1
        steps = moment - time.astype(np.int64)
        age = steps.astype(np.float64)

        def total(values: np.ndarray) -> Floats:
            return (np.add.reduceat(values, first) if len(first) else values).astype(np.float32)

        decayed = [total(strength * _halved(steps, h)) for h in HALF_LIVES]
        counts = np.bincount(user[first], minlength=self.catalogue.n_users)
        return HistoryTable(
            moment=moment,
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            item=item[first].astype(np.int64),
            age=age[last].astype(np.float32),
            first_age=age[first].astype(np.float32),
            strength=total(strength),
            n_periods=(last - first + 1).astype(np.float32),
            kind=kind[last].astype(np.int64),
            positive=(np.logical_or.reduceat(wanted, first) if len(first) else wanted).astype(np.float32),
            decayed=np.stack(decayed, axis=1) if len(first) else np.zeros((0, len(HALF_LIVES)), dtype=np.float32),
        )

    def targets(self, start: int, end: int) -> TargetTable:
        """Distinct items per user in periods start .. end, both included; events of target kinds only."""
        inside = (self.time >= start) & (self.time <= end) & self._wanted()
        user, item = self.user[inside], self.item[inside]
        first = _firsts(user, item)
        counts = np.bincount(user[first], minlength=self.catalogue.n_users)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return TargetTable(start, end, indptr, item[first].astype(np.int64))

    def others_until(self, moment: int) -> int:
        """The moment before which events of other users count, at `moment`: itself, or, where users are held out as a
        whole (and come after the training on the axis), the end of training at the latest."""
        return min(moment, self.train_end + 1) if self.users_apart else moment

    def item_statistics(self, moment: int) -> Floats:
        """[n_items, 9] as of just before `moment`: log(1 + distinct users) in the last 1, 2, 4, 8, 16, 52 periods,
        repeat
        rate, log(1 + periods since the first sale), log(1 + periods since the last sale). Never-sold items: zeros
        and the largest recency. Only events of kinds that are to be predicted count; where users are held out as a
        whole, every later moment sees what the training ended with."""
        n_items = self.catalogue.n_items
        moment = self.others_until(moment)
        before = (self.time < moment) & self._wanted()
        user, item, time = self.user[before], self.item[before], self.time[before].astype(np.int64)
        columns = []
        for span in STATISTIC_SPANS:
            recent = time >= moment - span
            bought = item[recent]
            pairs = _firsts(user[recent], bought)
            columns.append(np.log1p(np.bincount(bought[pairs], minlength=n_items)))
        pairs = _firsts(user, item)
        n_times = np.diff(pairs, append=len(user))
        buyers = np.bincount(item[pairs], minlength=n_items)
        repeaters = np.bincount(item[pairs], weights=n_times > 1, minlength=n_items)
        first = np.full(n_items, moment)
        last = np.full(n_items, min(int(time.min(initial=moment)), moment) - 1)
        np.minimum.at(first, item, time)
        np.maximum.at(last, item, time)
        columns += [repeaters / np.maximum(buyers, 1), np.log1p(moment - first), np.log1p(moment - last)]
        return np.stack(columns, axis=1).astype(np.float32)
