"""A whole fake run directory and a fake study: everything the report reads, hostile names wherever one fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

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
PARTS = {"prior": 0.01, "repeat": 0.04, "attention": 0.0}
EXPLAINERS = {
    "random": 0.0, "popularity": 0.01, "leave_one_out": 0.14, "attention": 0.05, "additive": 0.15,
    "integrated_gradients": 0.12, "permutation_shap": 0.15, "kernel_shap": 0.1,
}  # fmt: skip
COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("data", "split", "part"), pl.String), "fold": pl.Int64, "model": pl.String, "seed": pl.Int64,
    **dict.fromkeys(("stage", "group", "explainer", "masker", "players", "output", "metric"), pl.String),
    "k": pl.Int64, "step": pl.Float64, "user": pl.String, "item": pl.String, "value": pl.Float64,
}  # fmt: skip
LOWER = ("deletion", "sufficiency", "cdcg", "pos_at_k")


def row(**values: Any) -> dict[str, Any]:
    """One row of results.parquet; what is not named is null, but for the identity of the run."""
    return {
        **dict.fromkeys(COLUMNS),
        "data": "toy",
        "split": "temporal",
        "part": "test",
        "fold": 0,
        "seed": 0,
        "model": "composed",
        **values,
    }


def results_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as results.parquet holds them."""
    return pl.DataFrame(rows, schema=COLUMNS)


def ranking_rows(rng: np.random.Generator, n_users: int) -> list[dict[str, Any]]:
    """NDCG etc. of every model; users 0 and 1 have no new target. `composed -attention` changes nothing at all."""
    models = MODELS | {f"composed -{part}": -loss for part, loss in PARTS.items()}
    rows = []
    for group, level in (("all", 0.45), ("new", 0.12)):
        users = range(n_users) if group == "all" else range(2, n_users)
        base = rng.uniform(0, 2 * level, n_users)
        for part in ("validation", "test"):
            for model, effect in models.items():
                noise = 0 if effect == 0 else rng.normal(effect, 0.03, n_users)
                shared = {"part": part, "model": model, "stage": "rank", "group": group}
                for metric, k in (("ndcg", 10), ("ndcg", 20), ("recall", 10), ("mrr", None)):
                    value = np.clip(base + noise, 0, 1)
                    rows += [row(**shared, metric=metric, k=k, user=f"u{u}", value=float(value[u])) for u in users]
                rows += [
                    row(**shared, metric=m, k=k, value=v)
                    for m, k, v in (("coverage", 10, 0.4), ("gini", None, 0.9), ("novelty", None, 11.5))
                ]
    return rows


def fidelity_rows(rng: np.random.Generator, n_users: int, group: str) -> list[dict[str, Any]]:
    """Three cases a user; an explainer's metrics lie above (where lower is better, below) random's by its effect."""
    rows = []
    level = rng.uniform(0.3, 0.7, (n_users, 3))
    for name, effect in EXPLAINERS.items():
        shared = {
            "stage": "fidelity",
            "group": group,
            "explainer": name,
            "masker": "zero",
            "players": "items",
            "output": "logit",
        }
        for u in range(n_users):
            for c in range(3):
                case = shared | {"user": f"u{u}", "item": f"{group}{u}-{c}"}
                for metric, k, step in _fidelity_columns():
                    sign = -1 if metric.startswith(LOWER) else 1
                    # Curves fall (deletion) or rise (insertion) over the steps, as the real ones do.
                    along = sign * ((step or 0.5) - 0.5) if metric.endswith("_curve") else 0
                    value = level[u, c] + sign * effect + along + rng.normal(0, 0.05)
                    rows.append(row(**case, metric=metric, k=k, step=step, value=float(value)))
                if name != "random":
                    rows.append(row(**case, metric="removal_gain", value=float(effect + rng.normal(0, 0.05))))
        rows += [row(**shared, metric="n_flagged", value=2.0), row(**shared, metric="n_left_out", step=5.0, value=3.0)]
    return rows


def _fidelity_columns() -> list[tuple[str, int | None, float | None]]:
    plain = (
        "deletion",
        "deletion_normalised",
        "insertion",
        "insertion_normalised",
        "comprehensiveness",
        "sufficiency",
        "cdcg",
        "sparsity",
    )
    columns: list[tuple[str, int | None, float | None]] = [(name, None, None) for name in plain]
    columns += [(name, k, None) for name in ("pos_at_k", "neg_at_k") for k in (1, 10, 100)]
    columns += [(name, None, step / 10) for name in ("deletion_curve", "insertion_curve") for step in range(1, 10)]
    return columns + [("deletion_discrete", None, float(step)) for step in range(1, 6)]


