"""Games over a toy model, and a model whose causes are planted."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xrec.explain.controls import Popularity
from xrec.explain.others import OnTraining
from xrec.games.game import About, Game
from xrec.games.maskers import Masker, Zero
from xrec.games.model_game import ModelGame, Rules
from xrec.games.outputs import Logit, Output
from xrec.games.players import Items, Players
from xrec.models.history import History
from xrec.models.recommender import AdditiveRecommender, Capabilities, Context, FitData, Recommender
from xrec.types import Case, Catalogue


def bare_catalogue(n_items: int, n_users: int = 0) -> Catalogue:
    """Items i0, i1, ... and users u0, u1, ... without fields."""
    ids = tuple(f"i{i}" for i in range(n_items))
    return Catalogue(ids, tuple(f"item {i}" for i in ids), (), tuple(f"u{u}" for u in range(n_users)))


def cases_of(targets: list[Any], group: str = "new", foils: list[int] | None = None) -> tuple[Case, ...]:
    """A case of each row's target, or targets."""
    rows = [t if isinstance(t, tuple) else (t,) for t in targets]
    return tuple(
        Case(i, "test", i, t, group, 1, f"u{i}", tuple(f"i{j}" for j in t), foil=None if foils is None else foils[i])
        for i, t in enumerate(rows)
    )


def game_of(
    model: Recommender,
    history: History,
    targets: list[Any],
    group: str = "new",
    mask_chunk: int = 7,
    players: Players | None = None,
    masker: Masker | None = None,
    output: Output | None = None,
    catalogue: Catalogue | None = None,
    foils: list[int] | None = None,
) -> ModelGame:
    """Cases over the rows of a history; candidates are what is outside it, and the targets."""
    cases = cases_of(targets, group, foils)
    candidates = torch.ones(len(history), model.n_items, dtype=torch.bool)
    rows = torch.arange(len(history)).unsqueeze(1).expand_as(history.item)
    candidates[rows[history.presence > 0], history.item[history.presence > 0]] = False
    for row, case in enumerate(cases):
        candidates[row, list(case.targets)] = True
    catalogue = bare_catalogue(model.n_items) if catalogue is None else catalogue
    rules = Rules(players or Items(), masker or Zero(), output or Logit(), catalogue, 3, mask_chunk)
    return ModelGame(model, history, cases, candidates, rules)


def popularity_control(n_items: int) -> Popularity:
    """The control, as if item 0 had been bought by 90 % of the users and the last one by 10 %."""
    control = Popularity()
    control.load_state({"share": torch.from_numpy(np.linspace(0.9, 0.1, n_items))})
    return control


def with_users(explainer: OnTraining) -> OnTraining:
    """As if two users of training had items 12 and 14 and nothing else."""
    explainer.load_state({"indptr": torch.tensor([0, 1, 2]), "item": torch.tensor([12, 14], dtype=torch.int32)})
    return explainer


def exact_shapley(game: Game, row: int) -> np.ndarray:
    """Shapley values of one case by enumerating every coalition."""
    alone = game.single(row)
    n = int(game.n_players[row])
    coalitions = np.array(list(itertools.product([False, True], repeat=n)))
    worth = {tuple(c): v for c, v in zip(coalitions.tolist(), alone.values(coalitions[None])[0], strict=True)}
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

    capabilities = Capabilities(attention=True, gradients=True, fractional_presence=True, additive=True, linear=True)

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


class TableGame(Game):
    """A game of any values: those of case b are tables[b] [2 ^ P_b], the first player being the lowest bit."""

    def __init__(self, *tables: np.ndarray) -> None:
        n_players = [len(table).bit_length() - 1 for table in tables]
        self.history = plain_history([list(range(n)) for n in n_players])
        self.cases = cases_of([n + 1 for n in n_players])
        self.players = Items().bind(self.history, bare_catalogue(max(n_players) + 2))
        self.candidates = torch.ones(len(tables), 1, dtype=torch.bool)
        self.about, self.capabilities = About("table", "items", "zero", "logit"), frozenset()
        self.tables = tables
        self._masks = np.zeros(len(tables), dtype=np.int64)

    @property
    def masks(self) -> np.ndarray:
        return self._masks

    forwards = masks

    def values(self, masks: np.ndarray, uncounted: Any = 0) -> np.ndarray:
        self._masks += masks.shape[1] - np.asarray(uncounted)
        rows = []
        for table, mask, n in zip(self.tables, masks, self.n_players.tolist(), strict=True):
            rows.append(table[mask[:, :n].astype(np.int64) @ (1 << np.arange(n))])
        return np.stack(rows)

    def differentiable(self, present: Tensor) -> Tensor:
        raise NotImplementedError

    def single(self, row: int) -> TableGame:
        game = TableGame(self.tables[row])
        game.cases = self.cases[row : row + 1]
        return game

    def spread(self) -> np.ndarray:
        return np.ones(len(self.tables))


def random_tables(seed: int, *n_players: int) -> list[np.ndarray]:
    """Values of coalitions that have nothing to do with each other, f(empty) other than 0."""
    generator = np.random.default_rng(seed)
    return [generator.normal(size=2**n) for n in n_players]
