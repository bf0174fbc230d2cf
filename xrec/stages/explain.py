"""Stage explain: every explainer on every case, in shards that survive a kill."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import torch

from xrec.config.instantiate import instantiate
from xrec.explain.base import Explainer
from xrec.files import whole_file
from xrec.masking.value import ValueFunction
from xrec.models.base import Recommender
from xrec.models.composed import Composed
from xrec.stages.cases import case_chunks, channel, choose_cases, save_cases, value_functions
from xrec.stages.run import Run, progress
from xrec.types import Attribution


def explainers(run: Run) -> dict[str, Explainer]:
    """The chosen explainers by name."""
    nodes = run.config.get("explainer") or {}
    return {str(name): instantiate(node) for name, node in nodes.items()}


def explain(run: Run, model: Recommender) -> None:
    """Write cases.parquet, attributions.parquet, cost rows per explainer and the parts' shares."""
    cases = choose_cases(run, model)
    save_cases(run, cases, run.store.path("cases.parquet"))
    chunks, chosen = case_chunks(run, cases), explainers(run)
    shards = run.store.path("shards")
    shards.mkdir(exist_ok=True)
    paths = [shards / f"{i:05d}.parquet" for i in range(len(chunks))]
    missing = [i for i, path in enumerate(paths) if not path.is_file()]
    values = value_functions(run, model, [chunks[i] for i in missing])
    for i, value in progress(zip(missing, values, strict=True), total=len(missing), description="explain"):
        frame = pl.concat([_rows(run, value, chosen), _shares(model, value)], how="diagonal")
        with whole_file(paths[i]) as temporary:
            frame.write_parquet(temporary)
    everything = pl.concat([pl.read_parquet(p) for p in paths], how="diagonal") if paths else pl.DataFrame()
    _finish(run, everything, len(cases))
    shutil.rmtree(shards)


def _rows(run: Run, value: ValueFunction, chosen: dict[str, Explainer]) -> pl.DataFrame:
    frames = [
        _frame(run, value, explainer.attribute(value, run.seed, name, draw), draw)
        for name, explainer in chosen.items()
        for draw in range(explainer.n_draws)
    ]
    return pl.concat(frames) if frames else pl.DataFrame()


def _frame(run: Run, value: ValueFunction, attribution: Attribution, draw: int) -> pl.DataFrame:
    """One row per case and player."""
    n, names = value.n_players, run.dataset.catalogue.item_names
    real = np.arange(value.width) < n[:, None]
    return pl.DataFrame(
        {
            "case": np.repeat([c.index for c in attribution.cases], n),
            "explainer": attribution.explainer,
            "draw": draw,
            "player": [p for ids in attribution.player_ids for p in ids],
            "player_name": [names[i] for i in channel(value, "item")],
            "age": channel(value, "age"),
            "strength": channel(value, "strength"),
            "value": attribution.values[real],
            "standard_error": pl.Series([None], dtype=pl.Float64).new_from_index(0, int(n.sum())),
            "signed": attribution.signed,
            "complete": attribution.complete,
            "n_forwards": np.repeat(attribution.n_forwards, n),
            "milliseconds": np.repeat(attribution.seconds * 1000.0, n),
        }
    )


def _shares(model: Recommender, value: ValueFunction) -> pl.DataFrame:
    """What each part contributes: cov(part, score) / var(score) over the 100 best candidates; shares sum to 1."""
    if not isinstance(model, Composed):
        return pl.DataFrame()
    with torch.no_grad():
        parts = {name: p[:, 0].double() for name, p in model.parts(value.context).items()}
    whole = torch.stack(list(parts.values())).sum(0)
    n_best = min(100, int(value.candidates.sum(1).min()))
    best = whole.masked_fill(~value.candidates, -torch.inf).topk(n_best, dim=1).indices
    centred = whole.gather(1, best)
    centred = centred - centred.mean(1, keepdim=True)
    shares = {name: (p.gather(1, best) * centred).sum(1) / centred.square().sum(1) for name, p in parts.items()}
    frames = [
        pl.DataFrame({"case": [c.index for c in value.cases], "part_name": name, "share": s.cpu().numpy()})
        for name, s in shares.items()
    ]
    return pl.concat(frames)


def _finish(run: Run, everything: pl.DataFrame, n_cases: int) -> None:
    cases = pl.read_parquet(run.store.path("cases.parquet"))
    rows = run.rows("explain", part=run.config.cases.part)
    if "share" in everything.columns:
        shares = everything.filter(pl.col("share").is_not_null()).join(cases, on="case").sort("part_name", "case")
        for (name, group), piece in shares.partition_by(
            "part_name", "group", as_dict=True, maintain_order=True
        ).items():
            users, items = piece["user"].to_list(), piece["item"].to_list()
            rows.add("part_share", piece["share"].to_numpy(), explainer=name, group=group, user=users, item=items)
    rows.add("n_cases", n_cases)
    run.save("explain", rows)
    cost = run.rows("cost", part=run.config.cases.part, output="explainers", masker="zero", players="items")
    attributions = (
        everything.filter(pl.col("explainer").is_not_null()) if "explainer" in everything.columns else pl.DataFrame()
    )
    if attributions.height:
        per_case = (
            attributions.group_by("case", "explainer", "draw")
            .agg(pl.first("n_forwards", "milliseconds"))
            .join(cases, on="case")
        )
        for (name, group), piece in (
            per_case.sort("case", "draw").partition_by("explainer", "group", as_dict=True).items()
        ):
            users, items = piece["user"].to_list(), piece["item"].to_list()
            cost.add("forwards", piece["n_forwards"].to_numpy(), explainer=name, group=group, user=users, item=items)
            cost.add(
                "milliseconds", piece["milliseconds"].to_numpy(), explainer=name, group=group, user=users, item=items
            )
        keep = [c for c in attributions.columns if c not in ("part_name", "share", "n_forwards", "milliseconds")]
        _write(attributions.select(keep), run.store.path("attributions.parquet"))
    run.save("cost", cost)


def _write(frame: pl.DataFrame, path: Path) -> None:
    with whole_file(path) as temporary:
        frame.write_parquet(temporary)
