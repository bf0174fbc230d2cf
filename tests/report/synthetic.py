"""A whole fake run directory and a fake study: everything the report reads, hostile names wherever one fits.

The run is written by the one writer of run directories, and its metrics are those that the stages declare.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from xrec.fidelity.axiomatic import Axiomatic
from xrec.fidelity.eraser import Eraser
from xrec.fidelity.rank import RankRemoval
from xrec.fidelity.score import ScoreRemoval
from xrec.ranking import metrics as ranking
from xrec.rundir.directory import RunDirectory
from xrec.rundir.explanations import ANSWERS, PLAYERS, write_explanations
from xrec.rundir.table import SCHEMA, Results, Rows
from xrec.stages import explain, fidelity
from xrec.stages.fit import FIT_METRICS, LEARNED
from xrec.stages.run import STAGE_COSTS
from xrec.types import Metric

SCRIPT = "<script>alert('item')</script>"
HOSTILE = (
    SCRIPT,
    'Milk "2 %" & <b>cream</b>',
    "100% juice_{x} $5 ~^\\",
    "a|b `c` [d](javascript:e) *f*",
    "\x1b[31mred\u202eabc",
    "{{ 7 * 7 }}",
)
MODELS = {"popularity": -0.06, "composed": 0.0, "ease": -0.02, "personal_frequency": -0.005}
COMPONENTS = {"prior": 0.01, "repeat": 0.04, "attention": 0.0}
EXPLAINERS = {
    "random": 0.0, "popularity": 0.01, "leave_one_out": 0.14, "attention": 0.05, "additive": 0.15,
    "integrated_gradients": 0.12, "permutation_shap": 0.15, "kernel_shap": 0.1,
}  # fmt: skip
ROLES = {"random": "control", "popularity": "control", "best_of_draws": "oracle"}
#: explainers whose values promise no sum
INCOMPLETE = ("random", "popularity", "leave_one_out", "attention")
#: of one case; 1 where not named
FORWARDS = {"leave_one_out": 13, "additive": 4, "kernel_shap": 512, "integrated_gradients": 50, "permutation_shap": 300}

#: stage -> the metrics it declares, in its order
DECLARED: dict[str, list[Metric]] = {
    "fit": [*FIT_METRICS, *LEARNED],
    "rank": list(ranking.METRICS),
    "explain": [*explain.METRICS, *explain.COSTS],
    "fidelity": fidelity._declared([ScoreRemoval(), Eraser([0.1]), RankRemoval([10]), Axiomatic()]),
}
METRICS = {m.name: m for declared in (*DECLARED.values(), STAGE_COSTS) for m in declared}
STAGES = tuple(DECLARED)
LEARNED_VALUES = {"learned_accuracy": 0.77, "learned_mmd": 0.007, "probe_popularity": 0.134}
N_EPOCHS, STEPS_PER_EPOCH, BEST_EPOCH = 6, 20, 5


def row(**values: Any) -> dict[str, Any]:
    """One row of the results; what is not named is null, but for the identity of the run."""
    return {
        **dict.fromkeys(SCHEMA),
        "data": "toy",
        "split": "temporal",
        "part": "test",
        "fold": 0,
        "seed": 0,
        "model": "composed",
        **values,
    }


def results_of(rows: Iterable[dict[str, Any]]) -> Results:
    """Rows as a saved run holds them, with the metrics that all stages declare."""
    return Results(pl.DataFrame(list(rows), schema=SCHEMA), METRICS, "random")


def ranking_rows(rng: np.random.Generator, n_users: int) -> list[dict[str, Any]]:
    """NDCG etc. of every model; users 0 and 1 have no new target. Leaving `attention` out changes nothing at all."""
    models: list[tuple[str, str | None, float]] = [(model, None, effect) for model, effect in MODELS.items()]
    models += [("composed", component, -loss) for component, loss in COMPONENTS.items()]
    rows = []
    for group, level in (("all", 0.45), ("new", 0.12)):
        users = range(n_users) if group == "all" else range(2, n_users)
        base = rng.uniform(0, 2 * level, n_users)
        for part in ("validation", "test"):
            for model, component, effect in models:
                noise = 0 if effect == 0 else rng.normal(effect, 0.03, n_users)
                shared = {"part": part, "model": model, "component": component, "stage": "rank", "group": group}
                for metric, k in (("ndcg", 10), ("ndcg", 20), ("recall", 10), ("mrr", None)):
                    value = np.clip(base + noise, 0, 1)
                    rows += [row(**shared, metric=metric, k=k, user=f"u{u}", value=float(value[u])) for u in users]
                rows += [
                    row(**shared, metric=m, k=k, value=v)
                    for m, k, v in (("coverage", 10, 0.4), ("gini", None, 0.9), ("novelty", None, 11.5))
                ]
    return rows


def explained(stage: str, group: str, explainer: str | None, **more: Any) -> dict[str, Any]:
    """The columns of a row about one explainer's answers."""
    role = None if explainer is None else ROLES.get(explainer, "explainer")
    shared = {"stage": stage, "group": group, "few": False, "explainer": explainer, "role": role}
    return shared | {"masker": "zero", "players": "items", "output": "logit"} | more


