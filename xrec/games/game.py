"""A game: B cases with P players each, and one callable, masks -> values. All that explainers and metrics work on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.games.means import PlayerMeans
from xrec.games.players import BoundPlayers
from xrec.models.history import History
from xrec.types import Bools, Case, Doubles, Ints


@dataclass(frozen=True)
class About:
    """What a game is of: names of the model, and of the players, masker and output."""

    model: str
    players: str
    masker: str
    output: str


class Game(ABC):
    """Masks are players present [B, M, P], bool or a presence in [0, 1]; what they say beyond a case's players is
    ignored. What is asked for beyond values is there if its name is among the `capabilities`.

    cases, players, history: what is explained. candidates [B, I]: what the targets are ranked among.
    capabilities: names of `xrec.models.recommender.Capabilities`, as far as this game has them.
    masks [B]: masked copies asked for, what budgets count. forwards [B]: masked copies scored, what cost counts: a mask
    costs as many as the masker has views.
    """

    cases: tuple[Case, ...]
    players: BoundPlayers
    history: History
    candidates: Tensor
    about: About
    capabilities: frozenset[str]
    _ends: tuple[Doubles, Doubles] | None = None

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def player_ids(self) -> tuple[tuple[str, ...], ...]:
        return self.players.ids

    @property
    def n_players(self) -> Ints:
        """[B]"""
        return self.players.n_players

    @cached_property
    def n_targets(self) -> Ints:
        """[B]"""
        return np.array([len(case.targets) for case in self.cases], dtype=np.int64)

    @cached_property
    def targets(self) -> Tensor:
        """[B, T] targets of the cases; short rows are filled up with their first one."""
        longest = max((len(case.targets) for case in self.cases), default=1)
        rows = [[*case.targets, *[case.target] * (longest - len(case.targets))] for case in self.cases]
        return torch.tensor(rows, dtype=torch.int64, device=self.candidates.device).reshape(-1, longest)

    @property
    def width(self) -> int:
        """P, players of the richest case."""
        return self.players.width

    @property
    @abstractmethod
    def masks(self) -> Ints: ...

    @property
    @abstractmethod
    def forwards(self) -> Ints: ...

    @abstractmethod
    def values(self, masks: np.ndarray, uncounted: Ints | int = 0) -> Doubles:
        """Values [B, M] of the output for masks [B, M, P].

        Args:
            uncounted: [B] how many of a case's masks only fill up the batch, and are no cost of it.
        Raises:
            SettingError: the model gives scores that are nan, or of another shape than it should.
        """

    @abstractmethod
    def differentiable(self, present: Tensor) -> Tensor:
        """`values` [B, M] as a tensor that is differentiable with respect to present [B, M, P].

        Raises:
            SettingError: the model has no gradients.
        """

    @abstractmethod
    def single(self, row: int) -> Game:
        """The game of one case, without padding; what it costs is counted here too."""

    @abstractmethod
    def spread(self) -> Doubles:
        """[B] largest minus smallest score over the candidates, for the whole history; what an effect is large
        against."""

    def ranks(self, masks: Bools) -> Ints:
        """Rank [B, M, T] of every target among the candidates for masks [B, M, P]: 1 + candidates with a higher score +
        ties with a lower id; 0 where a case has fewer than T targets.

        Raises:
            SettingError: what is explained is no ranking.
        """
        self._refuse("ranks")

    def top(self, masks: Bools, n: int) -> Ints:
        """The n best candidates [B, M, n] of a history so masked, best first, ties by id; -1 beyond the candidates.

        Raises:
            SettingError: what is explained is no ranking.
        """
        self._refuse("ranks")

    def scores(self, masks: Bools, items: Tensor | None = None, uncounted: Ints | int = 0) -> Doubles:
        """Scores [B, M, T] of items [B, T] (None: of the whole catalogue) for masks [B, M, P], whatever the output.

        Args:
            uncounted: see `values`.
        Raises:
            SettingError: what is explained is no ranking.
        """
        self._refuse("ranks")

    def contributions_of(self, items: Tensor) -> Tensor:
        """[B, P, T] what the players add to the scores of items [B, T], as `contributions` are of the value; one
        forward. Needs 'additive'."""
        self._refuse("additive")

    def attention(self) -> Doubles:
        """[B, P] attention weights on the players' items, for the target (the mean over several); one forward. Needs
        'attention'. Raises: SettingError, here and below, without the capability."""
        self._refuse("attention")

    def channel_attention(self) -> Tensor:
        """[B, L] attention weights on the history items themselves, as `attention` otherwise. Needs 'attention'."""
        self._refuse("attention")

    def attention_norms(self) -> Doubles:
        """[B, P] lengths of the vectors that the players' items add to what attention reads, for the target (the mean
        over several), summed; one forward. Needs 'attention_values'."""
        self._refuse("attention_values")

    def attention_gradients(self) -> Doubles:
        """[B, P] attention weights of the players' items times the gradient of the value of the whole history with
        respect to them, summed over heads and items; one forward. Needs 'attention_values' and 'gradients'."""
        self._refuse("attention_values")

    def contributions(self) -> Doubles:
        """[B, P] what the players add to the value, read off the model: exact summands times what the masker takes away
        of each item; one forward. Needs 'additive'."""
        self._refuse("additive")

    def weighted_means(self) -> PlayerMeans:
        """The value as weighted means over players; one forward. Needs 'weighted_means'."""
        self._refuse("weighted_means")

    def components(self) -> Mapping[str, Game]:
        """A game per component of the model, whose values sum to this one's; they count their cost here too. Needs
        'components'."""
        self._refuse("components")

    def only(self, *components: str) -> Game:
        """The game of some components together; it counts its cost here too. Needs 'components'."""
        self._refuse("components")

    def item_features(self) -> Tensor:
        """[I, d] features of all items. Needs 'item_features'."""
        self._refuse("item_features")

    def attention_layers(self) -> list[Tensor]:
        """Attention of history items on history items [B, L, L], layer by layer; one forward. Channels, not players:
        see `players.pooled`. Needs 'layers'."""
        self._refuse("layers")

    def whole(self) -> Bools:
        """[B, 1, P] everything present."""
        return self.players.real.unsqueeze(1).cpu().numpy()

    def ends(self) -> tuple[Doubles, Doubles]:
        """f(x) and f(empty), each [B]; scored once."""
        if self._ends is None:
            whole = self.whole()
            both = self.values(np.concatenate([whole, np.zeros_like(whole)], axis=1))
            if not np.isfinite(both).all():
                raise SettingError(f"{self._whose(~np.isfinite(both))} that are not finite")
            self._ends = both[:, 0], both[:, 1]
        return self._ends

    def _whose(self, bad: Bools) -> str:
        cases = [self.cases[row].index for row in np.flatnonzero(bad.any(axis=1))]
        return f"model {self.about.model}: cases {cases} have scores"

    def _refuse(self, capability: str) -> NoReturn:
        about = self.about
        raise SettingError(
            f"no {capability} in a game of model {about.model}, players {about.players}, masker {about.masker} and "
            f"output {about.output} (it has {', '.join(sorted(self.capabilities)) or 'values only'})"
        )
