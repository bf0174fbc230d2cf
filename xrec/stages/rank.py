"""Stage rank: the model, its ablations and the baselines on the full catalogue, in one pass over the users."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from xrec.errors import RunError
from xrec.models.history import History
from xrec.models.recommender import Recommender, checked_scores
from xrec.ranking.evaluate import Ranking, RankingSettings, evaluate
from xrec.ranking.metrics import METRICS
from xrec.rundir.table import Rows
from xrec.stages.fit import build
from xrec.stages.parts import ranked_parts
from xrec.stages.run import Done, Run, by_length, progress, release_memory
from xrec.types import Ints

log = logging.getLogger(__name__)


def rank(run: Run, model: Recommender) -> Done:
    """Per-user values and totals for every part of `ranking.parts`; null: all that the split has."""
    models: dict[str, Recommender] = {str(run.config.model.name): model}
    for node in (run.config.get("baselines") or {}).values():
        if node.name not in models:
            models[node.name] = build(run, node)
            models[node.name].fit(run.fit_data())
    rows = run.rows("rank", METRICS)
    if "validation" not in run.dataset.parts:
        log.info("split %s has no validation part: only test is ranked", run.dataset.card["split"]["name"])
    for part in ranked_parts(run):
        for (name, component), groups in rank_part(run, models, part).items():
            for group, ranking in groups.items():
                _add(run, rows, ranking, part=part, model=name, component=component, group=group)
    return Done([rows])


NO_COLD = "ranking.groups names cold, but split {} has no cold items; use split=cold_item"


def check_groups(run: Run) -> None:
    """Raises: RunError, when cold items are to be ranked where there are none."""
    for part in ranked_parts(run):
        if "cold" in run.config.ranking.groups and run.dataset.cold_items(part) is None:
            raise RunError(NO_COLD.format(run.dataset.card["split"]["name"]))


#: a model's name, and the component that was left out of it
Ranked = tuple[str, str | None]


def rank_part(run: Run, models: Mapping[str, Recommender], part: str) -> dict[Ranked, dict[str, Ranking]]:
    """Rankings of one part by model (whole, and without each of its components) and group."""
    first, last = run.dataset.period(part)
    table, targets = run.dataset.histories(first), run.dataset.targets(first, last)
    users = np.flatnonzero(np.diff(targets.indptr) > 0)
    ranking, cold = run.config.ranking, run.dataset.cold_items(part)
    groups = dict.fromkeys((*ranking.groups, *(("cold",) if cold is not None else ())))
    chunks = by_length(users, table.lengths(), ranking.chunk_size)
    settings = RankingSettings(
        **{name: tuple(OmegaConf.to_container(ranking[name])) for name in ("ndcg", "recall", "map", "coverage")}  # type: ignore[arg-type]
    )

    def score(chunk: Ints) -> dict[Ranked, Tensor]:
        history = History.from_table(table, chunk, run.device)
        scores: dict[Ranked, Tensor] = {}
        with torch.no_grad():
            for name, model in models.items():
                scores |= _scores(name, model, history, ablate=ranking.ablations)
        return scores

    def with_memory_released() -> Iterator[Ints]:
        for number, chunk in enumerate(progress(chunks, total=len(chunks), description=f"rank {part}")):
            if number % 64 == 0:
                release_memory()
            yield chunk

    return evaluate(
        score, with_memory_released(), table, targets, run.popularity(), groups, settings, cold,
    )  # fmt: skip


def _scores(name: str, model: Recommender, history: History, *, ablate: bool) -> dict[Ranked, Tensor]:
    """The model's scores [B, I] and, for a composed model, those with each component switched off."""
    context = model.prepare(history)
    if not (ablate and model.capabilities.components):
        return {(name, None): checked_scores(model, context)[:, 0]}
    return {(name, left_out): scores[:, 0] for left_out, scores in model.ablations(context).items()}


def _add(run: Run, rows: Rows, ranking: Ranking, **columns: str | None) -> None:
    ids = np.array(run.dataset.catalogue.user_ids, dtype=object)[ranking.top.users].tolist()
    for (metric, k), values in ranking.values.items():
        rows.add(metric, values, k=k, user=ids, **columns)
    for (metric, k), value in ranking.totals.items():
        rows.add(metric, value, k=k, **columns)
