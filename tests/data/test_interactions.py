"""Histories, targets and item statistics against slow loops over the events."""

from __future__ import annotations

import gc
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrec.data.errors import DataError
from xrec.data.interactions import STATISTIC_NAMES, STATISTIC_SPANS, SplitInteractions, _halved
from xrec.types import HALF_LIVES, Catalogue, membership

N_USERS, N_ITEMS = 4, 5
TRIPLE = st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1), st.integers(1, 9))
EVENTS = st.dictionaries(TRIPLE, st.tuples(st.sampled_from([0.5, 1.0, 3.0]), st.integers(0, 2)), max_size=30)


def interactions(events: dict) -> SplitInteractions:
    rows = sorted((*triple, *rest) for triple, rest in events.items())
    columns = [np.array([r[i] for r in rows], dtype=np.float32 if i == 3 else np.int64) for i in range(5)]
    names = tuple(str(i) for i in range(N_ITEMS))
    catalogue = Catalogue(names, names, (), tuple(str(u) for u in range(N_USERS)))
    return SplitInteractions(*columns, catalogue, 5, {"validation": (6, 7), "test": (8, 9)}, "fingerprint", {})


@given(EVENTS, st.integers(0, 11))
def test_histories_equal_a_slow_loop(events, moment):
    table = interactions(events).histories(moment)
    for user in range(N_USERS):
        entries = slice(table.indptr[user], table.indptr[user + 1])
        mine = {}
        for (u, item, time), (strength, kind) in sorted(events.items()):
            if u == user and time < moment:
                mine.setdefault(item, []).append((time, strength, kind))
        assert table.item[entries].tolist() == sorted(mine)
        assert table.lengths()[user] == len(mine)
        for position, item in zip(range(entries.start, entries.stop), sorted(mine), strict=True):
            bought = mine[item]
            assert table.age[position] == moment - bought[-1][0] >= 1
            assert table.first_age[position] == moment - bought[0][0]
            assert table.strength[position] == sum(s for _, s, _ in bought)
            assert table.n_periods[position] == len(bought)
            assert table.kind[position] == bought[-1][2]
            decayed = [sum(s * 0.5 ** ((moment - t) / h) for t, s, _ in bought) for h in HALF_LIVES]
            np.testing.assert_allclose(table.decayed[position], decayed, rtol=1e-6)


@given(EVENTS, st.integers(0, 10), st.integers(0, 4))
def test_targets_equal_a_slow_loop(events, start, length):
    table = interactions(events).targets(start, start + length)
    for user in range(N_USERS):
        assert table.row(user).tolist() == sorted(
            {i for u, i, t in events if u == user and start <= t <= start + length}
        )


@given(EVENTS, st.integers(1, 11))
def test_item_statistics_equal_a_slow_loop(events, moment):
    found = interactions(events).item_statistics(moment)
    before = [(u, i, t) for u, i, t in events if t < moment]
    earliest = min((t for *_, t in before), default=moment)
    assert found.shape == (N_ITEMS, len(STATISTIC_NAMES))
    for item in range(N_ITEMS):
        mine = [(u, t) for u, i, t in before if i == item]
        wanted = [math.log1p(len({u for u, t in mine if t >= moment - span})) for span in STATISTIC_SPANS]
        buyers = {u for u, _ in mine}
        wanted.append(sum(len([1 for u, _ in mine if u == b]) > 1 for b in buyers) / max(1, len(buyers)))
        times = [t for _, t in mine]
        wanted += [
            math.log1p(moment - min(times, default=moment)),
            math.log1p(moment - max(times, default=earliest - 1)),
        ]
        np.testing.assert_allclose(found[item], wanted, rtol=1e-6)


@given(EVENTS, st.integers(1, 9))
def test_nothing_at_or_after_the_moment_can_change_a_history(events, moment):
    past = {k: v for k, v in events.items() if k[2] < moment}
    with_future, without = interactions(events), interactions(past)
    for channel in ("indptr", "item", "age", "first_age", "strength", "n_periods", "kind", "positive", "decayed"):
        found, wanted = (getattr(x.histories(moment), channel) for x in (with_future, without))
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(with_future.item_statistics(moment), without.item_statistics(moment))


@given(EVENTS, st.lists(st.integers(0, N_USERS - 1), max_size=6))
def test_membership_equals_a_slow_loop(events, rows):
    table = interactions(events).targets(1, 9)
    found = membership(table.indptr, table.item, np.array(rows, dtype=np.int64), N_ITEMS)
    assert found.tolist() == [[item in table.row(user) for item in range(N_ITEMS)] for user in rows]


