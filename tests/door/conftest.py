"""A run of everything over a small journey, loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from tests.contracts.conftest import configured as configured
from tests.contracts.conftest import journey as journey
from xrec import pipeline
from xrec.door import LoadedRun, load

EXPLAINERS = (
    "random", "popularity", "leave_one_out", "attention", "additive", "integrated_gradients", "permutation_shap",
    "kernel_shap",
)  # fmt: skip


@pytest.fixture(scope="session")
def saved(configured: Callable[..., DictConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A composed model, explained by every explainer."""
    explainers = f"explainer=[{','.join(EXPLAINERS)}]"
    directory = tmp_path_factory.mktemp("saved") / "run"
    pipeline.run(configured(explainers, "stages=[fit,explain,fidelity]", "explainer.random.n_draws=3"), directory)
    return directory


@pytest.fixture(scope="session")
def run(saved: Path) -> LoadedRun:
    return load(saved)
