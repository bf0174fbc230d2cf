"""What one training example is: `windows`, a user's history before a moment and the items of the next periods; or
`profiles`, a part of a user's training history and the whole of it (Liang et al., WWW 2018); or `sequences`, every
position of a training history and what stood before it (Kang and McAuley, ICDM 2018).

Targets are sampled by strata: everything in the history and every positive stand for themselves, and `n_negatives`
items drawn uniformly stand for all the others (but for cold items, which training must not touch). The estimate of a
sum over the catalogue is unbiased, and the items that hold most of the probability (a user's own) are never left to
chance. Without `n_negatives` the whole catalogue stands for itself. Sequences share their targets: see
`training.shared_targets`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from xrec.errors import SettingError
from xrec.models.history import History, Positions
from xrec.training.shared_targets import Negatives, shared_targets
from xrec.types import Dataset, HistoryTable, Ints, TargetTable, membership


@dataclass(frozen=True)
class Window:
    """Histories before `moment` and targets of periods moment .. moment + horizon - 1; `users` have both.

    profile: the targets are the items of the histories themselves, of which `masked_share` is hidden in training, item
    by item. hidden_only: what the model is shown (of a window: the history) is no target and no candidate, as in a
    ranking of new items. sequence: the targets are the items of the histories themselves, each from the older ones
    alone.
    """

    moment: int
    table: HistoryTable
    targets: TargetTable
    users: Ints
    profile: bool = False
    masked_share: float = 0.0
    hidden_only: bool = False
    sequence: bool = False


@dataclass(frozen=True)
class Piece:
    """Users of one window that are computed together."""

    window: Window
    users: Ints


@dataclass(frozen=True)
class Step:
    """The users of one step of the optimiser, cut into pieces for memory only: their gradients are added up."""

    pieces: Sequence[Piece]

    @property
    def n_users(self) -> int:
        return sum(len(piece.users) for piece in self.pieces)


@dataclass(frozen=True)
class Batch:
    """The examples of a piece: histories, targets [B, T] (None: the whole catalogue) with labels and log weights (see
    `losses.reconstruction`), and the users' ids [B]; `profile` as in `Window`. positions: of a sequence's N examples;
    targets are then shared [T], labels and log weights [N, T]."""

    history: History
    users: torch.Tensor
    targets: torch.Tensor | None
    labels: torch.Tensor
    log_weight: torch.Tensor
    profile: bool = False
    positions: Positions | None = None


def windows(dataset: Dataset, moments: list[int], horizon: int, hidden_only: bool = False) -> list[Window]:
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
        result.append(Window(moment, table, targets, users, hidden_only=hidden_only))
    return result


def profiles(dataset: Dataset, masked_share: float, hidden_only: bool = False) -> list[Window]:
    """Every training user's whole history of the training periods, as history and as targets.

    Args:
        masked_share, hidden_only: see `Window`.
    Raises:
        SettingError: a share outside [0, 1), only hidden targets where nothing is hidden, or no user with two items.
    """
    if not 0 <= masked_share < 1:
        raise SettingError(f"training.masked_share must be in [0, 1), got {masked_share}")
    if hidden_only and masked_share == 0:
        raise SettingError("training.hidden_only=true needs a training.masked_share above 0, or there is no target")
    table, targets = dataset.histories(dataset.train_end + 1), dataset.targets(0, dataset.train_end)
    users = np.flatnonzero((table.lengths() > 1) & (np.diff(targets.indptr) > 0))
    if len(users) == 0:
        raise SettingError("training.examples=profile: no user has two items in training")
    return [Window(table.moment, table, targets, users, True, masked_share, hidden_only)]


def sequences(dataset: Dataset) -> list[Window]:
    """Every training user's whole history of the training periods, each of whose items is to be told from the older
    ones.

    Raises:
        SettingError: users have items again, so that a history does not hold where they stood before; or no user has
            items of two periods.
    """
    table, targets = dataset.histories(dataset.train_end + 1), dataset.targets(0, dataset.train_end)
    if (table.n_periods > 1).any():
        raise SettingError(
            "training.examples=sequence: users have items again in training, and a history holds an item's last period "
            "only; use training=windows, or a split without repeats (split.repeats=drop)"
        )
    row = table.user()
    oldest = np.zeros(table.n_users)
    np.maximum.at(oldest, row, table.age)
    later = np.bincount(row, weights=(table.age < oldest[row]) & (table.positive > 0), minlength=table.n_users)
    users = np.flatnonzero(later > 0)
    if len(users) == 0:
        raise SettingError("training.examples=sequence: no user has items of two periods in training")
    return [Window(table.moment, table, targets, users, sequence=True)]


def epoch_steps(
    examples: Sequence[Window],
    batch_size: int,
    max_pairs: int,
    n_negatives: int | None,
    n_items: int,
    generator: torch.Generator,
) -> list[Step]:
    """One epoch in random order: every example once, the same number of users (to one) in every step, at most
    `batch_size`. A step's users are of one window, but where one ends. Its pieces hold users of similar history length,
    and at most `max_pairs` (history item, target) pairs, so that memory does not depend on the longest history."""
    n_examples = [len(window.users) for window in examples]
    window = np.repeat(np.arange(len(examples)), n_examples)
    user = np.concatenate([w.users[torch.randperm(len(w.users), generator=generator).numpy()] for w in examples])
    steps: list[Step] = []
    for chunk in np.array_split(np.arange(len(user)), -(-len(user) // batch_size)):
        pieces: list[Piece] = []
        for number in np.unique(window[chunk]):
            of_window = user[chunk][window[chunk] == number]
            cut = _pieces(examples[number], of_window, max_pairs, n_negatives, n_items)
            pieces += [Piece(examples[number], users) for users in cut]
        steps.append(Step(pieces))
    return [steps[i] for i in torch.randperm(len(steps), generator=generator).tolist()]


def _pieces(window: Window, users: Ints, max_pairs: int, n_negatives: int | None, n_items: int) -> list[Ints]:
    """The users by history length, cut where a piece would hold more pairs."""
    lengths = window.table.lengths()[users]
    order = np.argsort(lengths, kind="stable")
    ordered, lengths = users[order], lengths[order]
    n_targets = np.full(len(users), n_items) if n_negatives is None else np.minimum(lengths + n_negatives, n_items)
    start, found = 0, []
    while start < len(ordered):
        pairs = np.arange(1, len(ordered) - start + 1) * lengths[start:] * n_targets[start:]  # grows: lengths do
        n = max(1, int(np.searchsorted(pairs, max_pairs, side="right")))
        found.append(ordered[start : start + n])
        start += n
    return found


def drawn_negatives(warm: Ints, n_negatives: int | None, generator: torch.Generator) -> Ints | None:
    """The items that stand for all others in a step, drawn from `warm` without order; None: every item for itself."""
    if n_negatives is None or n_negatives >= len(warm):
        return None
    return warm[torch.randint(len(warm), (n_negatives,), generator=generator).unique().numpy()]


def make_batch(
    piece: Piece,
    n_items: int,
    warm: Ints,
    negatives: Ints | Negatives | None,
    generator: torch.Generator,
    device: torch.device,
) -> Batch:
    """Targets of each user: history and positives (weight 1), then the step's negatives (weight: items they stand
    for); or, without negatives, the whole catalogue. `warm`: the items that may be negatives."""
    window, users = piece.window, piece.users
    history = History.from_table(window.table, users, device)
    if window.sequence:
        assert isinstance(negatives, Negatives), "sequences draw theirs by NegativeSampler"
        return _sequence(history, users, negatives, device)
    assert not isinstance(negatives, Negatives)
    if window.masked_share > 0:
        keep = torch.rand(history.presence.shape, generator=generator, device=device) >= window.masked_share
        history = replace(history, presence=history.presence * keep)
    positive = membership(window.targets.indptr, window.targets.item, users, n_items)
    known = positive if window.profile else membership(window.table.indptr, window.table.item, users, n_items)
    if negatives is None:
        targets, labels, log_weight = _whole(known, positive, warm)
    else:
        targets, labels, log_weight = _sampled(known | positive, positive, warm, negatives)
    if window.hidden_only:
        row, place = np.nonzero(history.presence.cpu().numpy())
        shown = np.zeros_like(positive)
        shown[row, history.item.cpu().numpy()[row, place]] = True
        shown = shown if targets is None else np.take_along_axis(shown, targets, axis=1)
        labels, log_weight = np.where(shown, 0.0, labels), np.where(shown, -math.inf, log_weight)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(device)

    return Batch(
        history,
        tensor(users),
        None if targets is None else tensor(targets),
        tensor(labels.astype(np.float32)),
        tensor(log_weight.astype(np.float32)),
        window.profile,
    )


def _sequence(history: History, users: Ints, negatives: Negatives, device: torch.device) -> Batch:
    """Examples are the items of target kinds that are not among the oldest of their history."""
    oldest = (history.age * history.presence).amax(1, keepdim=True)
    rows, columns = torch.nonzero((history.age < oldest) & (history.presence * history.positive > 0), as_tuple=True)
    targets, labels, log_weight = shared_targets(history.item[rows, columns].cpu().numpy(), negatives)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(device)

    return Batch(
        history, tensor(users), tensor(targets), tensor(labels), tensor(log_weight), positions=Positions(rows, columns)
    )


def _whole(known: np.ndarray, positive: np.ndarray, warm: Ints) -> tuple[None, np.ndarray, np.ndarray]:
    there = known | positive
    there[:, warm] = True
    return None, positive.astype(np.float32), np.where(there, 0.0, -math.inf).astype(np.float32)


def _sampled(
    own: np.ndarray, positive: np.ndarray, warm: Ints, negatives: Ints
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n_own = own.sum(1)
    width = int(n_own.max())
    targets = np.zeros((len(own), width + len(negatives)), dtype=np.int64)
    log_weight = np.full(targets.shape, -math.inf, dtype=np.float32)
    row, item = np.nonzero(own)
    column = np.arange(len(row)) - np.repeat(np.cumsum(n_own) - n_own, n_own)
    targets[row, column], log_weight[row, column] = item, 0.0
    free = ~own[:, negatives]
    represented = np.log(np.maximum(len(warm) - n_own, 1) / np.maximum(free.sum(1), 1))
    targets[:, width:] = negatives
    log_weight[:, width:] = np.where(free, represented[:, None], -math.inf)
    labels = (np.take_along_axis(positive, targets, axis=1) & (log_weight == 0.0)).astype(np.float32)
    return targets, labels, log_weight
