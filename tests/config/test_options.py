"""Options by name, without composing: what Python callers choose from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.contracts.conftest import CONF
from xrec.config import options
from xrec.errors import SettingError
from xrec.explain.shapley import PermutationShap


def test_names_are_the_files_of_a_group_and_those_of_a_run() -> None:
    assert options.conf_dir() == CONF
    assert options.names("explainer") == sorted(p.stem for p in (CONF / "explainer").glob("*.yaml"))
    assert "mine" in options.names("explainer", {"mine": {}})


def test_a_run_s_own_settings_come_first() -> None:
    assert options.node_of("explainer", "random", {"random": {"n_draws": 3}}) == {"n_draws": 3}
    assert options.node_of("explainer", "random")["n_draws"] == 10


def test_an_unknown_name_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(
        SettingError, match=r"masker: got 'sampeld_user', takes popularity, sampled_user, zero; did you"
    ):
        options.node_of("masker", "sampeld_user")


def test_arguments_are_checked_before_anything_is_built() -> None:
    node = options.node_of("explainer", "permutation_shap")
    assert isinstance(options.built("explainer.x", node), PermutationShap)
    with pytest.raises(SettingError, match=r"explainer.x.budjet: unknown argument; did you mean 'budget'"):
        options.built("explainer.x", {**node, "budjet": 1})
    with pytest.raises(SettingError, match="takes what lies under xrec"):
        options.built("explainer.x", {"_target_": "os.system"})


def test_options_of_an_installed_package_lie_inside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(CONF / "output", tmp_path / "xrec" / "conf" / "output")
    (tmp_path / "xrec" / "config").mkdir()
    monkeypatch.setattr(options, "__file__", str(tmp_path / "xrec" / "config" / "options.py"))
    assert options.conf_dir() == tmp_path / "xrec" / "conf"
    assert "margin" in options.names("output")
