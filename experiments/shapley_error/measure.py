"""How far estimators of Shapley values are from the truth on a saved run's model, at equal budgets of masks.

The truth is exact where the model has a closed form, and otherwise pairs of walks of 256 P masks, drawn apart. An
error is the L2 norm of the difference to it over its own; figures are medians over cases, with a 95 % interval of the
median by bootstrap over users. CPU milliseconds are of a case, all explainers in this one process, the budget 2P + 2.

Usage: measure.py RUN_DIRECTORY [--cases 30] [--players 240] [--longest 240] [--out FILE.parquet]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from omegaconf import open_dict

from xrec.door.saved import load
from xrec.explain.explainer import Explainer
from xrec.explain.library import ShapiqKernel, ShapiqPermutation, ShapiqSvarm, ShapKernel, ShapPermutation
from xrec.explain.pairwise import Pairwise
from xrec.explain.removal import LeaveOneOut
from xrec.explain.shapley import AdjustedShap, KernelShap, LeverageShap, PermutationShap, Shapley
from xrec.games.game import Game
from xrec.stages.cases import case_chunks, choose_cases, games_of, rules_of
from xrec.types import Doubles

ESTIMATORS = {
    "shapley": Shapley,
    "permutation_shap": PermutationShap,
    "kernel_shap": KernelShap,
    "leverage_shap": LeverageShap,
    "adjusted_shap": AdjustedShap,
    "shap_permutation": ShapPermutation,
    "shap_kernel": ShapKernel,
    "shapiq_permutation": ShapiqPermutation,
    "shapiq_kernel": ShapiqKernel,
    "shapiq_svarm": ShapiqSvarm,
}
#: masks a player
BUDGETS = (2, 4, 16)
WITHOUT_BUDGET = {"pairwise": Pairwise, "leave_one_out": LeaveOneOut}


def games(run_directory: Path, n_cases: int, longest: int) -> list[Game]:
    """One game a case: recommendations of new items, one a user, with histories of at most so many players."""
    loaded = load(run_directory)
    run, model = loaded.run, loaded.model
    with open_dict(run.config):
        run.config.cases.n_users = 10 * n_cases
        run.config.cases.top_n, run.config.cases.groups, run.config.cases.chunk_size = 1, ["new"], 1
    rules = rules_of(run)
    cases = choose_cases(run, model, rules).cases
    short = [game for game in games_of(run, model, rules, case_chunks(run, cases)) if game.width <= longest]
    return list(np.array(short, dtype=object)[np.linspace(0, len(short) - 1, n_cases).round().astype(int)])


def truth(game: Game) -> Doubles:
    exact = Shapley().attribute(game, 0, "truth")
    if exact.standard_error is not None and not exact.standard_error.any():
        return exact.values[0]
    return PermutationShap(256 * game.width).attribute(game, 1, "truth").values[0]


def measured(game: Game, name: str, explainer: Explainer, true: Doubles) -> tuple[float, float]:
    """Relative error and CPU seconds."""
    started = time.process_time()
    found = explainer.attribute(game, 0, name).values[0]
    return float(np.linalg.norm(found - true) / np.linalg.norm(true)), time.process_time() - started


def interval(errors: Doubles) -> tuple[float, float]:
    drawn = np.random.default_rng(0).choice(errors, (2000, len(errors)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--longest", type=int, default=240)
    parser.add_argument("--out", type=Path)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for number, game in enumerate(games(settings.run, settings.cases, settings.longest)):
        game.ends()
        true, width = truth(game), game.width
        wanted = {(name, 0): kind() for name, kind in WITHOUT_BUDGET.items()}
        wanted |= {(name, b): kind(budget=b * width + 2) for b in BUDGETS for name, kind in ESTIMATORS.items()}
        for (name, budget), explainer in wanted.items():
            try:
                error, seconds = measured(game, name, explainer, true)
            except Exception as failure:  # noqa: BLE001, a library's estimator may not take so small a budget
                print(f"case {number}: {name} at {budget}P + 2: {type(failure).__name__}: {failure}")
                continue
            rows.append({"case": number, "players": width, "explainer": name, "per_player": budget,
                         "error": error, "seconds": seconds})  # fmt: skip
        print(f"case {number}: {width} players", flush=True)
    frame = pl.DataFrame(rows)
    if settings.out:
        frame.write_parquet(settings.out)
    print(f"{'explainer':20s}" + "".join(f"{f'{b}P + 2':>28s}" for b in BUDGETS) + f"{'ms':>10s}")
    for name in [*ESTIMATORS, *WITHOUT_BUDGET]:
        mine = frame.filter(pl.col("explainer") == name)
        cells = []
        for budget in BUDGETS if name in ESTIMATORS else (0,):
            errors = mine.filter(pl.col("per_player") == budget)["error"].to_numpy()
            low, high = interval(errors) if len(errors) else (np.nan, np.nan)
            cells.append(f"{np.median(errors) if len(errors) else np.nan:.4f} [{low:.4f}, {high:.4f}]")
        seconds = mine.filter(pl.col("per_player") == (2 if name in ESTIMATORS else 0))["seconds"].to_numpy()
        cost = np.median(seconds) if len(seconds) else np.nan
        filled = [*cells, *[""] * (len(BUDGETS) - len(cells))]
        print(f"{name:20s}" + "".join(f"{cell:>28s}" for cell in filled) + f"{1000 * cost:10.1f}")


if __name__ == "__main__":
    main()
