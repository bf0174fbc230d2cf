"""Cleaning: every row that goes is counted, by one reason; ids survive; strict refuses."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import SPLIT, ToySource, events_frame, toy_raw
from xrec.data.accounting import Tally
from xrec.data.build import build
from xrec.data.cache import ArrayCache
from xrec.data.clean import Cleaning, Kinds, clean
from xrec.data.codes import code_events
from xrec.data.core import drop_outliers
from xrec.data.errors import DataError
from xrec.data.runs import by_user
from xrec.data.schema import RawData, Step, check_events
from xrec.data.split.cold_item import ColdItemSplit
from xrec.data.split.leave_last_out import LeaveLastOutSplit
from xrec.data.split.random import RandomSplit
from xrec.data.split.temporal import TemporalSplit
from xrec.data.split.user_holdout import UserHoldoutSplit

KINDS = ("view", "cart", "buy")
WEIGHTS = {"view": 1.0, "cart": 0.0, "buy": 5.0}
IDS = st.sampled_from(["7", "10", "007", "a b", "ü", "", "-3", None])
NUMBERS = st.sampled_from([3, -5, 120, 10**12, None])
TIMES = st.sampled_from([-1, 0, 1, 2, 9, None])
VALUES = st.sampled_from([0.0, 1.0, 2.5, 4.0, math.nan])


def rows_of(ids: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(st.tuples(ids, ids, TIMES, st.integers(0, 2), VALUES), min_size=1, max_size=40)


def raw_of(rows: list, id_type: pl.DataType | type = pl.String) -> RawData:
    schema = {"user": id_type, "item": id_type, "time": pl.Int64, "kind": pl.UInt8, "value": pl.Float64}
    empty = {"item": pl.DataFrame(schema={"item": id_type}), "user": pl.DataFrame(schema={"user": id_type})}
    log = pl.DataFrame(rows, schema=schema, orient="row").lazy()
    return RawData(log, empty["item"], empty["user"], event_kinds=KINDS)


def cleaned(raw: RawData, **settings) -> tuple[dict, Tally]:
    """(user id, item id, time) -> (kind, strength), and the accounting."""
    coded = code_events(raw, "toy")
    n = coded.events.height
    tally = Tally("toy", [Step("read", "", n, 9, 9)], strict=settings.get("strict", False))
    cleaning = Cleaning(**settings)
    kinds = Kinds.of(raw.event_kinds, cleaning, "toy")
    events = clean(coded.events, kinds, cleaning, tally)
    assert events["user"].dtype == events["item"].dtype == pl.UInt32
    assert events.select("user", "time", "item").rows() == sorted(set(events.select("user", "time", "item").rows()))
    found = {
        (coded.users[u], coded.items[i], t): (KINDS.index(kinds.names[k]), s)
        for u, i, t, k, s in events.select("user", "item", "time", "kind", "strength").rows()
    }
    return found, tally


def by_hand(rows: list, since, until, least, strength, deduplicate) -> tuple[dict, dict]:
    """The same one row at a time: what is left, and how many rows each step dropped or merged."""
    gone: dict[str, int] = defaultdict(int)
    left = []
    for user, item, time, kind, value in rows:
        if user in (None, "") or item in (None, "") or time is None or math.isnan(value):
            gone["missing"] += 1
        elif time < 0:
            gone["time"] += 1
        elif since is not None and time < since:
            gone["since"] += 1
        elif until is not None and time > until:
            gone["until"] += 1
        elif least is not None and value < least:
            gone["value"] += 1
        elif WEIGHTS[KINDS[kind]] == 0:
            gone["kinds"] += 1
        elif strength == "value" and value <= 0:
            gone["strength"] += 1
        else:
            left.append((user, item, time, kind, value))
    if deduplicate:
        largest: dict = {}
        for *event, value in left:
            largest[tuple(event)] = max(value, largest.get(tuple(event), -1))
        gone["duplicates"] = len(left) - len(largest)
        left = [(*event, value) for event, value in largest.items()]
    merged: dict = defaultdict(list)
    for user, item, time, kind, value in left:
        merged[user, item, time].append((kind, WEIGHTS[KINDS[kind]] * (value if strength == "value" else 1)))
    gone["merged"] = len(left) - len(merged)
    result = {k: (max(x for x, _ in v), pytest.approx(sum(s for _, s in v))) for k, v in merged.items()}
    return result, {k: n for k, n in gone.items() if n}


SETTINGS = (
    st.sampled_from([None, 1]),
    st.sampled_from([None, 2]),
    st.sampled_from([None, 2.5]),
    st.sampled_from(["value", "one"]),
    st.booleans(),
)


@given(rows_of(IDS) | rows_of(NUMBERS), *SETTINGS)
def test_cleaning_equals_a_slow_loop_and_accounts_for_every_row(rows, since, until, least, strength, deduplicate):
    wanted, gone = by_hand(rows, since, until, least, strength, deduplicate)
    raw = raw_of(rows, pl.Int64 if any(isinstance(x, int) for r in rows for x in r[:2]) else pl.String)
    settings = {
        "since": since, "until": until, "min_value": least, "strength": strength, "deduplicate": deduplicate,
        "kind_weights": WEIGHTS,
    }  # fmt: skip
    if not wanted:
        with pytest.raises(DataError, match="toy: no events are left after the step"):
            cleaned(raw, **settings)
        return
    found, tally = cleaned(raw, **settings)
    assert found == wanted
    counts = [s.rows for s in tally.steps]
    dropped = {s.step: before - s.rows for before, s in zip(counts, tally.steps[1:], strict=False) if before != s.rows}
    assert dropped == gone
    assert len(rows) == len(found) + sum(dropped.values())
    assert (tally.steps[-1].users, tally.steps[-1].items) == (
        len({u for u, *_ in found}),
        len({i for _, i, _ in found}),
    )
    if set(gone) - {"merged"}:
        with pytest.raises(DataError, match=r"toy: data.clean.strict is true, and the step '\w+' drops \d+ event"):
            cleaned(raw, **settings, strict=True)
    else:
        assert cleaned(raw, **settings, strict=True)[0] == wanted


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60), st.integers(1, 20))
def test_pieces_by_user_are_the_sorted_whole(pairs, piece):
    events = pl.DataFrame(pairs, schema={"user": pl.UInt32, "time": pl.Int64}, orient="row")
    pieces = list(by_user(events, ["user", "time"], piece))
    assert pl.concat(pieces).rows() == sorted(pairs)
    for part in pieces:
        assert part.height <= piece or part["user"].n_unique() == 1


def test_dates_are_compared_as_dates_and_impossible_ones_dropped():
    times = ["1969-12-31 23:59:59", "2015-01-01 00:00:00", "2015-12-31 23:59:59.999999", "2016-01-01", "2100-01-01"]
    rows = [("u", f"i{n}", datetime.fromisoformat(t).replace(tzinfo=UTC), 0, 1.0) for n, t in enumerate(times)]
    log = pl.DataFrame(rows, schema=["user", "item", "time", "kind", "value"], orient="row")
    raw = RawData(log.cast({"kind": pl.UInt8}).lazy(), pl.DataFrame(), pl.DataFrame(), event_kinds=KINDS)
    found, tally = cleaned(raw, since="2015-01-01", until="2015-12-31")
    assert [item for _, item, _ in found] == ["i1", "i2"]
    assert [(s.step, s.reason, s.rows) for s in tally.steps[2:5]] == [
        ("time", "time before 1970 or from 2100 on", 3),
        ("since", "before 2015-01-01", 3),
        ("until", "after 2015-12-31", 2),
    ]
    assert len(cleaned(raw, since="2015-12-31T23:59:59.999999", until="2016-01-01T01:00+01:00")[0]) == 2


def refused(message: str, rows: list | None = None, **settings) -> None:
    with pytest.raises(DataError) as error:
        cleaned(raw_of(rows or [("u", "i", 1, 0, 1.0), ("u", "i", 1, 0, 1.0)]), **settings)
    assert str(error.value) == message


def test_exact_error_texts():
    refused(
        "toy: data.clean.kind_weights names the kind 'veiw', which this source does not have; did you mean 'view'? "
        "(kinds: view, cart, buy)",
        kind_weights={"veiw": 1},
    )
    refused("toy: data.clean.since is '2015-01-01', but the times of this source are whole numbers", since="2015-01-01")
    refused("data.clean.strength is 'count'; takes value or one", strength="count")
    refused(
        "toy: data.clean.strict is true, and the step 'duplicates' drops 1 event (the same user, item, time and kind "
        "again); mend the data, or set data.clean.strict: false",
        strict=True,
    )
    refused("toy: no events are left after the step 'value' (value below 9); loosen data.clean", min_value=9)
    refused(
        "toy: 1 events have a kind that is not a number from 0 to 2 (event_kinds: view, cart, buy)",
        [("u", "i", 1, 3, 1.0)],
    )


def test_a_date_for_dates_must_be_one():
    rows = [("u", "i", datetime(2015, 1, 1, tzinfo=UTC), 0, 1.0)]
    log = pl.DataFrame(rows, schema=["user", "item", "time", "kind", "value"], orient="row")
    raw = RawData(log.lazy(), pl.DataFrame(), pl.DataFrame())
    with pytest.raises(DataError) as error:
        cleaned(raw, until="2015-02-30")
    assert str(error.value) == "data.clean.until is '2015-02-30'; takes a date such as 2015-01-31, or 2015-01-31 12:00"
    with pytest.raises(DataError, match=r"data.clean.since is 40, but the times of this source are dates"):
        cleaned(raw, since=40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda e: e.drop("kind"),
            (
                "toy: events must have the columns user, item, time, kind, value, but lack kind (they have user, item, "
                "time, value)"
            ),
        ),
        (
            lambda e: e.with_columns(user=pl.lit(1.5), time=pl.lit("x")),
            (
                "toy: events have the wrong types: user is Float64, must be String or an integer type; time is String, "
                "must be Datetime in UTC or an integer type"
            ),
        ),
        (
            lambda e: e.with_columns(time=pl.lit(datetime(2015, 1, 1))),
            (
                "toy: events have the wrong types: time is Datetime(time_unit='us', time_zone=None), must be Datetime "
                "in UTC or an integer type"
            ),
        ),
    ],
)
def test_the_schema_is_checked_before_anything_is_read(change, message):
    raw = raw_of([("u", "i", 1, 0, 1.0)])
    raw.events = change(raw.events)
    with pytest.raises(DataError) as error:
        check_events(raw, "toy")
    assert str(error.value) == message


def test_an_empty_log_is_refused():
    with pytest.raises(DataError, match="toy: no events at all; change the settings under data.source"):
        code_events(raw_of([("u", "i", 1, 0, 1.0)][:0]), "toy")


def test_a_failing_reader_is_a_data_error(tmp_path):
    (tmp_path / "x.csv").write_text("user,item,time,kind,value\na,b,1,0,1\na,b,x,0,1\n")
    schema = {"user": pl.String, "item": pl.String, "time": pl.Int64, "kind": pl.UInt8, "value": pl.Float64}
    raw = RawData(pl.scan_csv(tmp_path / "x.csv", schema=schema), pl.DataFrame(), pl.DataFrame())
    with pytest.raises(DataError, match="toy: the event log cannot be read: .*x"):
        code_events(raw, "toy")


def test_a_source_that_loses_rows_unseen_is_refused(tmp_path):
    raw = toy_raw()
    raw.steps = [Step("read", "rows", 1_000_000, 1, 1)]
    with pytest.raises(DataError, match=r"the source counts 1000000 events after its step 'read', but delivers \d+"):
        build(ToySource(raw), SPLIT, ArrayCache(tmp_path), Cleaning())


def test_a_step_cannot_add_rows():
    with pytest.raises(DataError, match=r"toy: the step 'b' has 3 rows, more than the 2 that were left before it"):
        Tally("toy", [Step("a", "", 2, 1, 1), Step("b", "", 3, 1, 1)], strict=False)


def test_strict_refuses_what_the_source_dropped(tmp_path):
    with pytest.raises(DataError, match="the step 'quantity' drops 2 events"):
        Tally("toy", [Step("read", "", 4, 1, 1), Step("quantity", "none", 2, 1, 1)], strict=True)
    Tally("toy", [Step("read", "", 4, 1, 1), Step("weeks", "", 2, 1, 1, merged=True)], strict=True)


def outliers(counts: list[int], mads: float, later: int = 0) -> list[int]:
    """Who stays of users with so many training events; user 0 has `later` more after training."""
    rows = [(u, i, 1) for u, n in enumerate(counts) for i in range(n)] + [(0, i, 9) for i in range(later)]
    schema = {"user": pl.UInt32, "item": pl.UInt32, "period": pl.Int64}
    events = pl.DataFrame(rows, schema=schema, orient="row")
    tally = Tally("toy", [], strict=False)
    return drop_outliers(events, 8, mads, tally)["user"].unique().sort().to_list()


def test_outliers_are_judged_on_training_by_median_and_mad():
    counts = [10, 12, 14, 16, 18, 200]  # median of logs between 14 and 16; MAD of logs about 0.17
    assert outliers(counts, 3) == [0, 1, 2, 3, 4]
    assert outliers(counts, 30) == [0, 1, 2, 3, 4, 5]
    assert outliers(counts, 3, later=500) == [0, 1, 2, 3, 4]
    logs = [math.log(c) for c in counts]
    middle = (logs[2] + logs[3]) / 2
    off = sorted(abs(x - middle) for x in logs)
    edge = (logs[5] - middle) / (1.4826 * (off[2] + off[3]) / 2)
    assert outliers(counts, edge * 1.001) == [0, 1, 2, 3, 4, 5]
    assert outliers(counts, edge * 0.999) == [0, 1, 2, 3, 4]


def test_without_a_spread_nobody_is_an_outlier():
    assert outliers([5, 5, 5, 500], 1) == [0, 1, 2, 3]


def test_only_target_kinds_count_for_the_core_and_are_targets(tmp_path):
    rows = [("1", "1", t, 1.0) for t in (1, 9, 11)] + [("2", "1", t, 1.0) for t in (1, 9, 11)]
    seen = events_frame([*rows, ("1", "2", 1, 1.0), ("2", "2", 9, 1.0)])
    raw = toy_raw(events=seen.with_columns(kind=(pl.col("item") == "2").cast(pl.UInt8)))
    raw.event_kinds = ("buy", "view")
    built = build(ToySource(raw), SPLIT, ArrayCache(tmp_path), Cleaning(min_item_users=1, target_kinds=["buy"]))
    assert built.catalogue.item_ids == ("1",)
    loose = build(ToySource(raw), SPLIT, ArrayCache(tmp_path), Cleaning(target_kinds=["buy"]))
    assert loose.catalogue.item_ids == ("1", "2")
    assert loose.targets(9, 10).item.tolist() == [0, 0]
    assert loose.card["splits"]["validation"]["targets"] == 2
    with pytest.raises(DataError, match="target_kinds names the kind 'by'.*did you mean 'buy'"):
        build(ToySource(raw), SPLIT, ArrayCache(tmp_path), Cleaning(target_kinds=["by"]))


def test_kinds_are_ranked_by_whether_they_are_predicted_then_by_weight():
    kinds = Kinds.of(("view", "cart", "buy", "gift"), Cleaning(target_kinds=["buy", "gift"]), "toy")
    assert (kinds.names, kinds.n_targets, kinds.ranks) == (("buy", "gift", "view", "cart"), 2, (2, 3, 0, 1))
    kinds = Kinds.of(KINDS, Cleaning(kind_weights={"cart": 2, "buy": 3}), "toy")
    assert (kinds.names, kinds.weights, kinds.n_targets) == (("buy", "cart", "view"), (3, 2, 1), 3)
    with pytest.raises(DataError) as error:
        Kinds.of(KINDS, Cleaning(target_kinds=["buy"], kind_weights={"buy": 0}), "toy")
    assert str(error.value) == (
        "toy: no kind of event is left to be predicted; data.clean.target_kinds must name one whose "
        "data.clean.kind_weights is not 0"
    )


@pytest.mark.parametrize("weights", [None, {"view": 9.0}])
@pytest.mark.parametrize(
    "split", [TemporalSplit(8, 10, 12), LeaveLastOutSplit(), UserHoldoutSplit(), RandomSplit(), ColdItemSplit(SPLIT)]
)
def test_no_target_is_lost_to_another_kind_of_its_period(tmp_path, split, weights):
    """Every purchase comes with a view of the same item in the same period; without the views nothing may change."""
    rng = np.random.default_rng(3)
    bought = [
        (str(u), str(i), t, 1.0) for u in range(40) for t in range(1, 13) for i in rng.choice(30, 2, replace=False)
    ]
    alone = events_frame(bought)
    seen = pl.concat([alone, alone.with_columns(kind=pl.lit(1, pl.UInt8))]).sample(fraction=1, shuffle=True, seed=0)
    built = []
    for name, log, kinds in (("alone", alone, ("buy",)), ("both", seen, ("buy", "view"))):
        raw = toy_raw(events=log)
        raw.event_kinds = kinds
        cleaning = Cleaning(target_kinds=["buy"], kind_weights=weights if name == "both" else None)
        built.append(build(ToySource(raw), split, ArrayCache(tmp_path / name), cleaning))
    for part in ("validation", "test"):
        first, last = built[0].period(part)
        (wanted, found) = (data.targets(first, last) for data in built)
        assert len(wanted.item) > 0
        np.testing.assert_array_equal(found.indptr, wanted.indptr)
        np.testing.assert_array_equal(found.item, wanted.item)
    assert built[0].card["splits"] == built[1].card["splits"]


@given(st.lists(st.sampled_from(["10", "9", "b", "a", "010", "٣", "1e3", "", "99999999999999999999999"]), min_size=1))
def test_codes_are_in_numeric_order_then_by_text(ids):
    coded = code_events(raw_of([(u, "i", 1, 0, 1.0) for u in ids]), "toy")

    def order(text: str) -> tuple:
        return (0, int(text), text) if text.isascii() and text.isdigit() else (1, 0, text)

    assert coded.users.to_list() == sorted(set(ids) - {""}, key=order)
    codes = coded.events["user"].to_list()
    assert sorted("" if c is None else coded.users[c] for c in codes) == sorted(ids)


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=300))
def test_small_integer_ids_do_not_wrap_around(ids):
    coded = code_events(raw_of([(u, 1, 1, 0, 1.0) for u in ids], pl.Int8), "toy")
    assert coded.users.to_list() == sorted(set(ids))
    assert sorted(coded.users[c] for c in coded.events["user"].to_list()) == sorted(ids)


def test_events_of_one_moment_become_one_row_inside_a_part_only():
    """Where the log comes split; kinds lie across the parts."""
    raw = raw_of([("u", "i", 1, 0, 2.0), ("u", "i", 1, 0, 1.0), ("u", "i", 1, 1, 4.0), ("u", "i", 1, 1, 8.0)])
    raw.events = raw.events.with_columns(pl.Series("part", [0, 2, 0, 2], pl.UInt8))
    coded, cleaning = code_events(raw, "toy"), Cleaning()
    tally = Tally("toy", [Step("read", "", 4, 1, 1)], strict=False)
    events = clean(coded.events, Kinds.of(KINDS, cleaning, "toy"), cleaning, tally)
    assert events.sort("part").select("part", "kind", "strength").rows() == [(0, 0, 6.0), (2, 0, 9.0)]
