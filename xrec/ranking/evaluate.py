"""Rank the full catalogue for every user with a target, and measure. Knows no model: it is handed scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.ranking import metrics
from xrec.types import Bools, Doubles, HistoryTable, Ints, TargetTable, TopN, membership

log = logging.getLogger(__name__)

#: what tells ranked models apart: a name, or more
Name = TypeVar("Name", bound=Hashable)
#: users [B] -> scores [B, I] of the whole catalogue, by the name of the model (several are ranked in one pass)
ScoreUsers = Callable[[Ints], Mapping[Name, Tensor]]


#: users, items, scores, hits, number of targets, rank of the best target
_Piece = tuple[Ints, Ints, Tensor, Bools, Ints, Ints]


@dataclass(frozen=True)
class RankingSettings:
    """`conf/ranking`: cut-offs of each metric."""

    ndcg: tuple[int, ...] = (10, 20, 100)
    recall: tuple[int, ...] = (10, 20, 50)
    map: tuple[int, ...] = (10,)
    coverage: tuple[int, ...] = (10,)

    @property
    def depth(self) -> int:
        return max(*self.ndcg, *self.recall, *self.map, *self.coverage)


@dataclass(frozen=True)
class Ranking:
    """One group's lists and metrics. values: (metric, k) -> per user [U]; totals: (metric, k) -> one number."""

    top: TopN
    values: dict[tuple[str, int | None], Doubles]
    totals: dict[tuple[str, int | None], float]


def evaluate(
    score: ScoreUsers[Name],
    chunks: Iterable[Ints],
    table: HistoryTable,
    targets: TargetTable,
    popularity: Doubles,
    groups: Iterable[str],
    settings: RankingSettings,
    cold: Ints | None = None,
) -> dict[Name, dict[str, Ranking]]:
    """Metrics by model and group: 'all' ranks the whole catalogue; 'new' masks what the user had before (events of
    kinds that are to be predicted) and counts only the other targets; 'cold' ranks the items `cold` among
    themselves and counts only targets among them.

    Args:
        chunks: users to rank, in pieces that are scored together; users without a target in a group have no value
        there, and a group of no users is left out. popularity: [I] share of users per item, for novelty.
    """
    collected: dict[tuple[Name, str], list[_Piece]] = {}
    groups = tuple(groups)
    for users in chunks:
        by_model = score(users)
        n_items = len(popularity)
        for name, scores in by_model.items():
            _check(name, scores, (len(users), n_items))
        known = table.known(users, n_items)
        wanted = membership(targets.indptr, targets.item, users, n_items)
        for group in groups:
            hidden = _hidden(group, known, cold)
            relevant = wanted if hidden is None else wanted & ~hidden
            some = np.flatnonzero(relevant.any(1))
            for name, scores in by_model.items():
                if hidden is None:
                    ranked = scores
                else:
                    ranked = scores.masked_fill(torch.from_numpy(hidden).to(scores.device), -torch.inf)
                ranked = ranked if len(some) == len(users) else ranked[torch.from_numpy(some)]
                piece = _measure(users[some], ranked, relevant[some], settings.depth)
                collected.setdefault((name, group), []).append(piece)
    result: dict[Name, dict[str, Ranking]] = {name: {} for name, _ in collected}
    without: set[str] = set()
    for name, group in list(collected):  # popped: what is joined is not kept in pieces too
        pieces = collected.pop((name, group))
        if not any(len(piece[0]) for piece in pieces):
            without.add(group)
            continue
        result[name][group] = _join(group, pieces, len(popularity), popularity, settings)
    for group in sorted(without):
        log.warning("ranking: no user has a target in the group %s, which is left out", group)
    return result


def _check(name: Hashable, scores: Tensor, expected: tuple[int, int]) -> None:
    called = " without ".join(str(part) for part in (name if isinstance(name, tuple) else (name,)) if part is not None)
    if scores.shape != expected:
        raise SettingError(
            f"ranking: model {called} gave scores {tuple(scores.shape)}, expected {expected}: users, items"
        )
    if torch.isnan(scores).any():
        raise SettingError(f"ranking: model {called} gave scores that are nan")


