"""Every Python example of the README runs as it stands there, in order, beside a run of the name that it uses."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.contracts.conftest import configured as configured
from tests.contracts.conftest import journey as journey
from tests.contracts.test_application import command, environment
from xrec import pipeline

README = Path(__file__).resolve().parents[1] / "README.md"
#: examples in other sections are files of their own, tried by tests/contracts/test_outside.py
SECTIONS = ("From Python", "Your own recommender")
#: packages that xrec and its tests do without: their examples need a trained model, and were tried by hand
OTHERS = ("lenskit", "recbole")


def blocks(section: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    inside = re.search(rf"^## {section}\n(.*?)^## ", text, flags=re.DOTALL | re.MULTILINE)
    assert inside is not None, section
    found = re.findall(r"^```python\n(.*?)^```", inside[1], flags=re.DOTALL | re.MULTILINE)
    return [b for b in found if not re.search(rf"^(?:from|import) (?:{'|'.join(OTHERS)})\b", b, flags=re.MULTILINE)]


@pytest.fixture(scope="module")
def home(configured, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    explainers = "explainer=[random,permutation_shap]"
    pipeline.run(configured(explainers, "stages=[fit,explain]"), folder / "runs" / "quickstart" / "DATE_TIME")
    return folder


@pytest.mark.parametrize("section", SECTIONS)
def test_examples_run(section: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    found, names = blocks(section), {}
    assert found
    for number, block in enumerate(found):
        exec(compile(block, f"README, {section}, example {number + 1}", "exec"), names)  # noqa: S102
    if section == "From Python":
        assert (home / "why.pdf").read_bytes()[:4] == b"%PDF"
    else:
        assert names["e"].player_names == ("bread", "tea")
        assert np.allclose(names["e"].values, [3, 0])


def test_the_command_of_a_function_of_ones_own_runs(journey: Path, tmp_path: Path) -> None:
    """Cut down to a small data set, as all commands of the README are in tests."""
    text = README.read_text(encoding="utf-8")
    line = next(x for x in text.splitlines() if "model=external" in x and x.startswith("python"))
    function = tmp_path / "my_package.py"
    function.write_text(
        "import numpy as np\n\n\ndef my_function(histories, item_ids):\n"
        "    return np.array([[len(history) % (i + 2) for i in range(len(item_ids))] for history in histories])\n"
    )
    overrides = [word.strip("'") for word in line.split()[2:]]
    arguments = command(journey, tmp_path / "cache", *overrides, f"hydra.run.dir={tmp_path / 'run'}")
    arguments = [a for a in arguments if not a.startswith(("model.embedding", "explainer=[random,leave"))]
    environ = environment() | {"XREC_ALLOWED_TARGETS": "my_package"}
    environ["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{environ['PYTHONPATH']}"
    done = subprocess.run(arguments, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
