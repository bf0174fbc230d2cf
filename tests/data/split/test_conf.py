"""The options of conf/split compose, fit their classes' arguments, and are built."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from xrec.config.instantiate import instantiate
from xrec.config.targets import check_targets
from xrec.data.split.auto import AutoSplit
from xrec.data.split.cold_item import ColdItemSplit
from xrec.data.split.given import GivenSplit
from xrec.data.split.leave_last_out import LeaveLastOutSplit
from xrec.data.split.random import RandomSplit
from xrec.data.split.temporal import TemporalSplit
from xrec.data.split.user_holdout import UserHoldoutSplit

CONF = Path(__file__).parents[3] / "conf"
ENDS = {"train": 43, "validation": 47, "test": 53}  # of Complete Journey, which is the default data set
DEFAULT = TemporalSplit(43, 47, 53)
BY_SHARE = ["data=table", "data.path=log.csv"]
LEAST = 7  # of data.clean.min_item_users


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ([], AutoSplit(ends=ENDS)),
        (["split=auto", "split.test=0.2"], AutoSplit(test=0.2, ends=ENDS)),
        ([*BY_SHARE, "split.validation=0.2"], AutoSplit(validation=0.2)),
        (["split=temporal"], DEFAULT),
        (["split=temporal", "split.train_end=40"], TemporalSplit(40, 47, 53)),
        ([*BY_SHARE, "split=temporal", "split.test=0.2", "split.period=day"], TemporalSplit(test=0.2, period="day")),
        (["split=leave_last_out"], LeaveLastOutSplit()),
        (["split=leave_last_out", "split.unit=basket"], LeaveLastOutSplit(unit="basket")),
        (["split=given"], GivenSplit()),
        (["split=user_holdout"], UserHoldoutSplit()),
        (["split=user_holdout", "split.n_folds=5", "split.fold=0"], UserHoldoutSplit(fold=0, n_folds=5)),
        (["split=random"], RandomSplit()),
        (["split=cold_item"], ColdItemSplit(DEFAULT, min_item_users=LEAST, min_user_items=10)),
        (
            ["split=cold_item", "split@split.base=leave_last_out", "split.base.min_events=4", "split.fold=2"],
            ColdItemSplit(LeaveLastOutSplit(min_events=4), fold=2, min_item_users=LEAST, min_user_items=10),
        ),
        (
            ["split=temporal", *(f"split.{k}" for k in (
                "train_end=2017-10-29", "validation_end=2017-11-26", "test_end=2017-12-31", "period=week"
            ))],
            TemporalSplit("2017-10-29", "2017-11-26", "2017-12-31", period="week"),
        ),
    ],
)  # fmt: skip
def test_an_option_is_what_it_says(overrides, wanted):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=[*overrides, f"++data.clean.min_item_users={LEAST}"])
    assert [e for e in check_targets(config) if e.startswith("split")] == []
    assert instantiate(config.split) == wanted


def test_a_given_split_has_no_core_unless_one_is_asked_for():
    """Or published targets would go."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = compose("config", overrides=["data=table", "split=given"]).data.clean
        cored = compose("config", overrides=["data=table", "split=given", "data.clean.min_user_items=3"]).data.clean
    assert (given.min_item_users, given.min_user_items) == (0, 0)
    assert (cored.min_item_users, cored.min_user_items) == (0, 3)


def test_every_option_is_tested_here():
    assert {p.stem for p in (CONF / "split").glob("*.yaml")} == {
        "auto", "temporal", "leave_last_out", "user_holdout", "random", "cold_item", "given",
    }  # fmt: skip
