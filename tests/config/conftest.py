from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

CONF = Path(__file__).resolve().parents[2] / "conf"

Compose = Callable[..., DictConfig]


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Compose]:
    """compose(*overrides): the config of conf/, with runs in a temporary directory."""
    monkeypatch.setenv("XREC_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XREC_CACHE", str(tmp_path / "cache"))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield lambda *overrides: hydra_compose("config", overrides=list(overrides))
    GlobalHydra.instance().clear()
