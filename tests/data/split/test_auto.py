"""split=auto: what it settles to, by settings alone or by the events."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from tests.splits import table
from xrec.config.instantiate import instantiate
from xrec.data import settled
from xrec.data.cache import ArrayCache
from xrec.data.errors import DataError
from xrec.data.split.auto import AutoSplit
from xrec.data.split.cold_item import ColdItemSplit
from xrec.data.split.leave_last_out import LeaveLastOutSplit
from xrec.data.split.settling import at_once, counts_own, node_of
from xrec.data.split.temporal import TemporalSplit

ENDS = {"train": 43, "validation": 47, "test": 53}
CALENDAR = table([(u, u, p) for p in range(1, 11) for u in range(10)])


def test_the_cut_of_a_data_set_is_known_at_once_and_is_exactly_that_split() -> None:
    found = AutoSplit(ends=ENDS).at_once()
    assert found == TemporalSplit(43, 47, 53)
    # the key before there was split=auto: what was cached then is found, and the fingerprint stays
    assert found.key() == {
        "kind": "temporal", "train_end": 43, "validation_end": 47, "test_end": 53, "period": None,
    }  # fmt: skip
    dates = {"train": "2024-01-07", "validation": "2024-01-14", "test": "2024-01-21", "period": "week"}
    assert AutoSplit(ends=dates).at_once() == TemporalSplit(*dates.values())


def test_shares_that_are_asked_for_win_over_the_cut_of_the_data_set() -> None:
    split = AutoSplit(test=0.2, ends=ENDS)
    assert split.at_once() is None
    assert split.settle(split.look(CALENDAR, 255, own_counter=False)) == TemporalSplit(7, 8, 10)


@pytest.mark.parametrize("start", [0, 1])
def test_times_that_count_a_users_own_events(start: int) -> None:
    events = table(
        [(0, 0, start), (0, 1, start + 1), (1, 0, start), (1, 2, start + 1), (1, 3, start + 2), (2, 0, start)]
    )
    assert counts_own(events)
    assert AutoSplit().settle(AutoSplit().look(events, 255, own_counter=True)) == LeaveLastOutSplit()
    baskets = pl.concat([events, table([(1, 5, start + 1)])])
    assert counts_own(baskets)
    found = AutoSplit().look(baskets, 255, own_counter=True)
    assert AutoSplit().settle(found) == LeaveLastOutSplit(unit="basket") and "basket" in found["words"]
    with pytest.raises(DataError, match="leave split.validation and split.test out"):
        AutoSplit(test=0.2).look(events, 255, own_counter=True)


@pytest.mark.parametrize("start", [0, 1])
def test_rows_that_are_missing_or_stray_do_not_decide(start: int) -> None:
    """Order numbers of 20 users: one begins late, one has a stray number, and of seven an order in the middle is
    gone."""
    whole = [(user, user + order, start + order) for user in range(20) for order in range(4)]
    late = [(user, item, time + (user == 0)) for user, item, time in whole]
    stray = [*late, (1, 7, start + 40)]
    gaps = [row for row in stray if not (2 <= row[0] < 9 and row[2] == start + 1)]
    assert counts_own(table(gaps))
    more = [row for row in stray if not (2 <= row[0] < 11 and row[2] == start + 1)]
    assert not counts_own(table(more)), "half of the users have gaps"
    later = [(user, item, time + (user < 3)) for user, item, time in whole]
    assert not counts_own(table(later)), "17 of 20 begin together"


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 0, 0), (0, 1, 2)],  # a gap
        [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)],  # another first number
        [(0, 0, 2), (0, 1, 3), (1, 0, 2), (1, 1, 3)],  # neither from 0 nor from 1
        [(0, 0, 1), (1, 1, 1)],  # nobody has a second
    ],
)
def test_whole_numbers_that_everyone_shares(rows) -> None:
    assert not counts_own(table(rows))


def test_what_a_settled_split_is_built_from() -> None:
    for split in (TemporalSplit(3, 4, 5), LeaveLastOutSplit(), ColdItemSplit(TemporalSplit(3, 4, 5), fold=1)):
        assert instantiate(node_of(split)) == split


def test_cold_items_settle_with_their_base() -> None:
    split = ColdItemSplit(TemporalSplit(), fold=1)
    assert split.at_once() is None and not split.own_periods
    settled_split = split.settle(split.look(CALENDAR, 255, own_counter=False))
    assert settled_split == ColdItemSplit(TemporalSplit(8, 9, 10), fold=1) and settled_split.at_once() == settled_split
    assert at_once(LeaveLastOutSplit()) == LeaveLastOutSplit()
    assert ColdItemSplit(LeaveLastOutSplit()).at_once() is not None and ColdItemSplit(LeaveLastOutSplit()).own_periods


def test_ends_that_are_not_ends_are_refused() -> None:
    with pytest.raises(
        DataError, match="data.ends.tset: takes train, validation, test and period; did you mean 'test'"
    ):
        AutoSplit(ends={**ENDS, "tset": 3})
    with pytest.raises(DataError, match="data.ends.test is missing"):
        AutoSplit(ends={"train": 1, "validation": 2})
    with pytest.raises(DataError, match="needs train_end < validation_end < test_end"):
        AutoSplit(ends={"train": 3, "validation": 2, "test": 4})


def test_the_events_are_looked_at_once(tmp_path: Path) -> None:
    seen = []
    reading = SimpleNamespace(name="toy", look=lambda split: seen.append(1) or split.look(CALENDAR, 255, False))
    for _ in range(2):
        split, words = settled.settle(AutoSplit(), ArrayCache(tmp_path), {"source": "toy"}, reading)  # type: ignore[arg-type]
        assert split == TemporalSplit(8, 9, 10) and words.startswith("temporal by share, times are period numbers (if ")
    assert seen == [1]
    assert settled.settle(AutoSplit(ends=ENDS), ArrayCache(tmp_path), {}, reading) == (TemporalSplit(43, 47, 53), "")  # type: ignore[arg-type]
    assert settled.settle(LeaveLastOutSplit(), ArrayCache(tmp_path), {}, reading) == (LeaveLastOutSplit(), "")  # type: ignore[arg-type]
