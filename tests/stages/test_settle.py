"""What the config leaves to the data: what it becomes, by data sets that have something and lack something."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tests.logs import write_orders, write_ratings
from xrec.config.schema import ConfigError, check
from xrec.data.build import build
from xrec.data.cache import ArrayCache
from xrec.data.clean import Cleaning
from xrec.data.interactions import SplitInteractions
from xrec.data.sources.table import Table
from xrec.data.split.auto import AutoSplit
from xrec.data.split.leave_last_out import LeaveLastOutSplit
from xrec.data.split.temporal import TemporalSplit
from xrec.stages.settle import facts_of, settle
from xrec.training.derived import NEXT_ITEM, derived_horizon, derived_windows

CONF = Path(__file__).resolve().parents[2] / "conf"
ORDERS = {"user": "client", "item": "article", "time": "order_date"}


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["data=table", "data.path=log.csv", *overrides])


def made(source: Table, folder: Path, split=None) -> SplitInteractions:
    return build(source, split or AutoSplit(), ArrayCache(folder / "cache"), Cleaning(min_item_users=2))


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> SplitInteractions:
    """Dates and repeats, no attributes."""
    folder = tmp_path_factory.mktemp("orders")
    return made(Table(str(write_orders(folder / "log.csv")), ORDERS), folder)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> SplitInteractions:
    """No times, no repeats; with a file of attributes, one of which tells items apart."""
    folder = tmp_path_factory.mktemp("ratings")
    log = write_ratings(folder / "log.tsv")
    (folder / "items.csv").write_text("item,shelf,shop\n" + "".join(f"{i},s{i % 2},one\n" for i in range(60)))
    items = {"path": "items.csv", "columns": {"item": "item"}}
    return made(Table(str(log), {"user": "user", "item": "item", "time": None}, items=items), folder)


def plain(config: DictConfig, *sections: str) -> dict:
    return {name: OmegaConf.to_container(config[name], resolve=True) for name in sections}


def test_without_attributes_it_is_what_the_explicit_choices_give(orders: SplitInteractions, caplog) -> None:
    config, explicit = composed(), composed("model/item_encoder=embedding", "model/wide=[prior,linear,repeat]")
    with caplog.at_level(logging.INFO, logger="xrec.stages.settle"):
        settle(config, orders)
    assert facts_of(orders) == {"item_attributes": False, "repeats": True}
    assert plain(config, "model", "loss") == plain(explicit, "model", "loss")
    assert plain(config, "split")["split"]["train_end"] == "2024-05-26"
    assert (config.training.windows, config.training.horizon) == ([-12, -8, -3], 3)
    assert config.training.monitor == "validation/ndcg_at_10/all"
    assert [r.getMessage().split(":")[0] for r in caplog.records] == ["split", "training", "repeat", "item encoder"]
    assert check(config) == []


def test_without_repeats_it_is_what_the_explicit_choices_give(ratings: SplitInteractions) -> None:
    config, explicit = composed(), composed("model/item_encoder=embedding_attributes", "model/wide=[prior,linear]")
    settle(config, ratings)
    assert facts_of(ratings) == {"item_attributes": True, "repeats": False}
    assert plain(config, "model", "loss") == plain(explicit, "model", "loss")
    assert list(config.training.windows) == list(NEXT_ITEM) and config.training.horizon == 1
    assert config.training.monitor == "validation/ndcg_at_10/new"
    assert config.split._target_.endswith("LeaveLastOutSplit")


def test_what_is_settled_stays_as_it_is(orders: SplitInteractions, caplog) -> None:
    config = composed()
    settle(config, orders)
    before = OmegaConf.to_yaml(config)
    with caplog.at_level(logging.INFO, logger="xrec.stages.settle"):
        settle(config, orders)
    assert OmegaConf.to_yaml(config) == before and not caplog.records


def test_explicit_choices_are_respected(orders: SplitInteractions) -> None:
    config = composed(
        "model/item_encoder=bigan",
        "model/wide=[prior]",
        "training.windows=[-5]",
        "training.monitor=validation/ndcg_at_10/new",
    )
    settle(config, orders)
    assert config.model.item_encoder._target_.endswith("BiGAN") and "adversarial" in config.loss.weights
    assert "repeat" not in config.model.components and list(config.training.windows) == [-5]
    assert config.training.monitor.endswith("new") and config.training.horizon == 3


def test_a_model_without_parts_settles_too(ratings: SplitInteractions) -> None:
    config = composed("model=ease")
    settle(config, ratings)
    assert "loss" not in config and config.model.name == "ease"


def test_attributes_that_are_the_same_for_all_items_are_none(ratings: SplitInteractions) -> None:
    from dataclasses import replace

    same = tuple(f for f in ratings.catalogue.item_fields if f.name == "shop")
    assert len(same) == 1
    bare = replace(ratings, catalogue=replace(ratings.catalogue, item_fields=same))
    assert not facts_of(bare)["item_attributes"]


def test_a_need_that_there_is_none_of_is_refused(orders: SplitInteractions) -> None:
    config = composed("model.auto.repeat.needs=repeat")
    with pytest.raises(ConfigError, match="model.auto.repeat.needs: got 'repeat', takes .*did you mean 'repeats'"):
        settle(config, orders)


def test_the_windows_of_a_users_own_events_are_those_of_next_item() -> None:
    next_item = yaml.safe_load((CONF / "training" / "next_item.yaml").read_text())
    assert (list(NEXT_ITEM), 1) == (next_item["windows"], next_item["horizon"])


def test_windows_of_a_calendar(toy: SplitInteractions) -> None:
    """The toy trains on few periods: by hand, of -4h, -2.5h and -h those that training reaches."""
    first, last = toy.parts["validation"]
    horizon = derived_horizon(toy, own_periods=False)
    assert horizon == min(last - first + 1, (toy.train_end + 1 - int(toy.time.min())) // 2)
    usual = [-4 * horizon, -int(2.5 * horizon + 0.5), -horizon]
    reached = [w for w in usual if toy.train_end + 1 + w > int(toy.time.min())]
    assert derived_windows(toy, False, horizon) == reached
    assert derived_windows(toy, True, 2) == [
        w for w in (-2, -3, -4, -6, -10) if toy.train_end + 1 + w > int(toy.time.min())
    ]


def test_splits_say_whether_their_periods_are_a_calendar() -> None:
    assert LeaveLastOutSplit.own_periods and not hasattr(TemporalSplit, "own_periods")
