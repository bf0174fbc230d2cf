"""Checkpoints: whole, of this model, in safetensors, or refused."""

from __future__ import annotations

import os
import pickle
import shutil

import pytest
import torch
from torch import nn

from xrec.training import checkpoint
from xrec.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_state,
    load_tensors,
    save_checkpoint,
    save_tensors,
    weights_digest,
)


def trained(seed: int = 0, width: int = 3) -> tuple[nn.Module, dict[str, torch.optim.Optimizer]]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    step(model, optimiser)
    return model, {"main": optimiser}


def step(model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    model(torch.ones(1, 2)).square().sum().backward()
    optimiser.step()


@pytest.fixture
def saved(tmp_path):
    model, optimisers = trained()
    save_checkpoint(tmp_path / "last", model, optimisers, {"epoch": 3}, torch.Generator().manual_seed(5))
    return tmp_path / "last"


def test_everything_comes_back(saved):
    (mine, mine_optimisers), (other, optimisers), generator = trained(), trained(seed=9), torch.Generator()
    assert load_checkpoint(saved, other, optimisers, generator) == {"epoch": 3}
    assert weights_digest(mine) == weights_digest(other)
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(5).get_state())
    step(mine, mine_optimisers["main"])
    step(other, optimisers["main"])
    assert weights_digest(mine) == weights_digest(other)


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "last", *trained(), torch.Generator()) is None


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("bomb",)


@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_a_pickle_under_a_safetensors_name_is_refused_and_never_loaded(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    if write == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        torch.save({"a": Bomb()}, path)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_tensors(path)
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(saved, size):
    path = saved / "state.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(saved, *trained(), torch.Generator())


def test_a_torn_state_is_refused(saved):
    (saved / "state.json").write_text('{"epo')
    with pytest.raises(CheckpointError, match="state.json cannot be read"):
        load_checkpoint(saved, *trained(), torch.Generator())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at .*gone"):
        load_tensors(tmp_path / "gone.safetensors")


def test_another_model_s_checkpoint_is_refused_and_changes_nothing(saved):
    model, optimisers = trained(width=4)
    before = weights_digest(model)
    with pytest.raises(CheckpointError, match=r"of another model: .*0.weight has shape \(3, 2\), the model \(4, 2\)"):
        load_checkpoint(saved, model, optimisers, torch.Generator())
    assert weights_digest(model) == before


def test_unknown_and_missing_tensors_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="lacks bias; has unknown extra"):
        load_state(nn.Linear(1, 1), {"weight": torch.ones(1, 1), "extra": torch.ones(1)}, tmp_path)


def test_a_file_without_a_generator_state_is_refused(saved):
    tensors = load_tensors(saved / "state.safetensors")
    del tensors["generator"]
    save_tensors(saved / "state.safetensors", tensors)
    with pytest.raises(CheckpointError):
        load_checkpoint(saved, *trained(), torch.Generator())


def test_the_previous_checkpoint_survives_a_failing_save(saved, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "save_tensors", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(saved, *trained(), {"epoch": 4}, torch.Generator())
    assert load_checkpoint(saved, *trained(), torch.Generator()) == {"epoch": 3}
    assert [p.name for p in saved.parent.iterdir()] == ["last"]


def test_a_kill_between_the_two_renames_is_healed(saved):
    shutil.move(saved, saved.with_name(".last.old"))
    assert load_checkpoint(saved, *trained(), torch.Generator()) == {"epoch": 3}


def test_the_digest_sees_names_shapes_and_bits():
    def digest(name, tensor):
        model = nn.Module()
        model.register_buffer(name, tensor)
        return weights_digest(model)

    one = digest("a", torch.ones(2))
    others = {digest("b", torch.ones(2)), digest("a", torch.ones(2, 1)), digest("a", torch.tensor([1, 1 + 2**-23]))}
    assert one == digest("a", torch.ones(2)) and len(others | {one}) == 4
