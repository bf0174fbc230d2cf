"""Run directories of a toy whose tables over seeds can be worked out by hand: two arms, three seeds, four users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from xrec.rundir.directory import RunDirectory
from xrec.rundir.table import Rows
from xrec.types import Metric

USERS = ("a", "b", "c", "d")
STAGES = ("fit", "rank", "explain", "fidelity", "report")
RANKING = (
    Metric("ndcg", "NDCG", "higher", ".4f", headline=True),
    Metric("recall", "Recall", "higher", ".4f", headline=True),
    Metric("gini", "Gini", "lower", ".4f"),
)
FIDELITY = (
    Metric("deletion", "Deletion", "lower", ".3f", family="scores", headline=True),
    Metric("removal_gain", "Removal gain", "higher", ".3f", family="scores", headline=True),
    Metric("share", "Share", "higher", ".3f"),
    Metric("n_flagged", "Flagged", None, ",.0f"),
)
#: NDCG@10 of arm `target` by seed: means .25, .28, .31
TARGET = {0: (0.10, 0.20, 0.30, 0.40), 1: (0.13, 0.23, 0.33, 0.43), 2: (0.16, 0.26, 0.36, 0.46)}
#: what arm `mean` has more: .05, .1, -.05 by seed; averaged over seeds .0667, 0, 0, .0667 by user
MORE = {0: (0.1, 0.1, -0.1, 0.1), 1: (0.2, 0.0, 0.1, 0.1), 2: (-0.1, -0.1, 0.0, 0.0)}
#: removal gain by user and item, the same at every seed
GAINS = {"a/1": 0.2, "a/2": 0.4, "b/1": 0.5}


def config(seed: int = 0, attention: str = "target", **dotted: Any) -> dict[str, Any]:
    """A resolved config; dotted: further settings, `split__fold=1` for split.fold."""
    document: dict[str, Any] = {
        "seed": seed,
        "threads": 1,
        "stages": list(STAGES),
        "paths": {"runs": "runs"},
        "data": {"clean": {"min_item_users": 5}, "source": {"_target_": "xrec.toy.Toy", "path": "toy"}},
        "split": {"_target_": "xrec.split.Temporal", "train_end": 43},
        "model": {
            "name": "composed",
            "attention": {"_target_": f"xrec.models.attention.{attention}.{attention.title()}"},
        },
        "training": {"learning_rate": 0.01, "log_every": 1},
    }
    for path, value in dotted.items():
        *nodes, last = path.split("__")
        inner = document
        for node in nodes:
            inner = inner.setdefault(node, {})
        inner[last] = value
    return document


def toy_ndcg(seed: int, attention: str) -> Mapping[str, float]:
    """NDCG@10 by user."""
    more = MORE[seed] if attention == "mean" else (0.0,) * 4
    return {user: x + y for user, x, y in zip(USERS, TARGET[seed], more, strict=True)}


def write_run(
    path: Path,
    settings: Mapping[str, Any],
    ndcg: Mapping[str, float] | None = None,
    *,
    gains: Mapping[str, float] | None = None,
    stages: Sequence[str] = STAGES,
    data: str = "sha",
    baseline: float = 0.2,
    part: str = "test",
    left_out: Sequence[str] = (),
    others: Mapping[str, float] | None = None,
) -> Path:
    """A run directory with `stages` finished.

    Args:
        ndcg: NDCG@10 of the model by user, which its Recall@10 exceeds by .1; the baseline `ease` has `baseline`.
        gains: removal gain of the explainer `exact` by 'user/item'; the deletion of `random` is 1, that of `exact` 1
            minus the gain, both times 2 before they are normalised.
        left_out: cases in which `exact` was not measured, and the others have a deletion of 5. others: further
            explainers, how many times the gain of `exact` is theirs.
    """
    settings = dict(settings)
    shared = {"data": "toy", "split": "temporal", "model": settings["model"]["name"], "seed": settings["seed"]}
    shared |= {"split_seed": settings["split"].get("seed"), "fold": settings["split"].get("fold"), "part": part}
    rows = {"rank": Rows(RANKING, stage="rank", **shared), "fidelity": Rows(FIDELITY, stage="fidelity", **shared)}
    ndcg = toy_ndcg(settings["seed"], "target") if ndcg is None else ndcg
    for group, users in (("all", list(ndcg)), ("new", list(ndcg)[:3])):
        of = {"group": group, "user": users}
        rows["rank"].add("ndcg", [ndcg[u] for u in users], k=10, **of)
        rows["rank"].add("recall", [ndcg[u] + 0.1 for u in users], k=10, **of)
        rows["rank"].add("ndcg", [baseline] * len(users), k=10, **of | {"model": "ease"})
        rows["rank"].add("gini", 0.5 + 0.1 * settings["seed"], k=10, group=group)
        # an ablation and another part, which no table here is about
        rows["rank"].add("ndcg", [9.0] * len(users), k=10, **of | {"component": "attention"})
        rows["rank"].add("ndcg", [9.0] * len(users), k=10, **of | {"part": "train"})
    _add_fidelity(rows["fidelity"], GAINS if gains is None else gains, settings, left_out, others or {})
    with RunDirectory(path) as run:
        run.begin(yaml.safe_dump(settings, sort_keys=False), [], data, {"data_card.json": {"name": "toy"}})
        for stage in stages:
            run.finish(stage, [rows.get(stage, Rows(()))], [], "random" if stage == "fidelity" else None)
    return path


def _add_fidelity(
    rows: Rows,
    gains: Mapping[str, float],
    settings: Mapping[str, Any],
    left_out: Sequence[str],
    others: Mapping[str, float],
) -> None:
    about = {"group": "new", "few": False, "masker": settings.get("masker", {}).get("name", "zero")}
    about |= {"players": "items", "output": "logit"}
    for explainer, times in {"random": 0.0, "exact": 1.0, **others}.items():
        cases = [case for case in gains if explainer != "exact" or case not in left_out]
        gain = [times * gains[case] for case in cases]
        users, items = (list(ids) for ids in zip(*(case.split("/") for case in cases), strict=True))
        own = about | {"user": users, "item": items, "explainer": explainer}
        own["role"] = "control" if explainer == "random" else "explainer"
        rows.add("deletion", [5.0 if c in left_out else 2 * (1 - g) for c, g in zip(cases, gain, strict=True)], **own)
        rows.add("deletion", [1 - g for g in gain], **own | {"variant": "normalised"})
        rows.add("deletion", [7.0] * len(gain), **own | {"variant": "curve", "step": 0.1})
        rows.add("share", gain, **own | {"variant": "normalised"})
        if explainer != "random":
            rows.add("removal_gain", gain, **own)
    rows.add("n_flagged", 0, **about)


def write_multirun(folder: Path, seeds: Sequence[int] = (0, 1, 2), **run: Any) -> Path:
    """A multirun over seeds and both attentions, numbered as Hydra does: seed 0 target, seed 0 mean, seed 1 target."""
    pairs = [(seed, attention) for seed in seeds for attention in ("target", "mean")]
    for number, (seed, attention) in enumerate(pairs):
        write_run(folder / str(number), config(seed, attention), toy_ndcg(seed, attention), **run)
    return folder
