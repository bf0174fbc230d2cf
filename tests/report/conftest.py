"""One fake run and one fake study for all tests of the report; tests that damage files copy them first."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Whatever import mode pytest is in, the helper beside this file is found.
sys.path.insert(0, str(Path(__file__).parent))

from tests.report import synthetic
from xrec.rundir.saved import SavedRun
from xrec.rundir.table import Results


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_run(tmp_path_factory.mktemp("report") / "toy" / "run")


@pytest.fixture(scope="session")
def results(run_directory: Path) -> Results:
    return SavedRun(run_directory).results


@pytest.fixture
def study_directory(tmp_path: Path) -> Path:
    return synthetic.write_study(tmp_path / "lambda")
