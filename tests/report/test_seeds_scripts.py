"""scripts/compare.py, and scripts/figures.py on a multirun, as a person runs them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.seed_runs import config, write_multirun, write_run

SCRIPTS = Path(__file__).parents[2] / "scripts"
TABLES = ["seeds_fidelity_new", "seeds_fidelity_new_between_arms", "seeds_ranking"]
WRITTEN = sorted(["seeds.pdf", "seeds.png", *(f"{name}.{kind}" for name in TABLES for kind in ("tex", "md"))])


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"xrec_script_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def multirun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_multirun(tmp_path_factory.mktemp("scripts") / "multirun")


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")


class TestCompare:
    @pytest.mark.usefixtures("wide")
    def test_prints_and_writes(self, multirun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "paper" / "figures"
        runs = [str(multirun / n) for n in "0213"]
        assert script("compare").main([*runs, "--out", str(out)]) == 0
        printed, errors = capsys.readouterr()
        assert errors == ""
        for words in ("All targets, minus attention=target", "seeds 0, 1.", "Fidelity, new, between, arms"):
            assert words in " ".join(printed.split()), printed
        assert sorted(path.name for path in out.iterdir()) == WRITTEN
        assert str(out / "seeds_ranking.tex") in printed.splitlines()

    @pytest.mark.usefixtures("wide")
    def test_reference_and_labels(self, multirun: Path, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = [str(multirun), "--labels", "T", "M", "--reference", "M"]
        assert script("compare").main(arguments) == 0
        assert "All targets, minus M" in capsys.readouterr().out

    @pytest.mark.usefixtures("wide")
    def test_unfinished_runs_are_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_multirun(tmp_path, seeds=(0,))
        write_run(tmp_path / "2", config(1), stages=("fit",))
        assert script("compare").main([str(tmp_path)]) == 0
        assert capsys.readouterr().err == (
            f"compare: {tmp_path}/2 is left out: it has not finished rank, explain, fidelity, report "
            f"(`python experiments/run.py resume={tmp_path}/2` does)\n"
        )

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["0", "1", "--reference", "attention=taget"], "did you mean 'attention=target'?"),
            (["0"], "one finished run is nothing to compare"),
            (["0", "nowhere"], "does not exist"),
            (["0", "1", "--labels", "a", "b", "c"], "labels: got a, b, c; takes one"),
            (["0", "0"], "are the same arm (composed) with the same seed"),
            (["0", "1", "--out", "0/config.yaml/x"], "cannot be written"),
        ],
    )
    def test_errors_are_one_line(
        self, arguments: list[str], words: str, multirun: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = [str(multirun / word) if word[0] == "0" or word in ("1", "nowhere") else word for word in arguments]
        assert script("compare").main(given) == 1
        errors = capsys.readouterr().err
        assert words in errors
        assert len(errors.splitlines()) == 1

    def test_help_is_instant(self) -> None:
        start = time.perf_counter()
        command = [sys.executable, "-X", "importtime", str(SCRIPTS / "compare.py"), "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert time.perf_counter() - start < 2
        assert "--reference" in done.stdout
        loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
        assert not loaded & {"polars", "matplotlib", "numpy", "scipy", "rich", "xrec"}


class TestFigures:
    def test_a_multirun_writes_beside_itself(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = write_multirun(tmp_path / "multirun")
        assert script("figures").main([str(folder)]) == 0
        printed, errors = capsys.readouterr()
        assert errors == ""
        assert sorted(path.name for path in (folder / "figures").iterdir()) == WRITTEN
        assert {Path(line).name for line in printed.splitlines()} == set(WRITTEN)
        first = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
        assert script("figures").main([str(folder), "--out", str(tmp_path / "again")]) == 0
        assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first

    def test_a_damaged_run_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = write_multirun(tmp_path / "multirun", seeds=(0,))
        (folder / "1" / "results.parquet").write_bytes(b"")
        assert script("figures").main([str(folder)]) == 1
        errors = capsys.readouterr().err
        assert f"{folder}/1/results.parquet is not what the run wrote" in errors
        assert len(errors.splitlines()) == 1
        assert not (folder / "figures").exists()

    def test_an_unfinished_run_is_named_and_left_out(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = write_multirun(tmp_path / "multirun", seeds=(0,))
        write_run(folder / "2", config(1), stages=("fit", "rank"))
        assert script("figures").main([str(folder)]) == 0
        assert f"figures: {folder}/2 is left out: it has not finished explain" in capsys.readouterr().err
        assert "1 unfinished run (2)" in (folder / "figures" / "seeds_ranking.md").read_text()
