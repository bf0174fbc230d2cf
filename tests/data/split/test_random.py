"""The random split, by hand."""

from __future__ import annotations

from collections import Counter

from tests.splits import in_part, periods, table
from xrec.data.split.random import RandomSplit


def test_shares_of_every_users_events():
    lengths = {0: 10, 1: 5, 2: 4, 3: 1}
    events = table([(u, i, i) for u, n in lengths.items() for i in range(n)])
    assigned = RandomSplit(validation_share=0.1, test_share=0.2).assign(events)
    assert Counter(in_part(assigned, "test")["user"].to_list()) == {0: 2, 1: 1, 2: 1}
    assert Counter(in_part(assigned, "validation")["user"].to_list()) == {0: 1, 1: 1}
    assert assigned.train_end == 6
    assert assigned.parts == {"validation": (7, 7), "test": (8, 8)}
    trained = [p for p in periods(assigned)[0] if p[0] <= 6]
    assert [p for p, _ in trained] == list(range(7))
    assert [i for _, i in trained] == sorted(i for _, i in trained)
    assert periods(assigned)[3] == [(6, 0)]


def test_one_event_always_trains():
    events = table([(u, i, i) for u in range(6) for i in range(1 + u)])
    assigned = RandomSplit(validation_share=0.49, test_share=0.5).assign(events)
    assert Counter(in_part(assigned, "train")["user"].to_list()) == dict.fromkeys(range(6), 1)


def test_draws_differ_by_user_and_seed():
    events = table([(u, i, i) for u in range(50) for i in range(10)])

    def tested(seed: int) -> list[int]:
        return in_part(RandomSplit(seed=seed).assign(events), "test").sort("user")["item"].to_list()

    assert tested(0) == tested(0) != tested(1)
    counts = Counter(tested(0))
    assert len(counts) == 10 and max(counts.values()) < 15  # 50 draws of 10


def test_it_says_that_it_leaks_the_future():
    note = RandomSplit().assign(table([(1, i, i) for i in range(10)])).note
    assert note.startswith("random split, for replication only: training holds events that are later than the targets")