def fidelity_rows(rng: np.random.Generator, n_users: int, group: str) -> list[dict[str, Any]]:
    """Three cases a user; an explainer's metrics lie above (where lower is better, below) random's by its effect."""
    rows = []
    level = rng.uniform(0.3, 0.7, (n_users, 3))
    for name, effect in EXPLAINERS.items():
        shared = explained("fidelity", group, name)
        for u in range(n_users):
            for c in range(3):
                case = shared | {"user": f"u{u}", "item": f"{group}{u}-{c}"}
                for metric, variant, k, step in _fidelity_columns():
                    sign = -1 if METRICS[metric].direction == "lower" else 1
                    # Curves fall (deletion) or rise (insertion) over the steps, as the real ones do.
                    along = sign * ((step or 0.5) - 0.5) if variant == "curve" else 0
                    value = level[u, c] + sign * effect + along + rng.normal(0, 0.05)
                    columns = {"metric": metric, "variant": variant, "k": k, "step": step}
                    rows.append(row(**case, **columns, value=float(value)))
                if name != "random":
                    rows.append(row(**case, metric="removal_gain", value=float(effect + rng.normal(0, 0.05))))
    counted = explained("fidelity", group, None)
    rows += [row(**counted, metric="n_flagged", value=2.0), row(**counted, metric="n_left_out", step=5.0, value=3.0)]
    return rows


def _fidelity_columns() -> list[tuple[str, str | None, int | None, float | None]]:
    columns: list[tuple[str, str | None, int | None, float | None]] = []
    for name in ("deletion", "insertion"):
        columns += [(name, None, None, None), (name, "normalised", None, None)]
    columns += [(name, None, None, None) for name in ("comprehensiveness", "sufficiency", "cdcg", "sparsity")]
    columns += [(name, None, k, None) for name in ("pos_at_k", "neg_at_k") for k in (1, 10, 100)]
    columns += [(name, "curve", None, step / 10) for name in ("deletion", "insertion") for step in range(1, 10)]
    return columns + [("deletion", "discrete", None, float(step)) for step in range(1, 6)]


def cost_rows(rng: np.random.Generator, n_users: int) -> list[dict[str, Any]]:
    """Costs by stage, and by explainer and case of the group new."""
    rows = []
    for stage, wall in (("fit", 60.0), ("rank", 4.0), ("explain", 30.0), ("fidelity", 12.5)):
        for metric, value in (("wall_seconds", wall), ("cpu_seconds", 2 * wall), ("peak_memory_mb", 1000 + wall)):
            rows.append(row(stage="cost", cost_of=stage, part=None, metric=metric, value=value))
    for name in EXPLAINERS:
        for u in range(n_users):
            case = explained("cost", "new", name, cost_of="explain", user=f"u{u}", item=f"new{u}-0")
            rows.append(row(**case, metric="forwards", value=100.0 + u))
            rows.append(row(**case, metric="milliseconds", value=float(rng.uniform(1, 9))))
    return rows


