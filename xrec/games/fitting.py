"""Explainers and maskers that learn, and what they are fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.games.game import Game
from xrec.types import Dataset, Doubles, HistoryTable, Ints, Progress


def _no_games(n_users: int) -> Iterator[Game]:
    raise TypeError("there are no games to fit on: a masker is fitted before there are any")


@dataclass(frozen=True)
class Fitting:
    """Training data, and games like the explained ones. Test targets are in neither.

    games: `games(n)` makes games over the recommendations of up to n users at the moment of the validation part (or of
    the test, where there is no validation), none of whom is explained; new ones at every call, one chunk of users at a
    time. For explainers only.
    """

    dataset: Dataset
    seed: int
    device: torch.device
    progress: Progress
    games: Callable[[int], Iterator[Game]] = _no_games

    def training(self) -> HistoryTable:
        """The histories that training ended with."""
        return self.dataset.histories(self.dataset.train_end + 1)


class Learner:
    """What may be fitted before it is used. Nothing is learned unless a subclass says so."""

    def fit(self, fitting: Fitting) -> None:
        """Learn. Raises: SettingError, when the data do not allow it."""

    def state(self) -> dict[str, Tensor]:
        """What was learned; saved with the run."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what another one of the same settings has learned."""


def fitted(who: str, learned: Tensor | None, does: str) -> Tensor:
    """What was learned. Raises: SettingError, when nothing is yet."""
    if learned is None:
        raise SettingError(f"{who} has to be fitted before it {does}")
    return learned


def training_users(dataset: Dataset) -> Ints:
    """[I] number of users with an event of a kind that is to be predicted, in training, of each item."""
    table = dataset.histories(dataset.train_end + 1)
    return np.bincount(table.item[table.positive > 0], minlength=dataset.catalogue.n_items)


def shares_of_users(dataset: Dataset) -> Doubles:
    """[I] share of all users with such an event, at least that of one user."""
    return np.maximum(training_users(dataset), 1) / dataset.catalogue.n_users
