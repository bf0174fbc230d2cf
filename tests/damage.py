"""Broken files: cuts, flipped bits, bytes taken out or put in, and what a source that reads them must keep to."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl

from xrec.data.errors import DataError


def damaged(content: bytes, rng: random.Random) -> bytes:
    """`content` with one fault."""
    data = bytearray(content)
    at = rng.randrange(len(data))
    match rng.randrange(6):
        case 0:
            del data[at:]
        case 1:
            data[at] = rng.randrange(256)
        case 2:
            del data[at : at + rng.randrange(1, 20)]
        case 3:
            data[at:at] = bytes(rng.choice(b"\n\r\t\",:|'{}[]\\\x00\xff0-") for _ in range(rng.randrange(1, 4)))
        case 4:
            data[at:at] = data[: rng.randrange(len(data))]
        case _:
            data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


def n_lines(content: bytes) -> int:
    """Lines with something in them."""
    text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    return sum(1 for line in text.split(b"\n") if line.strip())


def survive(
    files: dict[str, bytes], make: Callable[[Path], object], folder: Path, *, tries: int, header: bool = False
) -> tuple[int, int]:
    """(loads, refusals) over `tries` damaged copies of one of `files`, the first of which is the event log.

    A damaged copy loads with every line of the log accounted for, or raises `DataError`; anything else escapes.
    """
    log = next(iter(files))
    loads = refusals = 0
    for seed in range(tries):
        rng = random.Random(seed)
        broken = rng.choice(list(files))
        content = files | {broken: damaged(files[broken], rng)}
        for name, data in content.items():
            (folder / name).write_bytes(data)
        try:
            raw = make(folder).load()  # type: ignore[attr-defined]
        except DataError:
            refusals += 1
            continue
        events = raw.events.collect()
        assert events.height == raw.steps[-1].rows == n_lines(content[log]) - header, (seed, broken, content[broken])
        assert events["time"].dtype == pl.Datetime("us", "UTC")
        loads += 1
    return loads, refusals
