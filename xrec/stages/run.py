"""What every stage is handed: config, data, cache, store, tracker, and where its random numbers come from."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from tqdm import tqdm

from xrec.data.cache import ArrayCache
from xrec.data.interactions import SplitInteractions
from xrec.games.fitting import shares_of_users
from xrec.models.history import History
from xrec.models.recommender import FitData, Recommender, checked_scores
from xrec.rundir.directory import RunDirectory
from xrec.rundir.table import Rows
from xrec.tracking.tracker import Tracker
from xrec.types import Doubles, Ints, Metric

STAGE_COSTS = (
    Metric("wall_seconds", "Wall, s", "lower", ",.1f", "Wall time of a stage."),
    Metric("cpu_seconds", "CPU, s", "lower", ",.1f", "Processor time of a stage, all threads."),
    Metric("peak_memory_mb", "Peak memory, MB", "lower", ",.0f", "Largest resident memory until a stage ended."),
)


@dataclass
class Done:
    """What a stage leaves: rows for the results table, and the names of the files it wrote."""

    rows: list[Rows]
    files: list[str] = field(default_factory=list)
    reference: str | None = None


@dataclass
class Run:
    config: DictConfig
    store: RunDirectory
    tracker: Tracker
    dataset: SplitInteractions
    cache: ArrayCache
    device: torch.device

    @property
    def seed(self) -> int:
        return int(self.config.seed)

    def generator(self, purpose: int = 0) -> torch.Generator:
        """A torch generator of its own for a purpose, so that one stage's draws never shift another's."""
        return torch.Generator(device="cpu").manual_seed(self.seed * 1000 + purpose)

    def numpy_generator(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose])

    def fit_data(self) -> FitData:
        return FitData(self.dataset, self.cache, self.generator(1), progress, self.device)

    def popularity(self) -> Doubles:
        """[I] share of users who have an item in training, at least that of one user."""
        return shares_of_users(self.dataset)

    def rows(self, stage: str, metrics: Iterable[Metric], **common: Any) -> Rows:
        """An empty collection of result rows of a stage."""
        split = self.dataset.card["split"]
        return Rows(
            metrics,
            data=self.dataset.card["name"],
            split=split["name"],
            split_seed=split.get("seed"),
            fold=split.get("fold"),
            model=self.config.model.name,
            seed=self.seed,
            stage=stage,
            **common,
        )

    @contextlib.contextmanager
    def costed(self, stage: str) -> Iterator[Rows]:
        """Measure a stage: wall and CPU seconds, and the process's peak memory so far in MB. The rows are there when
        the block has ended."""
        release_memory()
        cost = self.rows("cost", STAGE_COSTS, cost_of=stage)
        wall, cpu = time.perf_counter(), time.process_time()
        yield cost
        cost.add("wall_seconds", time.perf_counter() - wall)
        cost.add("cpu_seconds", time.process_time() - cpu)
        cost.add("peak_memory_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def progress(iterable: Any, *, total: int | None = None, description: str = "") -> Iterator[Any]:
    """How far the work is, on the error stream; quiet for short work. On a terminal a bar with the time left, gone when
    the work is done; in a file, where a bar would stay and run into what is printed next, a line now and then."""
    if not sys.stderr.isatty():
        yield from _in_lines(iterable, total, description)
        return
    yield from tqdm(
        iterable,
        total=total,
        desc=description,
        file=sys.stderr,
        mininterval=1.0,
        delay=1.0,
        leave=False,
        dynamic_ncols=True,
    )


#: seconds between two lines of progress
LINE_EVERY = 30.0


def _in_lines(iterable: Iterable[Any], total: int | None, description: str) -> Iterator[Any]:
    started = said = time.monotonic()
    for number, entry in enumerate(iterable):
        now = time.monotonic()
        if number and now - said >= LINE_EVERY:
            said = now
            done = f"{number:,}" if total is None else f"{number:,} of {total:,}"
            left = "" if total is None else f", about {(now - started) * (total / number - 1):,.0f} s left"
            print(f"{description}: {done}{left}", file=sys.stderr, flush=True)
        yield entry


#: history items (B x L) scored over the whole catalogue at once: what bounds the memory of ranking and explaining
MAX_ROWS = 800


def release_memory() -> None:
    """Hand freed memory back to the system: tables of ever new sizes leave gaps that glibc keeps (1 GB within 1,000
    chunks of ranking). Elsewhere than on glibc there is nothing to do."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def by_length(users: Ints, lengths: Ints, chunk_size: int) -> list[Ints]:
    """Users in chunks of similar history length, so that padding stays small; see `chunked`."""
    order = users[np.argsort(lengths[users], kind="stable")]
    return [order[start:end] for start, end in chunked(lengths[order], chunk_size)]


def chunked(lengths: Ints, chunk_size: int) -> list[tuple[int, int]]:
    """Ranges of at most `chunk_size` neighbours whose padded histories hold at most MAX_ROWS items (one always
    fits)."""
    ranges, start = [], 0
    while start < len(lengths):
        longest = np.maximum.accumulate(lengths[start : start + chunk_size])
        n = max(1, int(np.sum(np.arange(1, len(longest) + 1) * longest <= MAX_ROWS)))
        ranges.append((start, start + n))
        start += n
    return ranges


def score_users(model: Recommender, table: Any, users: Ints, device: torch.device) -> torch.Tensor:
    """[B, I] scores of the whole catalogue for whole histories."""
    with torch.no_grad():
        return checked_scores(model, model.prepare(History.from_table(table, users, device)))[:, 0]