def cost_rows(rng: np.random.Generator, n_users: int) -> list[dict[str, Any]]:
    """Costs by stage, and by explainer and case of the group new."""
    rows = []
    for stage, wall in (("fit", 60.0), ("rank", 4.0), ("explain", 30.0), ("fidelity", 12.5)):
        for metric, value in (("wall_seconds", wall), ("cpu_seconds", 2 * wall), ("peak_memory_mb", 1000 + wall)):
            rows.append(row(stage="cost", output=stage, metric=metric, value=value))
    for name in EXPLAINERS:
        shared = {
            "stage": "cost",
            "group": "new",
            "explainer": name,
            "masker": "zero",
            "players": "items",
            "output": "logit",
        }
        for u in range(n_users):
            case = shared | {"user": f"u{u}", "item": f"new{u}-0"}
            rows.append(row(**case, metric="forwards", value=100.0 + u))
            rows.append(row(**case, metric="milliseconds", value=float(rng.uniform(1, 9))))
    return rows


def share_rows(rng: np.random.Generator, n_users: int) -> list[dict[str, Any]]:
    """Shares of score variance by part and case."""
    shares = {"prior": 0.2, "repeat": 0.5, "attention": 0.1, "linear": 0.2}
    return [
        row(stage="explain", group="new", explainer=part, metric="part_share", user=f"u{u}", item=f"new{u}-{c}")
        | {"value": share + float(rng.normal(0, 0.02))}
        for part, share in shares.items()
        for u in range(n_users)
        for c in range(3)
    ]  # fmt: skip


def case_frames(rng: np.random.Generator, n_users: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """cases and attributions; item and player names cycle through the hostile ones."""
    cases, attributions = [], []
    for number, (group, u, c) in enumerate(
        (g, u, c) for g in ("new", "repeat") for u in range(min(n_users, 8)) for c in range(3)
    ):
        n_players = 12 + u
        item = f"{group}{u}-{c}"
        name = HOSTILE[(u + c) % len(HOSTILE)]
        cases.append(
            {
                "case": number,
                "part": "test",
                "user": f"u{u}",
                "item": item,
                "item_name": name,
                "group": group,
                "position": c + 1,
                "n_players": n_players,
            }
        )
        for explainer in EXPLAINERS:
            values = rng.normal(0.1, 0.3, n_players)
            for p in range(n_players):
                player = f"{HOSTILE[p % len(HOSTILE)]} no. {p}" if p < 6 else f"PLAIN PRODUCT {p}"
                attributions.append(
                    {
                        "case": number,
                        "explainer": explainer,
                        "player": f"p{p}",
                        "player_name": player,
                        "age": float(1 + (p * 5) % 13),
                    }
                    | {"strength": float(1 + (p * 3) % 7), "value": float(values[p])}
                    | {"standard_error": 0.01 if explainer == "permutation_shap" else None}
                )
    return pl.DataFrame(cases), pl.DataFrame(attributions, schema_overrides={"standard_error": pl.Float64})


def metric_lines(rng: np.random.Generator, n_epochs: int = 6) -> list[dict[str, Any]]:
    """metrics.jsonl: twenty steps an epoch, the adversarial term switched off."""
    lines = []
    for step in range(n_epochs * 20):
        fall = float(np.exp(-step / 40))
        line = {
            "step": step,
            "epoch": step // 20,
            "seconds": step * 0.1,
            "loss/total": 5 + 3 * fall + rng.normal(0, 0.2),
        }
        line |= {
            "loss/raw/reconstruction": 5 + 3 * fall,
            "loss/weighted/reconstruction": 5 + 3 * fall,
            "loss/weighted/kl": 0.2 * (1 - fall),
        }
        line |= {"loss/off/adversarial": 1, "discriminator_loss": 0.7 + float(rng.normal(0, 0.05))}
        if step % 20 == 19:
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
    directory: Path, n_users: int = 30, stages: tuple[str, ...] = ("rank", "explain", "fidelity", "cost")
) -> Path:
    """Write the run; rows of stages that are not named stay out, as in a run with `stages=[...]`."""
    rng = np.random.default_rng(7)
    directory.mkdir(parents=True, exist_ok=True)
    rows = ranking_rows(rng, n_users) + share_rows(rng, n_users) + cost_rows(rng, n_users)
    for group in ("new", "repeat"):
        rows += fidelity_rows(rng, n_users, group)
    results_frame([r for r in rows if r["stage"] in stages]).write_parquet(directory / "results.parquet")
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metric_lines(rng)))
    cases, attributions = case_frames(rng, n_users)
    cases.write_parquet(directory / "cases.parquet")
    attributions.write_parquet(directory / "attributions.parquet")
    (directory / "data_card.json").write_text(json.dumps(data_card()))
    (directory / "config.yaml").write_text(f'seed: 0\nthreads: 2\nexperiment: toy\nnote: "{SCRIPT}"\n')
    (directory / "overrides.yaml").write_text("- experiment=quickstart\n- seed=0\n")
    return directory


def write_study(directory: Path) -> Path:
    """Six trials by accuracy and fidelity, both to be maximised; 1, 3 and 4 are the front; trial 5 failed."""
    names = ["validation_ndcg_at_10_new", "validation_removal_gain"]
    points = [(0.050, 0.10), (0.060, 0.40), (0.055, 0.30), (0.070, 0.20), (0.065, 0.35)]
    for number, point in enumerate(points):
        trial = directory / str(number)
        trial.mkdir(parents=True)
        (trial / "objectives.json").write_text(json.dumps(dict(zip(names, point, strict=True))))
    (directory / "5").mkdir()
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
