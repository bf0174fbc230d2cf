"""Stage fidelity: every metric on every saved attribution, and the removal gain that sweeps look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from xrec.config.instantiate import instantiate
from xrec.errors import RunError
from xrec.fidelity.measuring import (
    DELETION,
    REMOVAL_GAIN,
    REMOVAL_GAIN_METRIC,
    Values,
    mean_over_draws,
    measure,
    removal_gain,
)
from xrec.fidelity.metric import FidelityMetric
from xrec.fidelity.removal import DISCRETE, effect
from xrec.games.game import Game
from xrec.models.recommender import Recommender
from xrec.rundir.explanations import ATTRIBUTIONS, EXPLANATIONS, Explanations
from xrec.rundir.saved import SavedRun
from xrec.rundir.table import Rows
from xrec.stages.cases import case_chunks, games_of, load_cases, rules_of
from xrec.stages.learned import MASKER, load_learned
from xrec.stages.run import Done, Run, progress
from xrec.types import Attribution, Case, Doubles, Metric, Role

METRICS = (
    REMOVAL_GAIN_METRIC,
    Metric("n_flagged", "Flagged", None, ",.0f", "Cases whose f(x) - f(empty) is too small to normalise by."),
    Metric("n_left_out", "Left out", None, ",.0f", "Cases with too few players for a discrete removal."),
)
#: an explainer's name and role
Who = tuple[str, Role]


def fidelity(run: Run, model: Recommender) -> Done:
    """Measure the attributions saved in the run's directory."""
    cases = load_cases(run)
    saved = _explanations(run) if cases else None
    metrics: list[FidelityMetric] = [instantiate(node) for node in (run.config.get("fidelity") or {}).values()]
    part = cases[0].part if cases else run.config.cases.part
    rules = rules_of(run)
    load_learned(run, MASKER, rules.masker)
    rows = run.rows("fidelity", _declared(metrics), part=part, **rules.names)
    counts: Counter[tuple[str, str, bool, int | None]] = Counter()
    chunks = case_chunks(run, cases)
    reference = None
    for game in progress(games_of(run, model, rules, chunks), total=len(chunks), description="fidelity"):
        assert saved is not None
        measured: dict[Who, Values] = {}
        for name in saved.names():
            attributions = [saved.attribution(name, draw, game.cases) for draw in saved.draws(name)]
            draws = [_measure(run, game, attribution, metrics) for attribution in attributions]
            measured[name, attributions[0].role] = mean_over_draws(draws)
            reference = name if attributions[0].reference else reference
            if len(draws) > 1:
                measured[f"{name}_best_of_{len(draws)}", "oracle"] = _best(draws, metrics)
        scale = effect(game)
        _add_removal_gain(scale, measured, reference)
        _count(game, scale, counts)
        _add(rows, game, measured)
    for (metric, group, few, step), n in counts.items():
        rows.add(metric, n, group=group, few=few, step=step)
    return Done([rows], [], reference)


def _explanations(run: Run) -> Explanations:
    directory = SavedRun(run.store.directory)
    players, answers = directory.table(ATTRIBUTIONS), directory.table(EXPLANATIONS)
    if players is None or answers is None:
        missing = run.store.path(ATTRIBUTIONS if players is None else EXPLANATIONS)
        raise RunError(f"{missing} is missing: run the stage explain with at least one explainer first")
    return Explanations(players, answers)


def _declared(metrics: list[FidelityMetric]) -> list[Metric]:
    """In the order of the tables: families as they are configured, and the removal gain behind the other scores."""
    mine = [m for metric in metrics for m in metric.metrics]
    return [*(m for m in mine if m.family == "scores"), *METRICS, *(m for m in mine if m.family != "scores")]


def _measure(run: Run, game: Game, attribution: Attribution, metrics: list[FidelityMetric]) -> Values:
    """Every metric of one attribution."""
    for row, case in enumerate(game.cases):
        if attribution.player_ids[row] != game.player_ids[row]:
            raise RunError(
                f"{run.store.directory}: case {case.index} (user {case.user_id}): the saved players are not those of "
                "this history; explain again"
            )
    return measure(game, attribution, metrics, run.seed)


def _best(draws: list[Values], metrics: list[FidelityMetric]) -> Values:
    """The oracle control: per case and metric the best of the draws. It looks at the metric, so it is ranked apart."""
    signs = {m.name: {"higher": 1, "lower": -1, None: None}[m.direction] for metric in metrics for m in metric.metrics}
    best = {}
    for key in draws[0]:
        sign, variant = signs[key[0]], key[1]
        if sign is not None and variant != "curve":
            best[key] = sign * np.max([sign * d[key] for d in draws], axis=0)
    return best


def _add_removal_gain(scale: Doubles, measured: Mapping[Who, Values], reference: str | None) -> None:
    """Beside what each explainer measured, where the reference measured deletion."""
    chance = next((found for (name, _), found in measured.items() if name == reference), {})
    if DELETION not in chance:
        return
    for (name, _), found in measured.items():
        if name != reference:
            found[REMOVAL_GAIN] = removal_gain(found, chance, scale)


def _count(game: Game, scale: Doubles, counts: Counter[tuple[str, str, bool, int | None]]) -> None:
    """Cases flagged for normalisation, and cases too short for a discrete removal, by group; zeros are counted too."""
    for case, flagged, n_players in zip(game.cases, np.isnan(scale), game.n_players, strict=True):
        counts["n_flagged", case.group, case.few, None] += int(flagged)
        for step in DISCRETE:
            counts["n_left_out", case.group, case.few, step] += int(n_players <= step)


def _add(rows: Rows, game: Game, measured: Mapping[Who, Values]) -> None:
    """One row per case that has a value."""
    for group, few in dict.fromkeys((c.group, c.few) for c in game.cases):
        mine = np.array([(c.group, c.few) == (group, few) for c in game.cases])
        for (name, role), found in measured.items():
            for (metric, variant, k, step), values in found.items():
                used = mine & np.isfinite(values)
                users, items = _ids(game.cases, used)
                columns = {"explainer": name, "role": role, "group": group, "few": few}
                columns |= {"variant": variant, "k": k, "step": step}
                rows.add(metric, values[used], user=users, item=items, **columns)


def _ids(cases: tuple[Case, ...], used: np.ndarray) -> tuple[list[str], list[str]]:
    chosen = [c for c, u in zip(cases, used, strict=True) if u]
    return [c.user_id for c in chosen], [c.item_id for c in chosen]
