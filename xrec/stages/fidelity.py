"""Stage fidelity: every metric on every saved attribution, and the removal gain that sweeps look at."""

from __future__ import annotations

import numpy as np
import polars as pl

from xrec.config.instantiate import instantiate
from xrec.explain.base import case_seed
from xrec.fidelity.base import DISCRETE, FidelityMetric, Measured, Removal, effect
from xrec.masking.value import ValueFunction
from xrec.models.base import Recommender
from xrec.stages.cases import case_chunks, load_cases, value_functions
from xrec.stages.run import Run, progress
from xrec.tracking.results import Rows
from xrec.types import Attribution, Case, Doubles

#: metric, k, step
Key = tuple[str, int | None, float | None]


def fidelity(run: Run, model: Recommender) -> None:
    """Measure the attributions saved in the run's directory."""
    source = run.store.directory
    cases = load_cases(run, source / "cases.parquet")
    if cases and not (source / "attributions.parquet").is_file():
        raise FileNotFoundError(
            f"{source}/attributions.parquet is missing: run the stage explain with at least one explainer first"
        )
    saved = pl.read_parquet(source / "attributions.parquet") if cases else pl.DataFrame()
    metrics = [instantiate(node) for node in (run.config.get("fidelity") or {}).values()]
    chunks = case_chunks(run, cases)
    part = cases[0].part if cases else run.config.cases.part
    rows = run.rows("fidelity", part=part, output="logit", masker=instantiate(run.config.masker).name)
    rows.common["players"] = instantiate(run.config.players).name
    counts: dict[tuple[str, str, int | None], int] = {}
    for value in progress(value_functions(run, model, chunks), total=len(chunks), description="fidelity"):
        inside = saved.filter(pl.col("case").is_in([c.index for c in value.cases]))
        measured = {}
        for name in saved["explainer"].unique(maintain_order=True):
            draws = _draws(run, value, inside.filter(pl.col("explainer") == name), metrics)
            measured[name] = {key: np.mean([d[key] for d in draws], axis=0) for key in draws[0]}
            if len(draws) > 1:
                measured[f"{name}_best_of_{len(draws)}_oracle"] = _best(draws, metrics)
        scale = effect(value)
        _removal_gain(scale, measured)
        _count(value, scale, counts)
        _add(rows, value, measured)
    for (metric, group, step), n in counts.items():
        rows.add(metric, n, group=group, step=step)
    run.save("fidelity", rows)


def _draws(
    run: Run, value: ValueFunction, saved: pl.DataFrame, metrics: list[FidelityMetric]
) -> list[dict[Key, Doubles]]:
    """Every metric of every draw of one explainer: (metric, k, step) -> per case [B]."""
    result = []
    for draw in saved["draw"].unique().sort():
        attribution = _attribution(value, saved.filter(pl.col("draw") == draw))
        seeds = [case_seed(run.seed, case, "ties") for case in value.cases]
        removal = Removal(value, attribution, seeds)
        found: list[Measured] = [m for metric in metrics for m in metric.measure(removal)]
        result.append({(m.metric, m.k, m.step): m.values for m in found})
    return result


def _attribution(value: ValueFunction, saved: pl.DataFrame) -> Attribution:
    values = np.full((len(value), value.width), np.nan)
    for row, case in enumerate(value.cases):
        mine = saved.filter(pl.col("case") == case.index)
        if tuple(mine["player"]) != value.player_ids[row]:
            raise ValueError(
                f"case {case.index} (user {case.user_id}): the saved players are not those of this history; "
                "explain again"
            )
        values[row, : mine.height] = mine["value"].to_numpy()
    unknown = np.full(len(value), np.nan)
    return Attribution(
        explainer=saved["explainer"][0],
        cases=value.cases,
        player_ids=value.player_ids,
        values=values,
        output=value.output,
        masker=value.settings.masker.name,
        signed=saved["signed"][0],
        complete=saved["complete"][0],
        baseline=unknown,
        n_forwards=np.zeros(len(value), dtype=np.int64),
        seconds=unknown,
    )


def _best(draws: list[dict[Key, Doubles]], metrics: list[FidelityMetric]) -> dict[Key, Doubles]:
    """The oracle control: per case and metric the best of the draws. It looks at the metric, so it is ranked apart."""
    directions = {name: sign for metric in metrics for name, sign in metric.directions.items()}
    best = {}
    for key in draws[0]:
        sign = directions.get(key[0].removesuffix("_discrete"))
        if sign is not None:
            best[key] = sign * np.max([sign * d[key] for d in draws], axis=0)
    return best


def _removal_gain(scale: Doubles, measured: dict[str, dict[Key, Doubles]]) -> None:
    """(Deletion of random - Deletion of the explainer) / (f(x) - f(empty)), per case."""
    key: Key = ("deletion", None, None)
    if "random" not in measured or key not in measured["random"]:
        return
    reference = measured["random"][key]
    for name, found in measured.items():
        if name != "random":
            found[("removal_gain", None, None)] = (reference - found[key]) / scale


def _count(value: ValueFunction, scale: Doubles, counts: dict[tuple[str, str, int | None], int]) -> None:
    """Cases flagged for normalisation, and cases too short for a discrete removal, by group; zeros are counted too."""
    for case, flagged, n_players in zip(value.cases, np.isnan(scale), value.n_players, strict=True):
        for key, hit in [(("n_flagged", case.group, None), flagged)] + [
            (("n_left_out", case.group, step), n_players <= step) for step in DISCRETE
        ]:
            counts[key] = counts.get(key, 0) + int(hit)


def _add(rows: Rows, value: ValueFunction, measured: dict[str, dict[Key, Doubles]]) -> None:
    """One row per case that has a value."""
    for group in dict.fromkeys(c.group for c in value.cases):
        mine = np.array([c.group == group for c in value.cases])
        for name, found in measured.items():
            for (metric, k, step), values in found.items():
                used = mine & np.isfinite(values)
                if used.any():
                    users, items = _ids(value.cases, used)
                    rows.add(metric, values[used], explainer=name, group=group, k=k, step=step, user=users, item=items)


def _ids(cases: tuple[Case, ...], used: np.ndarray) -> tuple[list[str], list[str]]:
    chosen = [c for c, u in zip(cases, used, strict=True) if u]
    return [c.user_id for c in chosen], [c.item_id for c in chosen]
