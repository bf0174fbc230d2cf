"""Value functions over a toy model, and a model whose causes are planted."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from xrec.games.game import Game, Rules
from xrec.games.maskers import Zero
from xrec.games.players import Items
from xrec.models.history import History
from xrec.models.recommender import AdditiveRecommender, Capabilities, Context, FitData, Recommender
from xrec.types import Case


def game_of(model: Recommender, history: History, targets: list[int], group: str = "new", mask_chunk: int = 7) -> Game:
    """Cases over the rows of a history; candidates are what is outside it, and the target."""
    cases = tuple(Case(i, "test", i, t, group, 1, f"u{i}", f"i{t}") for i, t in enumerate(targets))
    candidates = torch.ones(len(history), model.n_items, dtype=torch.bool)
    rows = torch.arange(len(history)).unsqueeze(1).expand_as(history.item)
    candidates[rows[history.presence > 0], history.item[history.presence > 0]] = False
    candidates[torch.arange(len(targets)), torch.tensor(targets)] = True
    ids = tuple(f"i{i}" for i in range(model.n_items))
    popularity = np.linspace(0.9, 0.1, model.n_items)
    return Game(model, history, cases, candidates, Rules(Zero(), Items(), ids, popularity, mask_chunk))


def exact_shapley(value: Game, row: int) -> np.ndarray:
    """Shapley values of one case by enumerating every coalition."""
    game = value.single(row)
    n = int(value.n_players[row])
    coalitions = np.array(list(itertools.product([False, True], repeat=n)))
    worth = {tuple(c): v for c, v in zip(coalitions.tolist(), game.values(coalitions[None])[0], strict=True)}
    phi = np.zeros(n)
    for coalition, v in worth.items():
        for j in range(n):
            if not coalition[j]:
                size = sum(coalition)
                weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
                phi[j] += weight * (worth[(*coalition[:j], True, *coalition[j + 1 :])] - v)
    return phi


class Planted(AdditiveRecommender):
    """Item c in the history causes item n_items - 1 - c; everything else adds noise that is ten times smaller."""

    capabilities = Capabilities(attention=True, gradients=True, fractional_presence=True, additive=True)

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.n_items = n_items
        noise = torch.rand(n_items, n_items, generator=torch.Generator().manual_seed(0)) * 0.1
        causes = torch.arange(n_items)
        noise[causes, n_items - 1 - causes] = 1.0
        self.weights = noise

    def fit(self, data: FitData) -> None:
        pass

    def prior(self, context: Context, targets: Tensor | None) -> Tensor:
        return torch.zeros(1, 1)

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        item = context.history.item
        return self.weights[item] if targets is None else self.weights[item.unsqueeze(-1), targets.unsqueeze(1)]

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        return self.contributions(context, targets)


def plain_history(rows: list[list[int]]) -> History:
    """Histories that hold only items."""
    width = max(len(r) for r in rows)
    item = torch.tensor([r + [0] * (width - len(r)) for r in rows])
    presence = torch.tensor([[1.0] * len(r) + [0.0] * (width - len(r)) for r in rows])
    ones = torch.ones_like(presence)
    return History(
        item=item,
        age=ones,
        first_age=ones,
        strength=ones,
        n_periods=ones,
        kind=torch.zeros_like(item),
        positive=ones,
        decayed=ones.unsqueeze(-1).expand(*ones.shape, 6),
        presence=presence,
        moment=1,
    )
