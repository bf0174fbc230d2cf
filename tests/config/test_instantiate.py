"""The one wrapper: what it builds, and what it refuses to build."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from xrec.config.instantiate import instantiate
from xrec.config.schema import ConfigError
from xrec.config.signatures import describe, matches


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> str:
    """The module `config_parts`, allowed by the environment."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("config_parts", Path(__file__).with_name("parts.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "config_parts", module)
    spec.loader.exec_module(module)
    monkeypatch.setenv("XREC_ALLOWED_TARGETS", "somewhere, config_parts")
    return "config_parts"


def test_builds_nested_nodes_and_passes_arguments_as_they_are(parts: str) -> None:
    payload = sys.modules[parts].Payload(3)
    leaf = {"_target_": f"{parts}.Leaf", "size": "${n}", "values": [1.0, 2.0]}
    config = OmegaConf.create({"n": 2, "tree": {"_target_": f"{parts}.Tree", "name": "metadata", "leaf": leaf}})
    tree = instantiate(config.tree, payload=payload)
    assert tree.payload is payload
    assert (tree.leaf.size, tree.name) == (2, "none")
    assert type(tree.leaf.values) is list


def test_partial_nodes_are_factories(parts: str) -> None:
    factory = instantiate({"_target_": f"{parts}.Leaf", "_partial_": True, "size": 2})
    assert factory(values=[1.0]).size == 2
    assert instantiate({"_target_": f"{parts}.Leaf", "size": 2}, size=5).size == 5


def test_errors_of_constructors_are_their_own(parts: str) -> None:
    bad = {"_target_": f"{parts}.Leaf", "size": 0}
    with pytest.raises(ValueError, match=r"^size must be at least 1, got 0"):
        instantiate(bad)
    with pytest.raises(ValueError, match=r"^size must be at least 1, got 0"):
        instantiate({"_target_": f"{parts}.Tree", "leaf": bad}, payload=None)


def test_environment_alone_widens_the_roots(parts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert instantiate({"_target_": f"{parts}.Leaf"}).size == 1
    monkeypatch.delenv("XREC_ALLOWED_TARGETS")
    with pytest.raises(ConfigError, match="XREC_ALLOWED_TARGETS"):
        instantiate({"_target_": f"{parts}.Leaf", "XREC_ALLOWED_TARGETS": parts})


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "xrec.config.allowed.os.system",
        "config_parts.system",
        "builtins.eval",
        "xrec.config.allowed.os.path.join",
    ],
)
def test_foreign_targets_are_never_called(parts: str, target: str, tmp_path: Path) -> None:
    mark = tmp_path / "called"
    node = {"_target_": target, "command": f"touch {mark}"}
    for config in (node, {"_target_": f"{parts}.Leaf", "values": [{"deep": node}]}, {**node, "_partial_": True}):
        with pytest.raises(ConfigError, match="takes what lies under"):
            instantiate(config)
    assert not mark.exists()


@pytest.mark.parametrize("key", ["_args_", "_recursive_", "_convert_", "_mode_"])
def test_other_magic_keys_are_refused(parts: str, key: str) -> None:
    with pytest.raises(ConfigError, match="key not allowed"):
        instantiate({"_target_": f"{parts}.Leaf", key: False})


def test_target_is_resolved_before_it_is_judged(parts: str) -> None:
    config = OmegaConf.create({"evil": "os.system", "node": {"_target_": "${evil}", "command": "true"}})
    with pytest.raises(ConfigError, match=r"os\.system"):
        instantiate(config.node)


def test_a_node_is_needed() -> None:
    for value in (None, 3, {"a": 1}):
        with pytest.raises(ConfigError, match="takes a node with _target_"):
            instantiate(value)


@pytest.mark.parametrize(
    ("value", "hint", "fits"),
    [
        (1, float, True),
        (True, int, False),
        (True, float, False),
        (1.0, int, False),
        (0, bool, False),
        (None, int | None, True),
        ([1, 2], list[int], True),
        ([1, "x"], tuple[int, ...], False),
        ([1, 2, 3], tuple[int, int], False),
        ("x", list[str], False),
        ({"a": 1}, dict[str, float], True),
        ({"a": "b"}, dict[str, float], False),
        ({"_target_": "x.Y"}, int, False),
    ],
)
def test_values_against_annotations(value: object, hint: object, fits: bool) -> None:
    assert matches(value, hint) is fits
    assert describe(hint)
