"""Which number of the model is explained: from the scores of a masked history to one value a case."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.types import Case, Catalogue, Ints
from xrec.words import did_you_mean, listed


@dataclass(frozen=True)
class Reading:
    """How the values of B cases are read off scores.

    items [B, T]: whose scores are wanted; None: the whole catalogue, T = I. value: scores [B, M, T] -> values [B, M].
    """

    items: Tensor | None
    value: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Choice:
    """What foils are chosen from: scores [B, I] of whole histories, candidates [B, I] that the targets were ranked
    among, the catalogue, and training users per item [I]."""

    scores: Tensor
    candidates: Tensor
    catalogue: Catalogue
    training_users: Ints


class Output(ABC):
    """requires: capabilities of the model that it needs. linear: its value is linear in scores, so that exact summands
    and components of scores are those of the value. joint: all targets of a user make one case. contrastive: cases have
    a foil."""

    name: str
    requires: tuple[str, ...] = ()
    linear: bool = False
    joint: bool = False
    contrastive: bool = False

    def check(self, catalogue: Catalogue) -> None:  # noqa: B027, most have nothing to check
        """Raises: SettingError, when settings do not fit the catalogue; known before anything is fitted."""

    def foils(self, choice: Choice, targets: Ints) -> Ints:
        """[B] the items that targets [B] are held against; -1: there is none, and no case. For contrastive outputs."""
        raise TypeError(f"output {self.name} has no foil")

    @abstractmethod
    def bind(self, cases: Sequence[Case], candidates: Tensor) -> Reading:
        """How to read these cases' values; candidates [B, I] are on the device of the scores."""


class Logit(Output):
    """The score of the target as it is."""

    name = "logit"
    linear = True

    def bind(self, cases: Sequence[Case], candidates: Tensor) -> Reading:
        return Reading(_ids([[c.target] for c in cases], candidates), lambda scores: scores.squeeze(-1))


class LogProbability(Output):
    """log softmax of the target's score over the candidates. For a multinomial likelihood that is the log probability
    that the next item is the target; for a Bernoulli likelihood, given that exactly one candidate is chosen."""

    name = "log_probability"
    requires = ("likelihood",)

    def bind(self, cases: Sequence[Case], candidates: Tensor) -> Reading:
        target = _ids([[c.target] for c in cases], candidates).unsqueeze(1)

        def value(scores: Tensor) -> Tensor:
            own = scores.gather(2, target.expand(-1, scores.shape[1], -1)).squeeze(-1)
            return own - scores.masked_fill(~candidates.unsqueeze(1), -torch.inf).logsumexp(-1)

        return Reading(None, value)


class Margin(Output):
    """score(target) - score(foil): why this and not that.

    Args:
        foil: 'next_ranked', the candidate behind the target; 'most_popular', the candidate other than the target with
            most users in training (ties to the lower id); 'item', the one given.
        item: external id of the foil, with foil='item'. Cases of which it is the target, or no candidate, are left out.
    """

    name = "margin"
    linear = True
    contrastive = True
    FOILS = ("next_ranked", "most_popular", "item")

    def __init__(self, foil: str = "next_ranked", item: str | int | None = None) -> None:
        if foil not in self.FOILS:
            raise SettingError(f"output.foil: got {foil!r}, takes {listed(self.FOILS)}{did_you_mean(foil, self.FOILS)}")
        if (item is not None) != (foil == "item"):
            raise SettingError(f"output.item: got {item!r} with output.foil={foil}; foil=item takes an id, others none")
        self.foil = foil
        self.item = None if item is None else str(item)

    def check(self, catalogue: Catalogue) -> None:
        if self.item is not None and self.item not in catalogue.item_ids:
            raise SettingError(f"output.item: no item {self.item!r}{did_you_mean(self.item, catalogue.item_ids)}")

    def foils(self, choice: Choice, targets: Ints) -> Ints:
        if self.item is not None:
            self.check(choice.catalogue)
            given = list(choice.catalogue.item_ids).index(self.item)
            allowed = choice.candidates[:, given].cpu().numpy()
            return np.where((targets == given) | ~allowed, -1, given)
        chosen = torch.from_numpy(targets).to(choice.scores.device).unsqueeze(1)
        ids = torch.arange(choice.scores.shape[1], device=choice.scores.device)
        if self.foil == "next_ranked":
            worth, own = choice.scores, choice.scores.gather(1, chosen)
            behind = (worth < own) | ((worth == own) & (ids > chosen))
        else:
            worth = torch.from_numpy(choice.training_users).to(chosen.device).double().expand_as(choice.scores)
            behind = ids != chosen
        allowed = choice.candidates & behind
        best = worth.masked_fill(~allowed, -torch.inf).amax(1, keepdim=True)
        first = (worth == best) & allowed  # argmax finds the lowest id of those that tie
        return torch.where(first.any(1), first.int().argmax(1), -1).cpu().numpy()

    def bind(self, cases: Sequence[Case], candidates: Tensor) -> Reading:
        if bare := [c.index for c in cases if c.foil is None]:
            raise SettingError(f"output margin: cases {bare} have no foil; explain again")
        pairs = [[c.target, c.foil if c.foil is not None else -1] for c in cases]
        return Reading(_ids(pairs, candidates), lambda scores: scores[..., 0] - scores[..., 1])


class List(Output):
    """The mean score of all targets of a case: a user's first recommendations, explained together."""

    name = "list"
    linear = True
    joint = True

    def bind(self, cases: Sequence[Case], candidates: Tensor) -> Reading:
        longest = max((len(c.targets) for c in cases), default=1)
        padded = [[*c.targets, *[c.target] * (longest - len(c.targets))] for c in cases]
        share = [[1 / len(c.targets)] * len(c.targets) + [0.0] * (longest - len(c.targets)) for c in cases]
        weight = torch.tensor(share, device=candidates.device).unsqueeze(1)
        return Reading(_ids(padded, candidates), lambda scores: (scores * weight).sum(-1))


def _ids(rows: list[list[int]], like: Tensor) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64, device=like.device)
