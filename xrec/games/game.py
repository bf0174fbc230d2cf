"""The value function: masks over a case's players -> the model's score, or the target's rank. The one callable that
every explainer and every fidelity metric works on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.games.maskers import Masker
from xrec.games.players import Players
from xrec.models.history import History
from xrec.models.recommender import Context, Recommender, checked_scores
from xrec.types import Bools, Case, Doubles, Ints


@dataclass(frozen=True)
class Rules:
    """masker and players; mask_chunk: masked copies per forward; popularity [I]: share of users per item."""

    masker: Masker
    players: Players
    item_ids: Sequence[str]
    popularity: Doubles
    mask_chunk: int = 256


class Game:
    """B cases whose histories are padded to P players; what masks say beyond a case's players is ignored.

    Args:
        candidates: [B, I] what the target is ranked among, frozen: a removed item does not become a candidate.
    """

    output = "logit"

    def __init__(
        self, model: Recommender, history: History, cases: tuple[Case, ...], candidates: Tensor, settings: Rules
    ) -> None:
        if len(history) != len(cases):
            raise ValueError(f"{len(cases)} cases but {len(history)} histories")
        self.model, self.history, self.cases, self.settings = model, history, cases, settings
        self.candidates = candidates
        self.targets = torch.tensor([[c.target] for c in cases], device=history.item.device)
        self.player_ids = settings.players.ids(history, settings.item_ids)
        self.n_players: Ints = np.array([len(p) for p in self.player_ids], dtype=np.int64)
        self.forwards: Ints = np.zeros(len(cases), dtype=np.int64)
        self._context: Context | None = None
        self._ends: tuple[Doubles, Doubles] | None = None
        self._spread: Doubles | None = None

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def width(self) -> int:
        """P, players of the longest history."""
        return self.history.item.shape[1]

    @property
    def context(self) -> Context:
        if self._context is None:
            with torch.no_grad():
                self._context = self.model.prepare(self.history)
        return self._context

    def values(self, masks: Bools | np.ndarray) -> Doubles:
        """Raw scores [B, M] of the targets for players present, masks [B, M, P] (bool, or a presence in [0, 1]).

        Raises:
            SettingError: the model gives scores that are nan, or of another shape than it should.
        """
        with torch.no_grad():
            scores = np.concatenate([self.score(m).double().cpu().numpy() for m in self._chunks(masks)], axis=1)
        if np.isnan(scores).any():
            raise SettingError(f"{self._whose(np.isnan(scores))} that are nan when some of the history is masked")
        return scores

    def score(self, present: Tensor) -> Tensor:
        """`values` as a tensor, differentiable with respect to `present` [B, M, P]."""
        self.forwards += present.shape[1]
        return checked_scores(self.model, self.context, self._presence(present), self.targets).squeeze(-1)

    def ranks(self, masks: Bools) -> Ints:
        """Rank [B, M] of the targets among the candidates: 1 + candidates with a higher score + ties with a lower
        id."""
        with torch.no_grad():
            return np.concatenate([self._rank(m) for m in self._chunks(masks)], axis=1)

    def _rank(self, present: Tensor) -> Ints:
        self.forwards += present.shape[1]
        scores = checked_scores(self.model, self.context, self._presence(present))  # [B, m, I]
        target = self.targets.unsqueeze(1).expand(-1, present.shape[1], 1)
        own = scores.gather(2, target)
        ids = torch.arange(scores.shape[2], device=scores.device)
        better = (scores > own) | ((scores == own) & (ids < target))
        return (1 + (better & self.candidates.unsqueeze(1)).sum(-1)).cpu().numpy()

    def spread(self) -> Doubles:
        """[B] largest minus smallest score over the candidates, for the whole history."""
        if self._spread is None:
            with torch.no_grad():
                scores = checked_scores(self.model, self.context, self.full())[:, 0].double()
            high = scores.masked_fill(~self.candidates, -torch.inf).amax(1)
            low = scores.masked_fill(~self.candidates, torch.inf).amin(1)
            self._spread = (high - low).cpu().numpy()
        return self._spread

    def full(self) -> Tensor:
        """[B, 1, P] everything present."""
        return self.history.presence.unsqueeze(1)

    def ends(self) -> tuple[Doubles, Doubles]:
        """f(x) and f(empty), each [B]."""
        if self._ends is None:
            whole = self.full().cpu().numpy()
            both = self.values(np.concatenate([whole, np.zeros_like(whole)], axis=1))
            if not np.isfinite(both).all():
                raise SettingError(f"{self._whose(~np.isfinite(both))} that are not finite")
            self._ends = both[:, 0], both[:, 1]
        return self._ends

    def single(self, row: int) -> Game:
        """The value function of one case, without padding; it counts its forwards in this one too."""
        history = self.history.rows([row])
        history = history.without(history.presence[0])
        view = Game(self.model, history, (self.cases[row],), self.candidates[row : row + 1], self.settings)
        view.forwards = self.forwards[row : row + 1]
        return view

    def _whose(self, bad: Bools) -> str:
        cases = [self.cases[row].index for row in np.flatnonzero(bad.any(axis=1))]
        return f"model {type(self.model).__name__}: cases {cases} have scores"

    def _presence(self, present: Tensor) -> Tensor:
        return self.settings.masker.presence(self.settings.players.expand(present))

    def _chunks(self, masks: np.ndarray) -> Iterator[Tensor]:
        device = self.history.item.device
        for start in range(0, masks.shape[1], self.settings.mask_chunk):
            piece = np.ascontiguousarray(masks[:, start : start + self.settings.mask_chunk], dtype=np.float32)
            yield torch.from_numpy(piece).to(device)
