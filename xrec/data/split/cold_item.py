"""Items that nobody has seen: some are taken out of the training of another split, and are ranked among themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import polars as pl

from xrec.data.core import core_of_pairs
from xrec.data.errors import DataError
from xrec.data.schema import ALL_KINDS
from xrec.data.split.assigned import Assigned, Split
from xrec.data.split.merge import first_of_pairs, step, whole_numbers
from xrec.data.split.settings import fold_of, room_for_training, whole
from xrec.data.split.settling import Unsettled, at_once
from xrec.types import Ints

PARTS = ("validation", "test")
BASES = ("temporal", "leave_last_out")


@dataclass(frozen=True)
class ColdItemSplit:
    """On top of a `base` split, validation and test items that appear in their own part only.

    Items of the core (`min_item_users`, `min_user_items`, counted on training) are sorted by the number of their
    training events and cut into `n_strata` strata of equal size (fewer, so that each has ten items or more). Each
    stratum is shuffled; the share
    [fold * test_share, (fold + 1) * test_share) of it tests, the next `validation_share` (after the end, from the start
    again) validates. So the test items of different folds are different ones, and every stratum gives the same share.
    Items first seen after the training stay as the base split has them.

    A cold item's events outside its part's periods are dropped (step "cold").

    Args:
        base: a temporal or leave_last_out split.
        min_item_users, min_user_items: the core's limits (`data.clean`): items that it would drop if none were cold
            must not be drawn.
    Raises:
        DataError: settings out of range; folds whose test items would overlap.
    """

    base: Split
    validation_share: float = 0.1
    test_share: float = 0.15
    n_folds: int = 3
    fold: int = 0
    n_strata: int = 10
    min_item_users: int = 0
    min_user_items: int = 0
    seed: int = 0
    cold_items: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if getattr(self.base, "name", None) not in BASES:
            found = getattr(self.base, "name", type(self.base).__name__)
            raise DataError(f"split.base: got {found}, takes {' or '.join(BASES)}")
        room_for_training(self.validation_share, self.test_share)
        whole("n_folds", self.n_folds, 1)
        fold_of(self.fold, self.n_folds)
        whole("n_strata", self.n_strata, 1)
        whole("min_item_users", self.min_item_users, 0)
        whole("min_user_items", self.min_user_items, 0)
        whole("seed", self.seed, 0)
        if self.n_folds * self.test_share > 1 + 1e-9:
            raise DataError(
                f"split: {self.n_folds} folds of test_share={self.test_share} overlap; lower split.n_folds or "
                "split.test_share, so that their product is at most 1"
            )

    @property
    def name(self) -> str:
        return f"cold_item_{self.base.name}"

    @property
    def own_periods(self) -> bool:
        return bool(getattr(self.base, "own_periods", False))

    def key(self) -> dict[str, Any]:
        """What the cache must know of this split."""
        own = {k: v for k, v in vars(self).items() if k != "base"}
        return {"kind": "cold_item", **own, "base": self.base.key()}

    def at_once(self) -> ColdItemSplit | None:
        """See `Unsettled`."""
        base = at_once(self.base)
        return None if base is None else replace(self, base=base)

    def look(self, events: pl.DataFrame, n_targets: int, own_counter: bool) -> dict[str, Any]:
        """See `Unsettled`; what the base split finds."""
        assert isinstance(self.base, Unsettled)
        found = self.base.look(events, n_targets, own_counter)
        return found | {"words": f"cold items on {found['words']}"}

    def settle(self, found: dict[str, Any]) -> ColdItemSplit:
        """See `Unsettled`."""
        assert isinstance(self.base, Unsettled)
        return replace(self, base=self.base.settle(found))

    def assign(self, events: pl.DataFrame, n_targets: int = ALL_KINDS) -> Assigned:
        """See `Split.assign`.

        Raises:
            DataError: as the base split; no cold item of a part has an event in its periods; nothing is left to train
                on.
        """
        assigned = self.base.assign(events, n_targets)
        items, part = self._draw(assigned, n_targets)
        cold = {name: items[part == name] for name in PARTS}
        dropped = pl.lit(value=False)
        for name, codes in cold.items():
            elsewhere = ~pl.col("period").is_between(*assigned.parts[name])
            dropped = dropped | (pl.col("item").is_in(codes.tolist()) & elsewhere)
        kept = assigned.events.filter(~dropped)
        for name, codes in cold.items():
            if not kept.select((pl.col("item").is_in(codes.tolist()) & _inside(assigned, name)).any()).item():
                raise DataError(
                    f"split: none of the {len(codes)} cold {name} items has an event in the {name} periods; raise "
                    f"split.{name}_share={getattr(self, f'{name}_share')}"
                )
        if not kept.select((pl.col("period") <= assigned.train_end).any()).item():
            raise DataError("split: no events are left to train on without the cold items; lower the shares")
        counts = " and ".join(f"{len(codes)} {name}" for name, codes in cold.items())
        return Assigned(
            kept,
            train_end=assigned.train_end,
            parts=assigned.parts,
            steps=[*assigned.steps, step("cold", f"events of {counts} items outside their part", kept)],
            folds=pl.DataFrame(
                {"entity": ["item"] * len(items), "id": items, "part": part}, schema_overrides={"part": pl.String}
            ).cast({"id": events.schema["item"]}),
            cold=cold,
            note=assigned.note,
            promises=assigned.promises,
        )

    def _draw(self, assigned: Assigned, n_targets: int) -> tuple[Ints, np.ndarray]:
        """Codes of the items that could be drawn, ascending, and 'train', 'validation' or 'test' for each."""
        training = assigned.events.filter((pl.col("period") <= assigned.train_end) & (pl.col("kind") < n_targets))
        item = whole_numbers(training, "item")
        counts = np.bincount(item)
        pairs = first_of_pairs(training)
        user = whole_numbers(training, "user")[pairs]
        codes = np.unique(core_of_pairs(user, item[pairs], self.min_item_users, self.min_user_items)[1])
        if len(codes) == 0:
            raise DataError(
                f"split: the core (items of split.min_item_users={self.min_item_users} users, users of "
                f"split.min_user_items={self.min_user_items} items) has no item to draw; lower them"
            )
        by_count = np.lexsort((codes, counts[codes]))
        part = np.full(len(codes), "train", dtype=object)
        generator = np.random.default_rng(self.seed)
        start = self.fold * self.test_share
        edges = np.array([start, start + self.test_share, start + self.test_share + self.validation_share])
        strata = np.array_split(by_count, max(1, min(self.n_strata, len(codes) // 10)))
        for number, stratum in enumerate(strata):
            shuffled = generator.permutation(stratum)
            rounding = (number + 0.5) / len(strata)  # another in each stratum, or all would err to the same side
            first, last, stop = np.floor(edges * len(stratum) + rounding + 1e-9).astype(int)
            part[shuffled[np.arange(last, stop) % len(stratum)]] = "validation"
            part[shuffled[first:last]] = "test"
        for name in PARTS:
            if not (part == name).any():
                raise DataError(
                    f"split: {len(codes)} items are too few for split.{name}_share={getattr(self, f'{name}_share')}; "
                    "raise it, or give more items"
                )
        return codes, part


def _inside(assigned: Assigned, part: str) -> pl.Expr:
    return pl.col("period").is_between(*assigned.parts[part])
