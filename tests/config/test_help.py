"""`--help`: every group and option, at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xrec.config.help import help_text
from xrec.config.prepass import main_prepass

CONF = Path(__file__).resolve().parents[2] / "conf"


def test_help_names_every_option_and_says_what_it_is() -> None:
    said = help_text(CONF)
    options = [p for p in CONF.rglob("*.yaml") if p.parent != CONF and "hydra" not in p.relative_to(CONF).parts]
    assert len(options) > 25
    for option in options:
        assert f"\n{option.parent.relative_to(CONF).as_posix()}\n" in said
        (line,) = {x for x in said.splitlines() if x.startswith(f"  {option.stem} ") and x[24:] in _about(option)}
        assert len(line) > 30, f"{option}: say in a comment what it is"
    assert (CONF / "config.yaml").read_text().rstrip() in said
    assert "job_logging" not in said.split("KEYS")[0]


def _about(option: Path) -> str:
    return " ".join(x.lstrip("# ") for x in option.read_text().splitlines() if x.startswith("#"))


def test_a_sentence_that_goes_on_below_is_finished(tmp_path: Path) -> None:
    (tmp_path / "masker").mkdir()
    comment = "# @package masker\n# Some are hidden,\n# others are not. And more.\n# Not said.\na: 1\n"
    (tmp_path / "masker" / "half.yaml").write_text(comment)
    (tmp_path / "config.yaml").write_text("a: 1\n")
    (line,) = [x for x in help_text(tmp_path).splitlines() if x.startswith("  half ")]
    assert line.endswith("  Some are hidden, others are not")
    (tmp_path / "masker" / "late.yaml").write_text("\n_target_: mine.Late\n# Said late.\n")
    (line,) = [x for x in help_text(tmp_path).splitlines() if x.startswith("  late ")]
    assert line.endswith("  Said late.")


def test_it_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    options = help_text(CONF).split("KEYS")[0]
    assert max(len(line) for line in options.splitlines() if line.startswith("  ")) <= 80
    monkeypatch.delenv("COLUMNS")
    assert max(map(len, help_text(CONF).split("KEYS")[0].splitlines())) > 100  # in a pipe, whole lines


def test_nobody_reads_to_the_end() -> None:
    run = f"{sys.executable} {CONF.parent / 'experiments' / 'run.py'} --help | head -1"
    done = subprocess.run(run, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("python experiments/run.py") and done.stderr == ""


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_answered_without_hydra(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main_prepass([flag], CONF)
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("python experiments/run.py [-m]")
    program = (
        f"import sys; from xrec.config.prepass import main_prepass as m\ntry: m([{flag!r}], {str(CONF)!r})\n"
        "except SystemExit: print([n for n in sys.modules if n in ('hydra', 'torch', 'polars')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_beside_overrides_is_hydras() -> None:
    assert main_prepass(["model=ease", "--help"], CONF) == ["model=ease", "--help"]