def share_rows(rng: np.random.Generator, n_users: int) -> list[dict[str, Any]]:
    """Shares of score variance by component and case."""
    shares = {"prior": 0.2, "repeat": 0.5, "attention": 0.1, "linear": 0.2}
    about = {"stage": "explain", "group": "new", "few": False, "metric": "component_share"}
    return [
        row(**about, component=component, user=f"u{u}", item=f"new{u}-{c}", value=share + float(rng.normal(0, 0.02)))
        for component, share in shares.items()
        for u in range(n_users)
        for c in range(3)
    ]


def case_frames(rng: np.random.Generator, n_users: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """cases, attributions and explanations; item and player names cycle through the hostile ones."""
    cases, players, answers = [], [], []
    for number, (group, u, c) in enumerate(
        (g, u, c) for g in ("new", "repeat") for u in range(min(n_users, 8)) for c in range(3)
    ):
        n_players = 12 + u
        case = {"case": number, "part": "test", "user": f"u{u}", "item": f"{group}{u}-{c}", "group": group}
        case |= {"item_name": HOSTILE[(u + c) % len(HOSTILE)], "few": False}
        cases.append(case | {"position": c + 1, "n_players": n_players})
        for explainer in EXPLAINERS:
            answers.append(_answer(number, explainer, n_players))
            players += _players(number, explainer, rng.normal(0.1, 0.3, n_players))
    beside = {"player_name": pl.String, "age": pl.Float64, "strength": pl.Float64, "n_items": pl.Int64}
    return pl.DataFrame(cases), pl.DataFrame(players, schema=PLAYERS | beside), pl.DataFrame(answers, schema=ANSWERS)


def _players(case: int, explainer: str, values: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for p, value in enumerate(values.tolist()):
        name = f"{HOSTILE[p % len(HOSTILE)]} no. {p}" if p < 6 else f"PLAIN PRODUCT {p}"
        player = {"case": case, "explainer": explainer, "draw": 0, "player": f"p{p}", "player_name": name}
        player |= {"age": float(1 + (p * 5) % 13), "strength": float(1 + (p * 3) % 7), "value": value, "n_items": 1}
        rows.append(player | {"standard_error": 0.01 if explainer == "permutation_shap" else None, "selected": None})
    return rows


def _answer(case: int, explainer: str, n_players: int) -> dict[str, Any]:
    role = ROLES.get(explainer, "explainer")
    about = {"case": case, "explainer": explainer, "draw": 0, "role": role, "reference": explainer == "random"}
    about |= {"signed": role == "explainer", "complete": explainer not in INCOMPLETE, "n_players": n_players}
    about |= {"players": "items", "masker": "zero", "output": "logit", "f_x": 1.0, "f_empty": 0.0, "seconds": 0.01}
    return about | {"forwards": FORWARDS.get(explainer, 1)}


def metric_lines(rng: np.random.Generator) -> list[dict[str, Any]]:
    """metrics.jsonl: twenty steps an epoch, validation behind the last one, the adversarial term switched off."""
    lines = []
    for step in range(N_EPOCHS * STEPS_PER_EPOCH):
        fall = float(np.exp(-step / 40))
        line = {"step": step, "epoch": step // STEPS_PER_EPOCH + 1, "loss/total": 5 + 3 * fall + rng.normal(0, 0.2)}
        line |= {
            "loss/raw/reconstruction": 5 + 3 * fall,
            "loss/weighted/reconstruction": 5 + 3 * fall,
            "loss/weighted/kl": 0.2 * (1 - fall),
        }
        lines.append(line | {"loss/off/adversarial": 1, "discriminator_loss": 0.7 + float(rng.normal(0, 0.05))})
        if (step + 1) % STEPS_PER_EPOCH == 0:
            line = {"step": step, "epoch": step // STEPS_PER_EPOCH + 1, "seconds": step * 0.1}
            line |= {"validation/ndcg_at_10/new": 0.07 * (1 - fall), "validation/ndcg_at_10/all": 0.47 * (1 - fall)}
            lines.append(line)
    return lines


def data_card() -> dict[str, Any]:
    """A card with two steps, nested sizes and splits, and a hostile note."""
    steps = [
        {"step": "events", "reason": "as given", "rows": 1_469_307, "users": 2469, "items": 68_509},
        {"step": "quantity", "reason": f"quantity <= 0 {SCRIPT}", "rows": 1_400_000, "users": 2469, "items": 60_000},
    ]
    sizes = {"n_users": 2321, "n_items": 8744, "density": 0.027}
    return {
        "name": "toy",
        "sizes": sizes,
        "steps": steps,
        "splits": {"train": {"end": 43}, "test": "48-53"},
        "notes": [f"simulated {SCRIPT}", "second"],
    }


def write_run(
    directory: Path,
    n_users: int = 30,
    stages: tuple[str, ...] = STAGES,
    *,
    costs: bool = True,
    card: bool = True,
) -> Path:
    """Write a run with these stages finished, as one with `stages=[...]` and the others taken from nowhere.

    Args:
        costs: of the stages and explanations.
        card: data_card.json.
    """
    rng = np.random.default_rng(7)
    rows = [row(stage="fit", part=None, metric="best_epoch", value=float(BEST_EPOCH))]
    rows += [row(stage="fit", part=None, metric=name, value=value) for name, value in LEARNED_VALUES.items()]
    rows += ranking_rows(rng, n_users) + share_rows(rng, n_users)
    for group in ("new", "repeat"):
        rows += fidelity_rows(rng, n_users, group)
    rows += cost_rows(rng, n_users) if costs else []
    lines, frames = metric_lines(rng), case_frames(rng, n_users)
    config = f'seed: 0\nthreads: 2\nexperiment: toy\nnote: "{SCRIPT}"\n'
    with RunDirectory(directory) as run:
        overrides = ["experiment=quickstart", "seed=0"]
        run.begin(config, overrides, "sha256 of the data", {"data_card.json": data_card()} if card else {})
        for stage in stages:
            files: list[str] = []
            if stage == "fit":
                for line in lines:
                    run.log(line)
                files = ["metrics.jsonl"]
            elif stage == "explain":
                frames[0].write_parquet(directory / "cases.parquet")
                files = ["cases.parquet", *write_explanations(directory, frames[1], frames[2])]
            mine = [r for r in rows if stage == (r["cost_of"] if r["stage"] == "cost" else r["stage"])]
            collected = [_collected(mine, DECLARED[stage]), _collected(mine, STAGE_COSTS)]
            run.finish(stage, collected, files, "random" if stage == "fidelity" else None)
    return directory


def _collected(rows: list[dict[str, Any]], declared: Iterable[Metric]) -> Rows:
    """Those of the rows whose metrics are declared here."""
    collected = Rows(declared)
    for columns in rows:
        if columns["metric"] in collected.metrics:
            given = {name: value for name, value in columns.items() if value is not None}
            collected.add(given.pop("metric"), given.pop("value"), **given)
    return collected


def write_study(directory: Path) -> Path:
    """Six trials by accuracy and fidelity, both to be maximised; 1, 3 and 4 are the front; trial 5 failed."""
    names = ["validation_ndcg_at_10_new", "validation_removal_gain"]
    points = [(0.050, 0.10), (0.060, 0.40), (0.055, 0.30), (0.070, 0.20), (0.065, 0.35)]
    for number, point in enumerate(points):
        trial = directory / str(number)
        trial.mkdir(parents=True)
        (trial / "objectives.json").write_text(json.dumps(dict(zip(names, point, strict=True))))
    (directory / "5").mkdir()
    (directory / "journal.log").write_text("")
    front = [
        {
            "number": n,
            "values": dict(zip(names, points[n], strict=True)),
            "params": {"loss.weights.kl": 0.1 * n},
            "directory": str(n),
        }
        for n in (1, 3, 4)
    ]
    saved = {"study_name": "lambda", "directions": ["maximize", "maximize"], "objectives": names, "front": front}
    # JSON is YAML.
    (directory / "optimization_results.yaml").write_text(json.dumps(saved))
    return directory
