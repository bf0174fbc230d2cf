"""A small data set in the real layout, a composed config over it, and a run of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from tests.small_journey import SMALL, write_small_journey

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_journey(tmp_path_factory.mktemp("journey"))


@pytest.fixture(scope="session")
def configured(journey: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DictConfig]:
    cache = tmp_path_factory.mktemp("cache")

    def make(*overrides: str) -> DictConfig:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            small = [
                o for o in SMALL if not (o.startswith("model.") and any(x.startswith("model=") for x in overrides))
            ]
            return compose("config", [f"data.source.path={journey}", f"paths.cache={cache}", *small, *overrides])

    return make