def _hidden(group: str, known: Bools, cold: Ints | None) -> Bools | None:
    """[B, I] what a group leaves out of the ranking; None: nothing."""
    if group == "new":
        return known
    if group == "cold":
        if cold is None:
            raise SettingError("ranking: group cold needs cold items; use split=cold_item, or leave it out")
        hidden = np.ones_like(known)
        hidden[:, cold] = False
        return hidden
    return None


def _measure(users: Ints, scores: Tensor, relevant: Bools, depth: int) -> _Piece:
    top, values = top_items(scores, depth)
    items = top.to(torch.int32).cpu().numpy()  # kept for every user: half the memory
    hits = np.take_along_axis(relevant, items, axis=1)
    best = best_rank(scores, torch.from_numpy(relevant).to(scores.device)).cpu().numpy()
    short = max(0, depth - scores.shape[1])  # a catalogue smaller than the deepest cut-off: empty places
    items, hits = np.pad(items, ((0, 0), (0, short))), np.pad(hits, ((0, 0), (0, short)))
    values = torch.nn.functional.pad(values, (0, short), value=-torch.inf)
    return users, items, values, hits, relevant.sum(1), best


def top_items(scores: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """The best `depth` items per row and their scores; ties go to the lower id, also at the cut."""
    depth = min(depth, scores.shape[1])
    values, items = scores.topk(depth, dim=1)
    items, order = items.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    items = items.gather(1, order)
    last = values[:, -1:]
    torn = (scores == last).sum(1) > (values == last).sum(1)  # more items tie at the cut than fit: choose by id
    if torn.any():
        values[torn], items[torn] = _cut_by_id(scores[torn], last[torn], depth)
    return items, values


def _cut_by_id(scores: Tensor, last: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Values and items of the best `depth`, of those that score `last` [B, 1] the ones of the lowest ids."""
    above, tied = scores > last, scores == last
    n_above = above.sum(1, keepdim=True)
    chosen = above | (tied & (tied.cumsum(1, dtype=torch.int32) <= depth - n_above))
    items = chosen.nonzero()[:, 1].reshape(len(scores), depth)  # ascending ids
    values, order = scores.gather(1, items).sort(dim=1, descending=True, stable=True)
    return values, items.gather(1, order)


def best_rank(scores: Tensor, relevant: Tensor) -> Tensor:
    """Rank (1 = top) of each row's best-ranked relevant item; ties go to the lower id."""
    best = scores.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)
    rank = 1 + (scores > best).sum(1)
    tied = scores == best
    several = tied.sum(1) > 1
    if several.any():
        ties, wanted = tied[several], relevant[several]
        ids = torch.arange(scores.shape[1], device=scores.device)
        first = torch.where(wanted & ties, ids, scores.shape[1]).amin(1, keepdim=True)
        rank[several] += (ties & (ids < first)).sum(1)
    return rank


def _join(group: str, pieces: list[_Piece], n_items: int, popularity: Doubles, settings: RankingSettings) -> Ranking:
    users, items, scores, hits, n_targets, first = (
        torch.cat(column).cpu().numpy() if isinstance(column[0], Tensor) else np.concatenate(column)
        for column in zip(*pieces, strict=True)
    )
    values: dict[tuple[str, int | None], Doubles] = {("mrr", None): metrics.reciprocal_rank(first)}
    values |= {("ndcg", k): metrics.ndcg_at_k(hits, n_targets, k) for k in settings.ndcg}
    values |= {("recall", k): metrics.recall_at_k(hits, n_targets, k) for k in settings.recall}
    values |= {("map", k): metrics.map_at_k(hits, n_targets, k) for k in settings.map}
    recommended = np.where(np.isneginf(scores), -1, items)
    totals: dict[tuple[str, int | None], float] = {}
    for k in settings.coverage:
        totals[("coverage", k)] = metrics.coverage(recommended[:, :k], n_items)
        totals[("gini", k)] = metrics.gini(recommended[:, :k], n_items)
        totals[("novelty", k)] = float(metrics.novelty(recommended[:, :k], popularity).mean())
    return Ranking(TopN(users, recommended, scores, group), values, totals)
