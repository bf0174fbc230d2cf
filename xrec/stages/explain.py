"""Stage explain: every explainer on every case, in shards that survive a kill."""

from __future__ import annotations

import functools
import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import torch

from xrec.config.instantiate import instantiate
from xrec.explain.explainer import Explainer
from xrec.files import whole_file
from xrec.games.fitting import Fitting
from xrec.games.model_game import ModelGame, Rules
from xrec.models.recommender import Recommender
from xrec.rundir.explanations import answer_rows, player_rows, write_explanations
from xrec.rundir.table import Rows
from xrec.stages.cases import CASES, case_chunks, choose_cases, games_of, games_of_others, rules_of, save_cases
from xrec.stages.learned import MASKER, learn, learned_file
from xrec.stages.run import Done, Run, progress
from xrec.types import Attribution, Case, Metric

log = logging.getLogger(__name__)

METRICS = (
    Metric("n_cases", "Cases", None, ",.0f", "Recommendations that were explained."),
    Metric("n_without_foil", "Without foil", None, ",.0f", "Recommendations left out: nothing to hold them against."),
    Metric(
        "component_share",
        "Share of score variance",
        None,
        ".1%",
        "Share of the variance of the score over the top 100 that comes from one component of the model.",
    ),
    Metric(
        "sampling_error",
        "Sampling error",
        "lower",
        ".1%",
        "L2 norm of the standard errors of an attribution over that of its values, where an explainer samples and "
        "knows how exact it is.",
    ),
    Metric(
        "target_missed",
        "Target missed",
        "lower",
        ".1%",
        "Share of cases whose sampling error is above the explainer's target_error: its budget was spent before.",
    ),
    Metric(
        "flat",
        "Flat",
        "lower",
        ".1%",
        "Share of cases of two or more players that all have the same value: nothing is explained.",
    ),
)
COSTS = (
    Metric(
        "forwards",
        "Forwards",
        "lower",
        ",.0f",
        "Masked copies of a history that the model scored to explain a case.",
    ),
    Metric(
        "milliseconds",
        "ms",
        "lower",
        ",.1f",
        "Wall time to explain a case; compare within one run on one machine only.",
    ),
)
#: what a shard holds
_TABLES = ("players", "answers", "shares")


def explainers(run: Run) -> dict[str, Explainer]:
    """The chosen explainers by name."""
    nodes = run.config.get("explainer") or {}
    return {str(name): instantiate(node) for name, node in nodes.items()}


def explain(run: Run, model: Recommender) -> Done:
    """Write cases.parquet, attributions.parquet and explanations.parquet, and what was learned for them; cost rows per
    explainer, shares of the components.

    Raises:
        SettingError: an explainer, the masker or the output needs what the model does not have.
    """
    rules, chosen = rules_of(run), explainers(run)
    _check(model, rules, chosen)
    found = choose_cases(run, model, rules)
    frame = save_cases(run, found.cases, rules)
    learned = _learn(run, model, rules, chosen, found.cases)
    chunks = case_chunks(run, found.cases)
    shards = run.store.path("shards")
    shards.mkdir(exist_ok=True)
    # Last of a shard's files, so that a shard with answers is whole.
    missing = [i for i in range(len(chunks)) if not _path(shards, i, "answers").is_file()]
    games = games_of(run, model, rules, [chunks[i] for i in missing])
    for i, game in progress(zip(missing, games, strict=True), total=len(missing), description="explain"):
        if i == missing[0]:
            _warm_up(run, model, rules, chunks[i], chosen)
        _write_shard(shards, i, run, game, chosen)
    players, answers, shares = (
        pl.concat([pl.read_parquet(_path(shards, i, name)) for i in range(len(chunks))]) if chunks else pl.DataFrame()
        for name in _TABLES
    )
    files = write_explanations(run.store.directory, players, answers) if chunks and chosen else []
    rows = run.rows("explain", METRICS, part=run.config.cases.part)
    rows.add("n_cases", len(found.cases))
    for group, n in found.without_foil.items():
        rows.add("n_without_foil", n, group=group, **rules.names)
    cost = run.rows("cost", COSTS, part=run.config.cases.part, cost_of="explain")
    if chunks:
        _add_shares(rows, shares.join(frame, on="case"))
        targets = {name: explainer.target_error for name, explainer in chosen.items()}
        _add_flags(rows, players, answers.join(frame, on="case"), targets)
        _add_costs(cost, answers.join(frame, on="case"))
    shutil.rmtree(shards)
    return Done([rows, cost], [CASES, *learned, *files])


