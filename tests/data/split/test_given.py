"""A split that comes with the data, by hand."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.splits import TABLES, in_part, periods, table
from tests.toys import SPLIT, ToySource, events_frame, toy_raw
from xrec.data.build import build
from xrec.data.cache import ArrayCache
from xrec.data.clean import Cleaning
from xrec.data.errors import DataError
from xrec.data.interactions import SplitInteractions
from xrec.data.schema import RawData
from xrec.data.split.given import GivenSplit
from xrec.data.split.leakage import check
from xrec.data.split.leave_last_out import LeaveLastOutSplit

TRAIN, VALIDATION, TEST = 0, 1, 2
#: (user, item, time), part: user 1 has all parts, and item 10 again in the test; 2 no validation; 3 trains only
ROWS = [
    ((1, 10, 5), TRAIN), ((1, 11, 1), TRAIN), ((1, 12, 7), TRAIN), ((1, 13, 8), VALIDATION), ((1, 10, 9), TEST),
    ((1, 14, 20), TEST), ((2, 11, 3), TRAIN), ((2, 12, 4), TEST), ((3, 10, 1), TRAIN), ((3, 11, 2), TRAIN),
]  # fmt: skip


def with_parts(rows: list[tuple[tuple, int]]) -> pl.DataFrame:
    """Events as cleaning hands them over, with the column `part`."""
    parts = pl.DataFrame(
        [(*event[:3], part) for event, part in rows], ["user", "item", "time", "part"], orient="row"
    ).cast({"user": pl.Int32, "item": pl.Int32, "part": pl.UInt8})
    events = table([event for event, _ in rows]).unique(["user", "item", "time"], maintain_order=True)
    return events.join(parts, on=["user", "item", "time"], maintain_order="left")


def test_training_ends_where_validation_begins_and_the_test_follows():
    events = with_parts(ROWS)
    assigned = GivenSplit().assign(events)
    check(assigned, events, "given")
    assert (assigned.train_end, assigned.parts) == (2, {"validation": (3, 3), "test": (4, 4)})
    assert periods(assigned) == {
        1: [(0, 11), (1, 10), (2, 12), (3, 13), (4, 10), (4, 14)],
        2: [(2, 11), (4, 12)],
        3: [(1, 10), (2, 11)],
    }
    assert (assigned.steps, assigned.note, assigned.promises) == ([], "", ())


def test_without_validation_the_test_follows_training():
    events = with_parts([row for row in ROWS if row[1] != VALIDATION])
    assigned = GivenSplit().assign(events)
    check(assigned, events, "given")
    assert (assigned.train_end, assigned.parts) == (2, {"test": (3, 3)})
    assert periods(assigned)[1] == [(0, 11), (1, 10), (2, 12), (3, 10), (3, 14)]
    assert assigned.note == "there is no validation part"


def test_what_a_careful_reader_must_know_is_noted():
    rows = [*ROWS, ((4, 10, 1), TEST), ((4, 11, 1), TEST), ((5, 10, 1), VALIDATION), ((6, 9, 1), TRAIN)]
    rows += [((2, 15, 1), TEST), ((5, 12, 0), TEST)]  # before training, and before validation
    rows += [((6, 8, 1), TEST)]  # at the same time as training, which is not before it
    assert GivenSplit().assign(with_parts(rows)).note == (
        "2 users with targets have no event in training; "
        "earlier than an event of the same user's history are 2 of 8 test targets"
    )


def test_targets_of_kinds_that_are_history_only_count_for_nothing():
    rows = [((1, 10, 1, 0, 1.0), TRAIN), ((2, 11, 3, 1, 1.0), TEST), ((1, 12, 4, 0, 1.0), TEST)]
    rows += [((1, 13, 0, 1, 1.0), TEST)]
    assert GivenSplit().assign(with_parts(rows), n_targets=1).note == "there is no validation part"


def test_events_of_one_time_become_one_inside_a_part_only():
    schema = {"user": pl.Int32, "item": pl.Int32, "time": pl.Int64, "kind": pl.UInt8, "strength": pl.Float32}
    rows = [
        (1, 10, 1, 0, 1.0, TRAIN), (1, 10, 1, 1, 2.0, TRAIN), (1, 11, 2, 0, 1.0, TRAIN), (1, 10, 2, 0, 4.0, VALIDATION),
        (1, 12, 3, 0, 1.0, TEST), (1, 12, 5, 1, 1.0, TEST), (2, 10, 2, 0, 1.0, TRAIN), (2, 10, 3, 0, 1.0, TRAIN),
    ]  # fmt: skip
    assigned = GivenSplit().assign(pl.DataFrame(rows, {**schema, "part": pl.UInt8}, orient="row"))
    check(assigned)
    assert assigned.events.select("user", "item", "time", "period", "kind", "strength").rows() == [
        (1, 10, 1, 0, 0, 3.0), (1, 11, 2, 1, 0, 1.0), (1, 10, 2, 2, 0, 4.0), (1, 12, 5, 3, 0, 2.0),
        (2, 10, 2, 0, 0, 1.0), (2, 10, 3, 1, 0, 1.0),
    ]  # fmt: skip
    assert [(s.step, s.rows, s.merged) for s in assigned.steps] == [("merged", 7, True), ("merged", 6, True)]


def test_an_event_in_two_parts_is_a_leak():
    events = with_parts([*ROWS, ((3, 11, 2), TEST)])
    with pytest.raises(DataError, match="^given: leakage: 1 test targets are also in training; the first: user 3, "):
        check(GivenSplit().assign(events), events, "given")


@pytest.mark.parametrize(("gone", "has"), [(TRAIN, "validation, test"), (TEST, "train, validation")])
def test_training_and_test_must_be_there(gone, has):
    part = ("train", "validation", "test")[gone]
    with pytest.raises(DataError, match=rf"^split: no event is of the {part} part \(the log has {has}\); name the col"):
        GivenSplit().assign(with_parts([row for row in ROWS if row[1] != gone]))


def test_events_without_parts_are_refused():
    with pytest.raises(DataError, match=r"says none; name the column with the parts \(data.source.columns.part\), or"):
        GivenSplit().assign(with_parts(ROWS).drop("part"))


@given(TABLES)
def test_what_another_split_made_comes_out_of_it_as_it_is(events):
    try:
        made = LeaveLastOutSplit().assign(events)
    except DataError:
        return
    again = GivenSplit().assign(published(made.events, made.train_end, made.parts["validation"][0]))
    assert (again.train_end, again.parts) == (made.train_end, made.parts)
    assert again.events.rows() == made.events.rows()


def published(events: pl.DataFrame, train_end: int, validation: int) -> pl.DataFrame:
    period = pl.col("period")
    part = pl.when(period <= train_end).then(TRAIN).when(period == validation).then(VALIDATION).otherwise(TEST)
    return events.select("user", "item", "time", "kind", "strength", part.cast(pl.UInt8).alias("part"))


EVENT = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 9), st.integers(0, 2))


@given(st.lists(EVENT, min_size=1, max_size=60))
def test_no_event_changes_its_part_and_none_is_lost(rows):
    """Every user, item and time is in one part, so that nothing leaks by itself."""
    parts = {(user, item, time): part for user, item, time, part in rows}
    events = with_parts(list(parts.items()))
    if not {TRAIN, TEST} <= set(parts.values()):
        with pytest.raises(DataError, match="split: no event is of the"):
            GivenSplit().assign(events)
        return
    assigned = GivenSplit().assign(events)
    check(assigned, events)
    for number, part in enumerate(["train", *assigned.parts]):
        code = ("train", "validation", "test").index(part)
        wanted = {(user, item) for (user, item, _), own in parts.items() if own == code}
        assert set(in_part(assigned, part).select("user", "item").rows()) == wanted, number
    for user in {user for user, _, _ in parts}:
        own = in_part(assigned, "train").filter(user=user).sort("period")
        assert own["time"].to_list() == sorted(t for (u, _, t), part in parts.items() if (u, part) == (user, TRAIN))
        assert own["period"].to_list() == list(range(assigned.train_end - own.height + 1, assigned.train_end + 1))


# through the build


def raw_with_parts(rows: list[tuple[str, str, int, float, int]]) -> RawData:
    events = events_frame([row[:4] for row in rows]).with_columns(pl.Series("part", [r[4] for r in rows], pl.UInt8))
    return toy_raw(events=events)


def built(folder: Path, raw: RawData, split, **cleaning) -> SplitInteractions:
    return build(ToySource(raw), split, ArrayCache(folder), Cleaning(**cleaning))


LOG = [
    ("0", "1", 1, 1.0, 0),
    ("0", "2", 2, 1.0, 0),
    ("0", "2", 2, 3.0, 0),
    ("0", "3", 3, 1.0, 2),
    ("1", "1", 5, 1.0, 0),
]
LOG += [("1", "2", 5, 1.0, 1), ("2", "9", 4, 1.0, 2)]


def test_a_given_split_comes_through_the_build(tmp_path):
    made = built(tmp_path, raw_with_parts(LOG), GivenSplit())
    assert (made.train_end, made.parts) == (1, {"validation": (2, 2), "test": (3, 3)})
    assert [made.catalogue.user_ids[u] for u in made.user] == ["0", "0", "0", "1", "1", "2"]
    assert made.time.tolist() == [0, 1, 3, 1, 2, 3]
    assert made.strength.tolist() == [1.0, 3.0, 1.0, 1.0, 1.0, 1.0]  # of a doubled event the larger value
    assert made.card["split"]["note"].startswith("1 user with targets has no event in training")
    assert {s["step"]: s["rows"] for s in made.card["steps"]}["duplicates"] == 6


def test_an_event_of_two_parts_is_not_merged_by_cleaning_but_found(tmp_path):
    """Else the test target would silently become a training event."""
    for deduplicate in (True, False):
        with pytest.raises(DataError, match="given: leakage: 1 test targets are also in training"):
            built(tmp_path, raw_with_parts([*LOG, ("0", "2", 2, 1.0, 2)]), GivenSplit(), deduplicate=deduplicate)


def test_a_split_that_would_ignore_the_parts_is_refused(tmp_path):
    with pytest.raises(
        DataError, match="^toy: the log says which part .* split=temporal would ignore; take split=given"
    ):
        built(tmp_path, raw_with_parts(LOG), SPLIT)
    with pytest.raises(DataError, match="^split: given takes the parts that the log says, but it says none; name"):
        built(tmp_path, toy_raw(), GivenSplit())


@pytest.mark.parametrize("parts", [[0, 3], [2, None]])
def test_a_source_of_parts_that_there_are_not_is_refused(tmp_path, parts):
    raw = raw_with_parts(LOG[:2])
    raw.events = raw.events.with_columns(pl.Series("part", parts, pl.UInt8))
    with pytest.raises(
        DataError, match=r"1 events have a part that there is not \(parts: 0 train, 1 validation, 2 tes"
    ):
        built(tmp_path, raw, GivenSplit())
