"""Memory: a model that cannot fit is refused before it is allocated; running out all the same is an error by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from xrec.errors import SettingError

#: weights, their gradients, and the two averages that Adam keeps
TRAINING_COPIES = 4
_FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye)
#: how torch says that there is no room, on the CPU and on CUDA, and that a size is beyond all memory
_NO_ROOM = ("can't allocate memory", "not enough memory", "out of memory")
_BEYOND = ("overflow",)
_CGROUPS = Path("/sys/fs/cgroup")
#: limit, use, and of that the cached files which count as free; of both versions of control groups
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_memory() -> int | None:
    """Bytes that this process may still take, of the machine and of its control groups; None where nobody says."""
    known = [_of_machine(), *(_of_group(folder, *names) for folder, names in _groups())]
    return min((n for n in known if n is not None), default=None)


@contextlib.contextmanager
def named_memory_errors(what: str, fix: str) -> Iterator[None]:
    """No room for an array or a tensor in here is a `SettingError` that says what was being done, and the fix."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = " ".join(str(error).split())
        if not isinstance(error, MemoryError) and not any(words in said for words in _NO_ROOM):
            raise
        raise SettingError(f"{what} runs out of memory ({said or 'no room'}): {fix}") from error


@contextlib.contextmanager
def within_memory(path: str, node: Mapping[str, Any], copies: int = 1) -> Iterator[None]:
    """The tensors that a model makes in here must fit `copies` times into the free memory; refused as soon as they do
    not, before they are there.

    Args:
        path, node: the part of the config that describes the model; its largest sizes are named in the error.
    Raises:
        SettingError
    """
    fix = f"lower {_sizes(path, node)}"
    with named_memory_errors(path, fix), _Allocations(path, fix, copies):
        yield


class _Allocations(TorchFunctionMode):
    """Adds up what is about to be allocated."""

    def __init__(self, path: str, fix: str, copies: int) -> None:
        super().__init__()
        self.path, self.fix, self.copies = path, fix, copies
        self.free, self.asked = available_memory(), 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES and self.free is not None:
            self._ask(func, args, kwargs)
        return func(*args, **kwargs)

    def _ask(self, func: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        planned = {k: v for k, v in kwargs.items() if k not in ("device", "generator", "out", "pin_memory")}
        try:
            self.asked += func(*args, **planned, device="meta").nbytes
        except (RuntimeError, TypeError) as error:
            if not any(word in str(error).lower() for word in _BEYOND):
                return  # the call itself will say what is wrong
            raise SettingError(f"{self.path} asks for more memory than there can be: {self.fix}") from error
        assert self.free is not None
        if self.asked * self.copies > self.free:
            trained = f", {_gigabytes(self.asked * self.copies)} when it is trained" if self.copies > 1 else ""
            raise SettingError(
                f"{self.path} needs at least {_gigabytes(self.asked)} of memory for its weights{trained}, but only "
                f"{_gigabytes(self.free)} are free: {self.fix}"
            )


def _sizes(path: str, node: Mapping[str, Any]) -> str:
    """The largest whole numbers in a node: 'model.embedding_size=1000000000, model.item_encoder.hidden_size=64'."""
    found = sorted(_whole_numbers(path, node), reverse=True)[:3]
    return ", ".join(f"{where}={size}" for size, where in found) or f"the sizes of {path}"


def _whole_numbers(path: str, node: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _whole_numbers(f"{path}.{key}", value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield value, f"{path}.{key}"


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f} GB"


def _of_machine() -> int | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """The folders that may limit this process: its control group's and those above it."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers in ("", "memory"):
                root = _CGROUPS / controllers
                inner = root / name.lstrip("/")
                for folder in (inner, *inner.parents):
                    if folder.is_relative_to(root):
                        yield folder, _V1 if controllers else _V2


def _of_group(folder: Path, limit: str, used: str, cached: str) -> int | None:
    try:
        most, now = (folder / limit).read_text().strip(), int((folder / used).read_text())
        facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return None if most == "max" else max(0, int(most) - now + int(facts.get(cached, 0)))
    except (OSError, ValueError):
        return None
