"""How much there is to explain in a saved run's model: each component's share of the score's
variance over the candidates, and how far leave-one-out is from exact Shapley values (relative L2).

Players are at most 12 groups of a history's items, of equal size in order of age, so that all 2^P coalitions are
enumerated; the target is the first recommendation among items that are new to the user. An additive model has 0.

Usage: measure.py RUN_DIRECTORY [--part validation] [--users 60] [--players 10]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from xrec.door.saved import load
from xrec.explain.enumeration import coalitions, shapley_of
from xrec.models.history import History
from xrec.models.recommender import Recommender
from xrec.types import Doubles


def exact_shapley(values: Doubles, n_players: int) -> tuple[Doubles, Doubles]:
    """Shapley values and leave-one-out effects [P] of all values [2^P], in the order of `coalitions`."""
    every = 2**n_players - 1
    return shapley_of(values, n_players), values[every] - values[every ^ (1 << np.arange(n_players))]


@torch.no_grad()
def of_user(model: Recommender, history: History, n_players: int) -> tuple[float, dict[str, float]]:
    """Relative L2 of leave-one-out and Shapley values for the first new recommendation, and the shares of variance."""
    context = model.prepare(history)
    scores = model.score(context)[0, 0]
    new = torch.ones_like(scores, dtype=torch.bool)
    new[history.item[0]] = False
    centred = scores[new] - scores[new].mean()
    shares = {
        name: float((part[0, 0][new] * centred).sum() / centred.square().sum())
        for name, part in model.component_scores(context).items()
    }
    target = scores.masked_fill(~new, -torch.inf).argmax().reshape(1, 1)
    group = torch.empty(history.item.shape[1], dtype=torch.long)
    for number, places in enumerate(torch.tensor_split(history.age[0].argsort(stable=True), n_players)):
        group[places] = number
    masks = torch.from_numpy(coalitions(n_players)).float()
    values = model.score(context, masks[:, group].unsqueeze(0), target)[0, :, 0].double().numpy()
    shapley, removed = exact_shapley(values, n_players)
    return float(np.linalg.norm(removed - shapley) / np.linalg.norm(shapley)), shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--part", default="validation", choices=("validation", "test"))
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--players", type=int, default=10, choices=range(2, 13))
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load(given.run)
    dataset = loaded.run.dataset
    first, last = dataset.period(given.part)
    table, targets = dataset.histories(first), dataset.targets(first, last)
    able = np.flatnonzero((np.diff(targets.indptr) > 0) & (table.lengths() >= given.players))
    chosen = np.random.default_rng(0).permutation(able)[: given.users]
    found = [of_user(loaded.model, History.from_table(table, [user]), given.players) for user in chosen.tolist()]
    distance = np.array([d for d, _ in found])
    print(f"{given.run}: {len(found)} users of {given.part}, {given.players} players")
    print(f"leave-one-out against Shapley, relative L2: median {np.median(distance):.3f}, mean {distance.mean():.3f}")
    for name in found[0][1]:
        print(f"share of the score's variance, {name}: {np.mean([shares[name] for _, shares in found]):.3f}")


if __name__ == "__main__":
    main()