def _check(model: Recommender, rules: Rules, chosen: Mapping[str, Explainer]) -> None:
    able = rules.capabilities(model)
    for name, explainer in chosen.items():
        explainer.check(name, able, f"model {type(model).__name__} with output {rules.output.name}")


def _learn(
    run: Run, model: Recommender, rules: Rules, chosen: Mapping[str, Explainer], cases: Sequence[Case]
) -> list[str]:
    """Fit the masker and the explainers, or take over what an interrupted attempt has learned; the files it is in."""
    games = functools.partial(games_of_others, run, model, rules, cases)
    fitting = Fitting(run.dataset, run.seed, run.device, progress)
    learners = {MASKER: rules.masker, **{f"explainer.{name}": explainer for name, explainer in chosen.items()}}
    for name, learner in learners.items():  # the masker first: the games have one
        learn(run, name, learner, fitting if name == MASKER else replace(fitting, games=games))
    return [file for file in map(learned_file, learners) if run.store.path(file).is_file()]


def _warm_up(run: Run, model: Recommender, rules: Rules, chunk: tuple[Case, ...], chosen: dict[str, Explainer]) -> None:
    """Explain one case for nothing: what compiles or loads itself at its first call is no cost of the first cases."""
    game = next(games_of(run, model, rules, [chunk[:1]]))
    for name, explainer in chosen.items():
        explainer.attribute(game, run.seed, name)


def _write_shard(shards: Path, number: int, run: Run, game: ModelGame, chosen: dict[str, Explainer]) -> None:
    attributions = [
        explainer.attribute(game, run.seed, name, draw)
        for name, explainer in chosen.items()
        for draw in range(explainer.n_draws)
    ]
    tables = {
        "players": pl.concat([_player_rows(game, a) for a in attributions]) if attributions else pl.DataFrame(),
        "shares": _shares(game),
        "answers": pl.concat([answer_rows(a) for a in attributions]) if attributions else pl.DataFrame(),
    }
    for name, frame in tables.items():
        with whole_file(_path(shards, number, name)) as temporary:
            frame.write_parquet(temporary)


def _path(shards: Path, number: int, name: str) -> Path:
    return shards / f"{number:05d}.{name}.parquet"


def _player_rows(game: ModelGame, attribution: Attribution) -> pl.DataFrame:
    """Beside the values: names, age of the youngest item, summed strength and number of items."""
    players, history = game.players, game.history
    real = players.real
    return player_rows(
        attribution,
        player_name=[name for names in players.names for name in names],
        age=players.least(history.age)[real].tolist(),
        strength=players.pooled(history.strength)[real].tolist(),
        n_items=players.pooled(history.presence)[real].long().tolist(),
    )


def _shares(game: ModelGame) -> pl.DataFrame:
    """What each component contributes: cov(component, score) / var(score) over the 100 best candidates; shares sum to
    1."""
    schema = {"case": pl.Int64, "component": pl.String, "share": pl.Float64}
    if "components" not in game.model.capabilities.names():
        return pl.DataFrame(schema=schema)
    with torch.no_grad():
        parts = {name: p[:, 0].double() for name, p in game.model.component_scores(game.context).items()}
    whole = torch.stack(list(parts.values())).sum(0)
    n_best = min(100, int(game.candidates.sum(1).min()))
    best = whole.masked_fill(~game.candidates, -torch.inf).topk(n_best, dim=1).indices
    centred = whole.gather(1, best)
    centred = centred - centred.mean(1, keepdim=True)
    variance = centred.square().sum(1)
    shares = {name: (p.gather(1, best) * centred).sum(1) / variance for name, p in parts.items()}
    cases = [c.index for c in game.cases]
    frames = [
        pl.DataFrame({"case": cases, "component": name, "share": s.cpu().numpy()}, schema=schema)
        for name, s in shares.items()
    ]
    return pl.concat(frames)


