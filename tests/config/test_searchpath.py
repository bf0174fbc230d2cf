"""Options outside conf/, found through `hydra.searchpath`: chosen, mistyped, hidden, missing, and in --help."""

from __future__ import annotations

from pathlib import Path

import pytest

from xrec.config.prepass import main_prepass

CONF = Path(__file__).resolve().parents[2] / "conf"
YAML = "# @package explainer.{name}\n# What {name} does.\n_target_: xrec.explain.controls.Random\nn_draws: 2\n"


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XREC_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `own`, with a folder of options that is a package too."""
    folder = tmp_path / "own" / "conf of mine"
    (folder / "explainer").mkdir(parents=True)
    (folder / "explainer" / "volume.yaml").write_text(YAML.format(name="volume"))
    (folder / "model" / "window").mkdir(parents=True)
    (folder / "model" / "window" / "short.yaml").write_text("# @package model.window\nlength: 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main_prepass(arguments, CONF)
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("scheme", ["file://", ""])
def test_own_options_are_options(mine: Path, scheme: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"hydra.searchpath=['{scheme}{mine}']"
    for good in (["explainer=[random,volume]", "explainer.volume.n_draws=3"], ["-m", "explainer=random,[volume]"]):
        assert main_prepass([path, *good], CONF) == [path, *good]
    said = refusal([path, "explainer=[volumne]", "modle/window=short", "explainer.volume.n=1"], capsys)
    assert "explainer has no option 'volumne'; did you mean 'volume'?" in said
    assert "did you mean 'model/window'?" in said
    assert "explainer has no option 'volume'" in refusal(["explainer=[volume]"], capsys)
    said = refusal([path, "explainer=[volume]", "explainer.volume.n_draw=3"], capsys)
    assert "did you mean 'explainer.volume.n_draws'?" in said


def test_a_package_of_options(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = mine.rename(mine.with_name("conf"))
    arguments = ["hydra.searchpath=[pkg://own.conf]", "explainer=[volume]"]
    assert "hydra.searchpath: got 'pkg://own.conf', which is no package with an __init__.py" in refusal(
        arguments, capsys
    )
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    import importlib

    importlib.invalidate_caches()
    assert main_prepass(arguments, CONF) == arguments


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (
            "[file:///nowhere]",
            "hydra.searchpath: got 'file:///nowhere', which is no directory; takes a list of folders",
        ),
        ("[pkg://no.where]", "hydra.searchpath: got 'pkg://no.where', which is no package"),
        ("[s3://x]", "hydra.searchpath: got 's3://x', of the unknown scheme s3"),
        ("/tmp", "hydra.searchpath=/tmp: takes a list of folders"),
        ("[3]", "hydra.searchpath=[3]: takes a list of folders"),
    ],
)
def test_a_search_path_that_is_not_there(path: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal([f"hydra.searchpath={path}", "seed=-1"], capsys)
    assert says in said and "seed: got -1" in said and said.startswith("2 errors")


def test_an_option_that_would_never_be_found(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mine / "explainer" / "random.yaml").write_text(YAML.format(name="random"))
    said = refusal([f"hydra.searchpath=['{mine}']"], capsys)
    assert f"{mine}/explainer/random.yaml is hidden by {CONF}/explainer/random.yaml: give it another name" in said


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_shows_own_options(mine: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main_prepass([f"hydra.searchpath=['{mine}']", flag], CONF)
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert "  volume                What volume does.\n" in said and "\nmodel/window\n" in said
    assert said.count("\nexplainer\n") == 1
    with pytest.raises(SystemExit) as stopped:
        main_prepass(["hydra.searchpath=[/nowhere]", flag], CONF)
    assert stopped.value.code == 2 and "'/nowhere', which is no directory" in capsys.readouterr().err
