"""Bad settings of splits, and settings that do not suit the events: each with its exact message."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.splits import dated, table
from xrec.data.errors import DataError
from xrec.data.split.cold_item import ColdItemSplit
from xrec.data.split.leave_last_out import LeaveLastOutSplit
from xrec.data.split.random import RandomSplit
from xrec.data.split.temporal import TemporalSplit
from xrec.data.split.user_holdout import UserHoldoutSplit

WEEK = ("2017-01-08", "2017-01-15", "2017-01-22")
TEMPORAL = TemporalSplit(2, 3, 4)
TAKES = "takes hour, day, week, month, or a number of days such as '10 days'"
DATE = "takes a date such as 2017-10-29, or an hour such as 2017-10-29T17 (UTC)"
BOTH = "between 0 and 1, both excluded"

SETTINGS: list[tuple[Callable[[], object], str]] = [
    (lambda: TemporalSplit(3, 3, 4), "split: needs train_end < validation_end < test_end, got 3, 3, 4"),
    (
        lambda: TemporalSplit("2017-01-15", "2017-01-08", "2017-01-22", period="week"),
        "split: needs train_end < validation_end < test_end, got 2017-01-15, 2017-01-08, 2017-01-22",
    ),
    (
        lambda: TemporalSplit(3, "2017-01-08", 5),
        "split: takes three whole numbers or three dates, got train_end=3, validation_end='2017-01-08', test_end=5",
    ),
    (
        lambda: TemporalSplit(True, 2, 3),
        "split: takes three whole numbers or three dates, got train_end=True, validation_end=2, test_end=3",
    ),
    (lambda: TemporalSplit(*WEEK), f"split.period: got null, but split.train_end=2017-01-08 is a date; {TAKES}"),
    (lambda: TemporalSplit(*WEEK, period="weak"), f"split.period: got 'weak', {TAKES}; did you mean 'week'?"),
    (lambda: TemporalSplit(*WEEK, period="0 days"), f"split.period: got '0 days', {TAKES}; did you mean 'day'?"),
    (
        lambda: TemporalSplit("8.1.2017", *WEEK[1:], period="day"),
        f"split.train_end: got '8.1.2017', {DATE}",
    ),
    (
        lambda: TemporalSplit("2017-02-29", *WEEK[1:], period="day"),
        f"split.train_end: got '2017-02-29', {DATE}: day is out of range for month",
    ),
    (
        lambda: TemporalSplit("2017-01-08T17:30", *WEEK[1:], period="hour"),
        f"split.train_end: got '2017-01-08T17:30', {DATE}",
    ),
    (
        lambda: LeaveLastOutSplit(min_events=2),
        (
            "split.min_events: got 2, takes a whole number of at least 3 (one event each for training, "
            "validation and test)"
        ),
    ),
    (
        lambda: LeaveLastOutSplit(unit="baskets"),
        "split.unit: got 'baskets', takes event or basket; did you mean 'basket'?",
    ),
    (
        lambda: LeaveLastOutSplit(unit="basket", min_events=2),
        (
            "split.min_events: got 2, takes a whole number of at least 3 (one basket each for training, "
            "validation and test)"
        ),
    ),
    (lambda: LeaveLastOutSplit(repeats="kep"), "split.repeats: got 'kep', takes keep or drop; did you mean 'keep'?"),
    (lambda: UserHoldoutSplit(fold_in_share=1.0), f"split.fold_in_share: got 1.0, takes a number {BOTH}"),
    (
        lambda: UserHoldoutSplit(fold_in="frist"),
        "split.fold_in: got 'frist', takes first or random; did you mean 'first'?",
    ),
    (lambda: UserHoldoutSplit(fold=0), "split.fold: got 0, which needs split.n_folds; give it, or set fold to null"),
    (lambda: UserHoldoutSplit(fold=5, n_folds=5), "split.fold: got 5, takes 0 to 4, since split.n_folds=5"),
    (lambda: UserHoldoutSplit(n_folds=5), "split.fold: got None, takes 0 to 4, since split.n_folds=5"),
    (
        lambda: UserHoldoutSplit(fold=0, n_folds=2),
        "split.n_folds: got 2, takes a whole number of at least 3 (one each for training, validation and test)",
    ),
    (lambda: UserHoldoutSplit(seed=-1), "split.seed: got -1, takes a whole number of at least 0"),
    (lambda: RandomSplit(test_share=0), f"split.test_share: got 0, takes a number {BOTH}"),
    (lambda: RandomSplit(validation_share=1.5), f"split.validation_share: got 1.5, takes a number {BOTH}"),
    (
        lambda: RandomSplit(validation_share=0.5, test_share=0.5),
        "split: validation_share=0.5 and test_share=0.5 leave nothing to train on; together they must be less than 1",
    ),
    (lambda: ColdItemSplit(TEMPORAL, fold=3), "split.fold: got 3, takes 0 to 2, since split.n_folds=3"),
    (
        lambda: ColdItemSplit(TEMPORAL, test_share=0.4),
        (
            "split: 3 folds of test_share=0.4 overlap; lower split.n_folds or split.test_share, so that their product "
            "is at most 1"
        ),
    ),
    (lambda: ColdItemSplit(RandomSplit()), "split.base: got random, takes temporal or leave_last_out"),
    (lambda: ColdItemSplit(TEMPORAL, n_strata=0), "split.n_strata: got 0, takes a whole number of at least 1"),
]

NUMBERED = table([(1, 1, 1), (1, 2, 2), (1, 3, 9), (2, 1, 3)])
DATED = dated([(1, 1, "2017-01-03"), (1, 2, "2017-01-12 08:00"), (2, 1, "2017-01-31")])
RUN = "events run from 2017-01-03 00:00:00+00:00 to 2017-01-31 00:00:00+00:00"
SHOWN = "train_end='2017-01-08', validation_end='2017-01-15', test_end='2017-01-22'"

EVENTS: list[tuple[Callable[[], object], str]] = [
    (
        lambda: TemporalSplit(0, 3, 9).assign(NUMBERED),
        "split: no events in periods <= split.train_end=0 (events run from 1 to 9); check split.train_end",
    ),
    (
        lambda: TemporalSplit(3, 8, 9).assign(NUMBERED),
        (
            "split: no events after split.train_end=3 up to split.validation_end=8 (events run from 1 to 9); check "
            "split.validation_end"
        ),
    ),
    (
        lambda: TemporalSplit(1, 3, 8).assign(NUMBERED),
        (
            "split: no events after split.validation_end=3 up to split.test_end=8 (events run from 1 to 9); check "
            "split.test_end"
        ),
    ),
    (
        lambda: TemporalSplit("2016-01-03", "2017-01-15", "2017-02-05", period="week").assign(DATED),
        f"split: no events in periods <= split.train_end=2016-01-03 ({RUN}); check split.train_end",
    ),
    (
        lambda: TemporalSplit(1, 2, 3).assign(DATED),
        (
            f"split: got train_end=1, validation_end=2, test_end=3, period=None, but times are dates ({RUN}); give the "
            "ends as dates such as 2017-10-29, and a period such as day"
        ),
    ),
    (
        lambda: TemporalSplit(*WEEK, period="week").assign(NUMBERED),
        (
            f"split: got {SHOWN}, period='week', but times are whole numbers, which are periods already (events run "
            "from 1 to 9); give the ends as whole numbers, and leave period null"
        ),
    ),
    (
        lambda: TemporalSplit(1, 2, 3, period="week").assign(NUMBERED),
        (
            "split: got train_end=1, validation_end=2, test_end=3, period='week', but times are whole numbers, which "
            "are periods already (events run from 1 to 9); give the ends as whole numbers, and leave period null"
        ),
    ),
    (
        lambda: TemporalSplit("2017-01-10", *WEEK[1:], period="week").assign(DATED),
        (
            "split.train_end: got 2017-01-10, which is not the end of a week (split.period=week); give 2017-01-08 or "
            "2017-01-15"
        ),
    ),
    (
        lambda: TemporalSplit("2016-12-31", "2017-02-27", "2017-03-31", period="month").assign(DATED),
        (
            "split.validation_end: got 2017-02-27, which is not the end of a month (split.period=month); give "
            "2017-01-31 or 2017-02-28"
        ),
    ),
    (
        lambda: TemporalSplit("2017-01-12", "2017-01-22", "2017-02-02", period="10 days").assign(DATED),
        (
            "split.test_end: got 2017-02-02, which is not the end of a span (split.period=10 days); give 2017-02-01 or "
            "2017-02-11"
        ),
    ),
    (
        lambda: TemporalSplit("2017-01-08T11", *WEEK[1:], period="day").assign(DATED),
        (
            "split.train_end: got 2017-01-08T11, which is not the end of a day (split.period=day); give 2017-01-07 or "
            "2017-01-08"
        ),
    ),
    (
        lambda: LeaveLastOutSplit(min_events=4).assign(NUMBERED),
        (
            "split: no user has split.min_events=4 events (the longest history has 3); lower split.min_events, or "
            "data.clean leaves too little"
        ),
    ),
    (
        lambda: UserHoldoutSplit().assign(NUMBERED),
        "split: no user is left for validation: 1 users have two or more events; change the shares, or give more users",
    ),
    (
        lambda: UserHoldoutSplit(n_folds=3, fold=0).assign(NUMBERED.filter(item=1)),
        "split: no user is left for validation: 0 users have two or more events; lower split.n_folds",
    ),
    (
        lambda: RandomSplit(test_share=0.3).assign(NUMBERED),
        (
            "split: no user has enough events for a validation target (the longest history has 3); raise "
            "split.validation_share=0.1"
        ),
    ),
    (
        lambda: ColdItemSplit(TEMPORAL).assign(table([(1, 1, 1), (1, 1, 3), (1, 1, 4)])),
        "split: 1 items are too few for split.validation_share=0.1; raise it, or give more items",
    ),
    (
        lambda: ColdItemSplit(TEMPORAL, min_item_users=2).assign(table([(1, 1, 1), (1, 1, 3), (1, 1, 4)])),
        (
            "split: the core (items of split.min_item_users=2 users, users of split.min_user_items=0 items) has no "
            "item to draw; lower them"
        ),
    ),
    (
        lambda: ColdItemSplit(TEMPORAL).assign(table([(1, i, 1) for i in range(10)] + [(1, 99, 3), (1, 99, 4)])),
        (
            "split: none of the 1 cold validation items has an event in the validation periods; raise "
            "split.validation_share=0.1"
        ),
    ),
]


@pytest.mark.parametrize(("make", "message"), SETTINGS, ids=range(len(SETTINGS)))
def test_bad_settings(make, message):
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        make()


@pytest.mark.parametrize(("make", "message"), EVENTS, ids=range(len(EVENTS)))
def test_settings_that_do_not_suit_the_events(make, message):
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        make()


@pytest.mark.parametrize(
    "split", [TEMPORAL, LeaveLastOutSplit(), UserHoldoutSplit(), RandomSplit(), ColdItemSplit(TEMPORAL)]
)
def test_no_events_at_all(split):
    with pytest.raises(DataError, match="^split: "):
        split.assign(table([]))
