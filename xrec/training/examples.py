"""What one training example is: `windows`, a user's history before a moment and the items of the next periods.

Targets are sampled by strata: everything in the history and every positive stand for themselves, and `n_negatives`
items drawn uniformly stand for all the others (but for cold items, which training must not touch). The estimate of a
sum over the catalogue is unbiased, and the items that hold most of the probability (a user's own) are never left to
chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from xrec.errors import SettingError
from xrec.models.history import History
from xrec.types import Dataset, HistoryTable, Ints, TargetTable, membership


@dataclass(frozen=True)
class Window:
    """Histories before `moment` and targets of periods moment .. moment + horizon - 1; `users` have both."""

    moment: int
    table: HistoryTable
    targets: TargetTable
    users: Ints


@dataclass(frozen=True)
class Batch:
    """Training examples of one window: histories, a sample of targets [B, T] with labels and log weights (see
    `losses.reconstruction`), the users' ids [B], and the number of users a full batch has."""

    history: History
    users: torch.Tensor
    targets: torch.Tensor
    labels: torch.Tensor
    log_weight: torch.Tensor
    full_size: int


def windows(dataset: Dataset, moments: list[int], horizon: int) -> list[Window]:
    """Training windows. A negative moment is counted back from the end of training: -4 is the moment from which 4
    training periods are left.

    Raises:
        SettingError: a window that reaches past the training periods, or one without any example.
    """
    if not moments:
        raise SettingError("training.windows is empty: name at least one moment to train on")
    result = []
    for given in moments:
        moment = given if given > 0 else dataset.train_end + 1 + given
        if moment + horizon - 1 > dataset.train_end:
            raise SettingError(
                f"training.windows: the window at {moment} with horizon {horizon} reaches period "
                f"{moment + horizon - 1}, "
                f"past the last training period {dataset.train_end}"
            )
        table, targets = dataset.histories(moment), dataset.targets(moment, moment + horizon - 1)
        users = np.flatnonzero((table.lengths() > 0) & (np.diff(targets.indptr) > 0))
        if len(users) == 0:
            raise SettingError(
                f"training.windows: no user has both a history before {moment} and events in the {horizon} "
                "periods from it"
            )
        result.append(Window(moment, table, targets, users))
    return result


def epoch_batches(
    examples: list[Window], batch_size: int, max_pairs: int, n_negatives: int, generator: torch.Generator
) -> list[tuple[Window, Ints]]:
    """One epoch's batches in random order: users of similar history length together, at most `batch_size` of them
    and at most `max_pairs` (history item, target) pairs, so that memory does not depend on the longest history."""
    batches: list[tuple[Window, Ints]] = []
    for window in examples:
        lengths = window.table.lengths()[window.users].astype(np.float64)
        jitter = torch.rand(len(lengths), generator=generator).numpy()
        order = np.argsort(lengths * (0.75 + 0.5 * jitter), kind="stable")
        start = 0
        while start < len(order):
            longest = np.maximum.accumulate(lengths[order[start : start + batch_size]])
            pairs = np.arange(1, len(longest) + 1) * longest * (longest + n_negatives)
            n = max(1, int(np.searchsorted(pairs, max_pairs, side="right")))
            batches.append((window, window.users[order[start : start + n]]))
            start += n
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def make_batch(
    window: Window,
    users: Ints,
    n_items: int,
    warm: Ints,
    n_negatives: int,
    full_size: int,
    generator: torch.Generator,
    device: torch.device,
) -> Batch:
    """Targets of each user: history and positives (weight 1), then negatives shared by the batch (weight: items
    they stand for). `warm`: the items that negatives are drawn from."""
    known = membership(window.table.indptr, window.table.item, users, n_items)
    positive = membership(window.targets.indptr, window.targets.item, users, n_items)
    own = known | positive
    n_own = own.sum(1)
    width = int(n_own.max())
    drawn = torch.randint(len(warm), (min(n_negatives, len(warm)),), generator=generator).unique().numpy()
    negatives = warm[drawn]
    targets = np.zeros((len(users), width + len(negatives)), dtype=np.int64)
    log_weight = np.full(targets.shape, -math.inf, dtype=np.float32)
    row, item = np.nonzero(own)
    column = np.arange(len(row)) - np.repeat(np.cumsum(n_own) - n_own, n_own)
    targets[row, column], log_weight[row, column] = item, 0.0
    free = ~own[:, negatives]
    represented = np.log(np.maximum(len(warm) - n_own, 1) / np.maximum(free.sum(1), 1))
    targets[:, width:] = negatives
    log_weight[:, width:] = np.where(free, represented[:, None], -math.inf)
    labels = (np.take_along_axis(positive, targets, axis=1) & (log_weight == 0.0)).astype(np.float32)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(device)

    history = History.from_table(window.table, users, device)
    return Batch(history, tensor(users), tensor(targets), tensor(labels), tensor(log_weight), full_size)