def _add_shares(rows: Rows, shares: pl.DataFrame) -> None:
    """Shares by component and group of cases, where the score varies at all."""
    shares = shares.filter(pl.col("share").is_finite())
    for (component, group, few), piece in _pieces(shares.sort("component", "case"), "component", "group", "few"):
        columns = {"component": component, "group": group, "few": few}
        rows.add("component_share", piece["share"].to_numpy(), **columns, **_whose(piece))


def _add_flags(rows: Rows, players: pl.DataFrame, answers: pl.DataFrame, targets: Mapping[str, float | None]) -> None:
    """What a reader should know before the values are used: how far sampling may have left them from the truth, and
    whether they say anything. What is wrong is said aloud, too."""
    if not len(answers):
        return
    keys = ["case", "explainer", "draw"]
    value, error = pl.col("value"), pl.col("standard_error")
    of_case = players.group_by(keys).agg(
        sampling_error=pl.when(error.is_not_null().any()).then((error**2).sum().sqrt() / (value**2).sum().sqrt()),
        flat=pl.when(pl.len() > 1).then((value.max() == value.min()).cast(pl.Float64)),
    )
    wanted = answers.join(of_case, on=keys).with_columns(
        target=pl.col("explainer").replace_strict(targets, default=None, return_dtype=pl.Float64)
    )
    missed = pl.col("sampling_error").fill_null(math.inf).fill_nan(math.inf) > pl.col("target")
    wanted = wanted.with_columns(target_missed=pl.when(pl.col("target").is_not_null()).then(missed.cast(pl.Float64)))
    by = ("explainer", "role", "players", "masker", "output", "group", "few")
    for metric in ("sampling_error", "target_missed", "flat"):
        known = wanted.filter(pl.col(metric).is_not_null() & pl.col(metric).is_finite()).sort(
            "explainer", "case", "draw"
        )
        for key, piece in _pieces(known, *by):
            rows.add(metric, piece[metric].to_numpy(), **dict(zip(by, key, strict=True)), **_whose(piece))
    for metric, words in _ALOUD.items():
        for (name,), piece in _pieces(wanted.sort("explainer"), "explainer"):
            if n := piece.filter(pl.col(metric) > 0)["case"].n_unique():
                log.warning("explainer %s: %s %d of %d cases", name, words, n, piece["case"].n_unique())


#: flags that are said aloud
_ALOUD = {
    "target_missed": "the budget was spent before the target error was reached in",
    "flat": "all players have the same value in",
}


def _add_costs(cost: Rows, answers: pl.DataFrame) -> None:
    """Forwards and milliseconds of every case and draw."""
    keys = ("explainer", "role", "players", "masker", "output", "group", "few")
    for key, piece in _pieces(answers.sort("explainer", "case", "draw"), *keys):
        columns = {**dict(zip(keys, key, strict=True)), **_whose(piece)}
        cost.add("forwards", piece["forwards"].to_numpy(), **columns)
        cost.add("milliseconds", piece["seconds"].to_numpy() * 1000.0, **columns)


def _pieces(frame: pl.DataFrame, *keys: str) -> list[tuple[tuple[object, ...], pl.DataFrame]]:
    return list(frame.partition_by(*keys, as_dict=True, maintain_order=True).items())


def _whose(piece: pl.DataFrame) -> dict[str, list[str]]:
    return {"user": piece["user"].to_list(), "item": piece["item"].to_list()}
