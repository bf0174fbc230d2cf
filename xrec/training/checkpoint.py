"""Checkpoints that load without unpickling: tensors in safetensors, everything else in json, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xrec.errors import UserError
from xrec.files import whole_file, write_text
from xrec.models.adam import Optimiser


class CheckpointError(UserError):
    """A checkpoint that is missing, torn, not in safetensors format, or of another model."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file to a temporary name and rename it when whole."""
    with whole_file(path) as temporary:
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, temporary)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: missing, torn, or another format (a pickle is refused, never loaded).
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); it was damaged or is of another format"
        ) from error


def weights_digest(model: nn.Module) -> str:
    """sha256 over names, shapes and bytes of a model's state, in order of name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name}:{values.dtype}:{tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def load_state(model: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Load weights into a model.

    Raises:
        CheckpointError: names or shapes do not match.
    """
    own = model.state_dict()
    problems = [f"lacks {k}" for k in sorted(own.keys() - tensors.keys())]
    problems += [f"has unknown {k}" for k in sorted(tensors.keys() - own.keys())]
    problems += [
        f"{k} has shape {tuple(tensors[k].shape)}, the model {tuple(own[k].shape)}"
        for k in sorted(own.keys() & tensors.keys())
        if tensors[k].shape != own[k].shape
    ]
    if problems:
        raise CheckpointError(f"{where} is of another model: " + "; ".join(problems[:5]))
    model.load_state_dict(dict(tensors))


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimisers: Mapping[str, Optimiser],
    state: dict[str, Any],
    generator: torch.Generator,
) -> None:
    """Write model, optimiser moments, generator state and a JSON-able state into `folder`, replacing it in one step."""
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)  # what a kill left there
    temporary.mkdir(parents=True)
    try:
        tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
        for name, optimiser in optimisers.items():
            for index, slots in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser/{name}/{index}/{slot}": v for slot, v in slots.items()}
        tensors["generator"] = generator.get_state()
        save_tensors(temporary / "state.safetensors", tensors)
        write_text(temporary / "state.json", json.dumps(state))
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_checkpoint(
    folder: Path, model: nn.Module, optimisers: Mapping[str, Optimiser], generator: torch.Generator
) -> dict[str, Any] | None:
    """Restore what `save_checkpoint` wrote and return its state; None when there is no checkpoint.

    Raises:
        CheckpointError: torn or of another model.
    """
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():  # killed between the two renames
        os.replace(old, folder)
    if not folder.exists():
        return None
    try:
        state = json.loads((folder / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder}/state.json cannot be read ({error}); delete {folder} to train from the start"
        ) from error
    tensors = load_tensors(folder / "state.safetensors")
    if "generator" not in tensors:
        raise CheckpointError(f"{folder} holds no generator state; it is no checkpoint of a training run")
    load_state(model, {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}, folder)
    for name, optimiser in optimisers.items():
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimiser/{name}/"):
                _, _, index, slot = key.split("/")
                slots.setdefault(int(index), {})[slot] = value
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
    generator.set_state(tensors["generator"])
    return state
