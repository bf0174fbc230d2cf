"""Where W&B's key may lie, and what is said when there is none or it does not work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.errors import CommError, Error, UsageError

from xrec.errors import SettingError
from xrec.tracking.tracker import NoTracker
from xrec.tracking.wandb_tracker import WandbTracker

ONLINE = WandbTracker(mode="online")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person without a key, in a folder of their own."""
    for name in [n for n in os.environ if n.startswith("WANDB_") or n == "NETRC"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_no_key_is_said_with_every_way_out() -> None:
    with pytest.raises(SettingError) as refused:
        ONLINE.check()
    for word in ("tracking.mode=online", "wandb login", "WANDB_API_KEY", "tracking.mode=offline", "tracking=none"):
        assert word in str(refused.value)
    WandbTracker().check()
    NoTracker().check()


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"])
def test_a_key_in_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x" * 40)
    ONLINE.check()
    monkeypatch.setenv(name, "")
    with pytest.raises(SettingError):
        ONLINE.check()


NETRC = {
    "machine api.wandb.ai login user password secret\n": True,
    "machine elsewhere.org login user password secret\n": False,
    "machine api.wandb.ai login user\n": False,
    "machine api.wandb.ai login\n": False,  # cut short
    "default login user password secret\n": True,
}


@pytest.mark.parametrize("text", NETRC)
@pytest.mark.parametrize("name", [".netrc", "_netrc", "elsewhere"])
def test_a_key_in_netrc(text: str, name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / name).write_text(text)
    (home / name).chmod(0o600)
    if name == "elsewhere":
        monkeypatch.setenv("NETRC", f"~/{name}")
    if NETRC[text]:
        ONLINE.check()
    else:
        with pytest.raises(SettingError):
            ONLINE.check()


def test_a_key_for_a_server_of_ones_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".netrc").write_text("machine wandb.mine.org:8080 login user password secret\n")
    with pytest.raises(SettingError):
        ONLINE.check()
    settings(home / "wandb" / "settings", "[default]\nbase_url = http://wandb.mine.org:8080\n")
    ONLINE.check()
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.wandb.ai")
    with pytest.raises(SettingError):
        ONLINE.check()
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.mine.org:8080/")
    ONLINE.check()


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("[default]\napi_key = secret\n", True),
        ("[default]\nproject = x\n", False),
        ("api_key = secret\n", False),
        ("\xff\xfe", False),
    ],
)
def test_a_key_in_the_settings_of_wandb(text: str, has: bool, home: Path) -> None:
    settings(home / ".config" / "wandb" / "settings", text)
    if has:
        ONLINE.check()
    else:
        with pytest.raises(SettingError):
            ONLINE.check()


@pytest.mark.parametrize("error", [UsageError("no\nkey"), CommError("no route")])
def test_a_login_that_fails_says_how_the_run_goes_on(error: Error, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        raise error

    monkeypatch.setattr(wandb, "init", init)
    says = rf"tracking.mode=online: W&B did not start \(no .*: run `wandb login`.*resume={home}/run tracking=none"
    with pytest.raises(SettingError, match=says):
        ONLINE.start(home / "run", {}, "run", None, "run")
    ONLINE.finish()