def test_an_unknown_part_is_refused():
    dataset = interactions({})
    assert (dataset.period("validation"), dataset.period("test")) == ((6, 7), (8, 9))
    with pytest.raises(DataError, match="no part 'train'; parts are validation, test"):
        dataset.period("train")


@given(EVENTS, st.integers(0, 10), st.integers(1, 3))
def test_only_events_of_target_kinds_are_targets(events, start, n_kinds):
    dataset = replace(interactions(events), n_target_kinds=n_kinds)
    chosen = {triple: rest for triple, rest in events.items() if rest[1] < n_kinds}
    found, wanted = dataset.targets(start, start + 2), interactions(chosen).targets(start, start + 2)
    np.testing.assert_array_equal(found.indptr, wanted.indptr)
    np.testing.assert_array_equal(found.item, wanted.item)


@given(EVENTS, st.integers(1, 11))
def test_small_types_change_no_number(events, moment):
    """The cache stores 32 and 8 bits; `user * n_items + item` must not wrap around in them."""
    wide = interactions(events)
    small = {c: getattr(wide, c).astype(np.int32) for c in ("user", "item", "time")}
    narrow = replace(wide, **small, kind=wide.kind.astype(np.uint8))
    for name in ("indptr", "item", "age", "first_age", "strength", "n_periods", "kind", "positive", "decayed"):
        found, wanted = (getattr(d.histories(moment), name) for d in (narrow, wide))
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(narrow.item_statistics(moment), wide.item_statistics(moment))
    many = replace(narrow.catalogue, item_ids=range(2**30))  # type: ignore[arg-type]
    assert (replace(narrow, catalogue=many).targets(1, 9).item < N_ITEMS).all()


@given(EVENTS, st.integers(1, 11), st.integers(1, 3))
def test_what_was_only_seen_is_no_positive_and_counts_for_no_statistic(events, moment, n_kinds):
    dataset = replace(interactions(events), n_target_kinds=n_kinds)
    bought = {triple: rest for triple, rest in events.items() if rest[1] < n_kinds}
    table = dataset.histories(moment)
    pairs = {(u, i) for u, i, t in bought if t < moment}
    for user in range(table.n_users):
        entries = slice(table.indptr[user], table.indptr[user + 1])
        for item, positive in zip(table.item[entries], table.positive[entries], strict=True):
            assert positive == float((user, item) in pairs)
    known = table.known(np.arange(table.n_users), N_ITEMS)
    assert {(u, i) for u, i in zip(*np.nonzero(known), strict=True)} == pairs
    np.testing.assert_array_equal(dataset.item_statistics(moment), interactions(bought).item_statistics(moment))


@given(EVENTS)
def test_where_users_are_apart_later_statistics_are_those_of_the_end_of_training(events):
    dataset = interactions(events)
    apart = replace(dataset, users_apart=True)
    end = dataset.train_end + 1
    for moment in (end - 2, end, end + 3):
        wanted = dataset.item_statistics(min(moment, end))
        np.testing.assert_array_equal(apart.item_statistics(moment), wanted)


def test_histories_of_a_moment_are_built_once(toy: SplitInteractions, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = replace(toy)
    built = []
    plain = SplitInteractions._histories_before
    monkeypatch.setattr(SplitInteractions, "_histories_before", lambda self, m: (built.append(m), plain(self, m))[1])
    for moment in (5, 9, 5, 9, 11, 5):
        assert dataset.histories(moment).moment == moment
    assert built == [5, 9, 11]


def test_histories_that_nobody_holds_are_kept_up_to_a_size(
    toy: SplitInteractions, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = replace(toy)
    held = dataset.histories(5)
    monkeypatch.setattr("xrec.data.interactions._KEPT", 0)
    passing = weakref.ref(dataset.histories(9))
    gc.collect()
    assert passing() is None
    assert dataset.histories(5) is held


@given(st.lists(st.integers(0, 40), max_size=60), st.sampled_from(HALF_LIVES))
def test_powers_of_ages_are_the_same_however_few_ages_there_are(ages, half_life):
    age = np.array(ages, dtype=np.int64)
    for more in (age, np.append(age, 10**12)):  # of the last, no table could be held
        np.testing.assert_array_equal(_halved(more, half_life), 0.5 ** (more / half_life))
