"""What fits into memory, and how running out of it is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from xrec import memory
from xrec.errors import SettingError
from xrec.memory import TRAINING_COPIES, available_memory, named_memory_errors, within_memory


@pytest.mark.parametrize("size", [10**9, 10**18, 10**30])
def test_a_layer_that_cannot_fit_is_never_allocated(size: int) -> None:
    node = {"embedding_size": size, "on": True, "user_encoder": {"hidden_size": 64, "dropout": 0.5}}
    says = f"^model .*lower model.embedding_size={size}, model.user_encoder.hidden"
    with pytest.raises(SettingError, match=says), within_memory("model", node, TRAINING_COPIES):
        torch.nn.Linear(64, size)


def test_what_fits_once_need_not_fit_four_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrec.memory.available_memory", lambda: 12_000)
    with within_memory("model", {"size": 10}):
        torch.nn.Embedding(100, 20)
    says = "^model needs at least 0.0 GB of memory for its weights, 0.0 GB when it is trained, but only 0.0 GB"
    with pytest.raises(SettingError, match=says), within_memory("model", {"size": 10}, 4):
        torch.nn.Embedding(100, 20)
    says = "^model needs at least 0.0 GB of memory for its weights, but only"
    with pytest.raises(SettingError, match=says), within_memory("model", {"size": 10}):
        _ = [torch.empty(1000) for _ in range(4)]  # together, not one by one


def test_mistakes_in_a_constructor_keep_their_own_words() -> None:
    with pytest.raises(RuntimeError, match="negative dimension"), within_memory("model", {}):
        torch.nn.Linear(3, -3)
    with pytest.raises(RuntimeError, match="^mat1"), named_memory_errors("x", "y"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_free_memory_is_that_of_the_machine_or_less() -> None:
    free, page = available_memory(), os.sysconf("SC_PAGE_SIZE")
    assert free is not None and 0 < free <= page * os.sysconf("SC_PHYS_PAGES")


def group(folder: Path, limit: str) -> Path:
    folder.mkdir()
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text("700\n")
    (folder / "memory.stat").write_text("anon 600\ninactive_file 50\n")
    return folder


@pytest.mark.parametrize(("limit", "left"), [("1000", 350), ("max", None), ("600", 0)])
def test_a_control_group_leaves_what_its_limit_does(tmp_path: Path, limit: str, left: int | None) -> None:
    assert memory._of_group(group(tmp_path / "job", limit), *memory._V2) == left
    assert memory._of_group(tmp_path, *memory._V2) is None


def test_the_tightest_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [group(tmp_path / "outer", "900"), group(tmp_path / "outer" / "job", "1000")]
    monkeypatch.setattr(memory, "_groups", lambda: [(folder, memory._V2) for folder in folders])
    monkeypatch.setattr(memory, "_of_machine", lambda: 400)
    assert available_memory() == 250
    monkeypatch.setattr(memory, "_groups", lambda: [(tmp_path, memory._V2)])
    assert available_memory() == 400
    monkeypatch.setattr(memory, "_of_machine", lambda: None)
    assert available_memory() is None
    with within_memory("model", {"size": 10}):  # where nobody says, nothing is refused
        torch.empty(10)
