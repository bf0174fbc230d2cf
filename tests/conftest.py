"""Shared by every test: one thread (bits must not depend on the machine), a fixed hypothesis profile, a toy dataset."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.toys import fit_data, toy_dataset
from xrec.data.interactions import SplitInteractions
from xrec.models.recommender import FitData

CHECKS = list(HealthCheck)
settings.register_profile("xrec", deadline=None, max_examples=25, suppress_health_check=CHECKS, derandomize=True)
settings.load_profile("xrec")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SplitInteractions:
    """The toy dataset, built once; never change its arrays."""
    return toy_dataset(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def toy_fit(toy: SplitInteractions, tmp_path) -> FitData:
    return fit_data(toy, tmp_path)
