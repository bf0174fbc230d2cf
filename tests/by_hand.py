"""Four cases small enough to check on paper, and the fidelity metrics as slow loops over them.

Scores are prior(item) + the sum of WEIGHTS over the history items that are there; all are multiples of 1/4, so that
float32 is exact. What they are made for: weights of both signs whose order by size is another than by value; effects of
both signs and none; a prior that is not 0; candidates that tie with the target at some step, of lower and of higher id,
and not as many of the one as of the other; extreme scores outside the candidates; histories of 8, 3, 5 and 2 players.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from tests.toy_games import bare_catalogue, plain_history
from xrec.fidelity.metric import Key
from xrec.games.maskers import Zero
from xrec.games.model_game import ModelGame, Rules
from xrec.games.outputs import Logit
from xrec.games.players import Items
from xrec.models.recommender import AdditiveRecommender, Capabilities, Context, FitData
from xrec.types import Attribution, Case, Role

N_ITEMS = 24
ITEM_IDS = tuple(f"i{i}" for i in range(N_ITEMS))
#: 2 and 13, at the extremes, are in every history
PRIOR = {0: 6, 1: 11, 2: 1000, 4: -0.5, 6: -0.5, 7: -6, 9: -3.5, 10: 1, 11: -0.5, 12: -3.5, 13: -1000}
PRIOR |= {14: 10, 15: -7, 18: 8.5, 19: -5, 20: 2, 22: -20, 23: 4}
#: scored item -> history item -> what the one adds to the other's score
ADDED = {
    10: {2: 4, 3: -2, 5: 1, 8: 2, 13: -5, 16: 0.5, 17: 3, 21: -1},
    19: {2: -1, 13: 3, 20: -2.5},
    8: {2: 1, 5: -1.5, 8: 6, 13: -2, 22: 0.5},
    22: {3: -9},  # the lowest candidate of the first case is lower still when the history is there
}
WEIGHTS = {(j, item): weight for item, row in ADDED.items() for j, weight in row.items()}


@dataclass(frozen=True)
class OnPaper:
    """One case: history items in the order of the players, and the recommended item."""

    history: tuple[int, ...]
    target: int
    group: str = "new"
    few: bool = False

    @property
    def contributions(self) -> list[float]:
        return [WEIGHTS.get((j, self.target), 0.0) for j in self.history]

    def score(self, there: list[int], item: int | None = None) -> float:
        item = self.target if item is None else item
        return PRIOR.get(item, 0.0) + sum(WEIGHTS.get((j, item), 0.0) for j in there)

    @property
    def candidates(self) -> list[int]:
        return [i for i in range(N_ITEMS) if self.group == "repeat" or i not in self.history]

    def rank(self, there: list[int]) -> int:
        """1 + candidates with a higher score + ties with a lower id."""
        mine, rank = self.score(there), 1
        for i in self.candidates:
            other = self.score(there, i)
            if other > mine or (other == mine and i < self.target):
                rank += 1
        return rank

    @property
    def effect(self) -> float:
        return self.score(list(self.history)) - self.score([])


CASES = (
    OnPaper((2, 3, 5, 8, 13, 16, 17, 21), 10),  # by value: 2, 17, 8, 5, 16, 21, 3, 13
    OnPaper((2, 13, 20), 19, few=True),  # by value: 13, 2, 20; the history lowers the score by .5
    OnPaper((2, 5, 8, 13, 22), 8, "repeat"),  # by value: 8, 2, 22, 5, 13
    OnPaper((2, 13), 23, few=True),  # no effect at all
)


class Table(AdditiveRecommender):
    """The table above as a model, or another one. Its attention is none of its contributions."""

    capabilities = Capabilities(attention=True, gradients=True, fractional_presence=True, additive=True, linear=True)

    def __init__(self, prior: dict[int, float] | None = None, weights: dict[tuple[int, int], float] | None = None):
        super().__init__()
        self.n_items = N_ITEMS
        self.prior_of, self.weights = torch.zeros(N_ITEMS), torch.zeros(N_ITEMS, N_ITEMS)
        for item, value in (PRIOR if prior is None else prior).items():
            self.prior_of[item] = value
        for (j, item), value in (WEIGHTS if weights is None else weights).items():
            self.weights[j, item] = value

    def fit(self, data: FitData) -> None:
        pass

    def prior(self, context: Context, targets: Tensor | None) -> Tensor:
        return self.prior_of.unsqueeze(0) if targets is None else self.prior_of[targets]

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        item = context.history.item
        return self.weights[item] if targets is None else self.weights[item.unsqueeze(-1), targets.unsqueeze(1)]

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        return 1.0 / (1.0 + self.contributions(context, targets).abs())


def cases(on_paper: tuple[OnPaper, ...] = CASES) -> tuple[Case, ...]:
    return tuple(
        Case(n, "test", n, (c.target,), c.group, n + 1, f"u{n}", (f"i{c.target}",), c.few)
        for n, c in enumerate(on_paper)
    )


def game_of(
    on_paper: tuple[OnPaper, ...] = CASES, model: AdditiveRecommender | None = None, mask_chunk: int = 7
) -> ModelGame:
    candidates = torch.zeros(len(on_paper), N_ITEMS, dtype=torch.bool)
    for row, case in enumerate(on_paper):
        candidates[row, case.candidates] = True
    rules = Rules(Items(), Zero(), Logit(), bare_catalogue(N_ITEMS), mask_chunk=mask_chunk)
    history = plain_history([list(c.history) for c in on_paper])
    return ModelGame(model or Table(), history, cases(on_paper), candidates, rules)


def attribution(
    values: list[list[float]] | None = None,
    on_paper: tuple[OnPaper, ...] = CASES,
    explainer: str = "by_hand",
    draw: int = 0,
    role: Role = "explainer",
    complete: bool = True,
    reference: bool = False,
) -> Attribution:
    """An answer with these values per case; the true contributions if there are none."""
    given = [c.contributions for c in on_paper] if values is None else values
    table = np.full((len(on_paper), max(map(len, given))), np.nan)
    for row, mine in enumerate(given):
        table[row, : len(mine)] = mine
    return Attribution(
        explainer=explainer,
        draw=draw,
        role=role,
        reference=reference,
        cases=cases(on_paper),
        player_ids=tuple(tuple(f"i{j}" for j in c.history) for c in on_paper),
        values=table,
        output="logit",
        masker="zero",
        players="items",
        signed=True,
        complete=complete,
        f_x=np.array([c.score(list(c.history)) for c in on_paper]),
        f_empty=np.array([c.score([]) for c in on_paper]),
        n_forwards=np.array([len(c.history) for c in on_paper]),
        seconds=np.full(len(on_paper), 0.5),
    )


FRACTIONS = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9")


def n_removed(share: str, n_players: int) -> int:
    return min(max(math.floor(Fraction(share) * n_players + Fraction(1, 2)), 1), n_players - 1)


def measured_slowly(
    case: OnPaper, values: list[float], cutoffs: list[int], shares: list[str], complete: bool = True
) -> dict[Key, float]:
    """Every metric of one case, NaN where it is left out, by loops. No two of the values may be the same."""
    assert len(set(values)) == len(values)
    order = [j for _, j in sorted(zip(values, case.history, strict=True), reverse=True)]
    whole, empty = case.score(order), case.score([])
    effect = whole - empty if whole != empty else math.nan
    found: dict[Key, float] = {}

    def average(name: str, variant: str | None, k: int | None, sizes: list[int], of) -> None:
        found[name, variant, k, None] = sum(map(of, sizes)) / len(sizes)

    def without(n: int) -> list[int]:
        return order[n:]

    def only(n: int) -> list[int]:
        return order[:n]

    def without_last(n: int) -> list[int]:
        return order[: len(order) - n]

    def part(score: float) -> float:
        return (score - empty) / effect

    steps = sorted({n_removed(q, len(order)) for q in FRACTIONS})
    for name, kept in (("deletion", without), ("insertion", only)):
        average(name, None, None, steps, lambda n, kept=kept: case.score(kept(n)))
        average(name, "normalised", None, steps, lambda n, kept=kept: part(case.score(kept(n))))
        for q in FRACTIONS:
            found[name, "curve", None, float(q)] = part(case.score(kept(n_removed(q, len(order)))))
        for n in range(1, 6):
            score = case.score(kept(n)) if n < len(order) else math.nan
            found[name, "discrete", None, n] = score
            found[name, "discrete_normalised", None, n] = part(score)
    average("cdcg", None, None, steps, lambda n: 1 / math.log2(1 + case.rank(without(n))))
    for n in range(1, 6):
        used = n < len(order)
        found["cdcg", "discrete", None, n] = 1 / math.log2(1 + case.rank(without(n))) if used else math.nan
    for k in cutoffs:
        for name, kept in (("pos_at_k", without), ("neg_at_k", without_last)):
            average(name, None, k, steps, lambda n, kept=kept, k=k: float(case.rank(kept(n)) <= k))
            for n in range(1, 6):
                used = n < len(order)
                found[name, "discrete", k, n] = float(case.rank(kept(n)) <= k) if used else math.nan
    steps = sorted({n_removed(q, len(order)) for q in shares})
    for name, kept in (("comprehensiveness", without), ("sufficiency", only)):
        average(name, None, None, steps, lambda n, kept=kept: whole - case.score(kept(n)))
        found[name, "normalised", None, None] = found[name, None, None, None] / effect
    total = sum(map(abs, values))
    entropy = -sum(abs(v) / total * math.log(abs(v) / total) for v in values if v != 0) if total > 0 else math.nan
    found["sparsity", None, None, None] = math.exp(entropy) / len(values)
    if complete:
        found["completeness_error", None, None, None] = abs(sum(values) - effect) / abs(effect)
    return found
