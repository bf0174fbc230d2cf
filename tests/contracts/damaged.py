"""The files of a finished run, and five ways to damage one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

FILES = (
    "attributions.parquet", "cases.parquet", "checkpoint/best/state.safetensors", "checkpoint/last/state.json",
    "checkpoint/last/state.safetensors", "config.yaml", "data_card.json", "environment.json", "explanations.parquet",
    "metrics.jsonl", "model.json", "model.safetensors", "objectives.json", "overrides.yaml", "report.html",
    "results.parquet", "stages.json", "stages/explain.json", "stages/explain.parquet", "stages/fidelity.json",
    "stages/fidelity.parquet", "stages/fit.json", "stages/fit.parquet", "stages/rank.json", "stages/rank.parquet",
    "stages/report.json", "stages/report.parquet",
)  # fmt: skip


def _truncated(path: Path, other: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _emptied(path: Path, other: Path) -> None:
    path.write_bytes(b"")


def _deleted(path: Path, other: Path) -> None:
    path.unlink()


def _flipped(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


def _others(path: Path, other: Path) -> None:
    shutil.copyfile(other, path)


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "truncated": _truncated, "emptied": _emptied, "deleted": _deleted, "flipped": _flipped, "others": _others,
}  # fmt: skip


def damage(path: Path, way: str, other: Path) -> None:
    """Damage a file; `other` is its namesake of another run."""
    WAYS[way](path, other)
