"""Every two of players, masker, output, explainer and model meet in one game; what cannot work together says why.

The options are those of conf/, so that a new file is tested the moment it exists. Combinations are a covering array
over pairs: few enough to run, and yet no two options that never met.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from tests.contracts.conftest import CONF
from tests.toys import fit_data, fitted_composed, no_progress
from xrec.config.instantiate import instantiate
from xrec.data.cache import ArrayCache
from xrec.data.interactions import SplitInteractions
from xrec.errors import SettingError
from xrec.explain.enumeration import MAX_PLAYERS
from xrec.explain.explainer import Explainer
from xrec.fidelity.metric import FidelityMetric
from xrec.fidelity.removal import Removal
from xrec.games.fitting import Fitting, Learner
from xrec.games.model_game import ModelGame, Rules
from xrec.games.outputs import Output
from xrec.models.baselines.ease import EASE
from xrec.models.baselines.personal_frequency import PersonalFrequency
from xrec.models.baselines.popularity import Popularity
from xrec.models.external import External
from xrec.models.recommender import Recommender
from xrec.rundir.directory import RunDirectory
from xrec.rundir.explanations import Explanations, answer_rows, player_rows
from xrec.stages.cases import (
    case_chunks,
    choose_cases,
    games_of,
    games_of_others,
    load_cases,
    rules_of,
    save_cases,
)
from xrec.stages.run import Run
from xrec.types import Attribution, Catalogue

MODELS = ("composed", "composed_without_attention", "ease", "personal_frequency", "popularity", "external")
#: what options need on the toy data
SMALLER = {"field": {"field": "department"}, "sampled_user": {"n_users": 3}}


def options(group: str) -> dict[str, Any]:
    """Nodes of conf/<group> by file name."""
    nodes = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CONF / group).glob("*.yaml"))}
    return {name: {**node, **SMALLER.get(name, {})} for name, node in nodes.items()}


OPTIONS = {group: options(group) for group in ("players", "masker", "output", "explainer")}


class Combination(NamedTuple):
    players: str
    masker: str
    output: str
    explainer: str
    model: str

    def make(self, group: str) -> Any:
        return instantiate(OPTIONS[group][getattr(self, group)])


#: capabilities of the models above, as far as an option asks for them; a test below holds them to it
ABLE = {name: {"gradients", "fractional_presence", "additive"} for name in MODELS} | {"external": set()}
for with_likelihood in MODELS[:2]:
    ABLE[with_likelihood] |= {"likelihood"}
    ABLE[with_likelihood] |= {"item_features"}
ABLE["composed"] |= {"attention", "attention_values"}


@cache
def part_of(group: str, option: str) -> Any:
    """To ask what it is like; what is fitted is made anew."""
    return instantiate(OPTIONS[group][option])


@cache
def lacking(combination: Combination) -> list[tuple[str, str]]:
    """(option that is refused, capability that it lacks)."""
    able = set(ABLE[combination.model])
    found = []
    for group in ("masker", "output", "explainer"):
        part = part_of(group, getattr(combination, group))
        found += [(getattr(combination, group), need) for need in part.requires if need not in able]
        if group == "output" and not part.linear:
            able -= {"additive", "components"}
    return found


def parts(group: str) -> list[Any]:
    return [instantiate(node) for node in OPTIONS[group].values()]


@cache
def pairs(combination: Combination) -> frozenset[tuple[str, str]]:
    return frozenset(itertools.combinations((f"{g}={o}" for g, o in combination._asdict().items()), 2))


def everything() -> Iterator[Combination]:
    yield from map(Combination._make, itertools.product(*OPTIONS.values(), MODELS))


def covering() -> tuple[list[Combination], list[Combination]]:
    """Combinations that work, in which all pairs that can work meet; and one of each pair that never works."""
    working = [c for c in everything() if not lacking(c)]
    missing: set[tuple[str, str]] = set().union(*map(pairs, working))
    never = [c for c in everything() if lacking(c)]
    refused: dict[tuple[str, str], Combination] = {}
    for combination in never:
        for pair in pairs(combination) - missing:
            refused.setdefault(pair, combination)
    chosen = []
    while missing:
        best = max(working, key=lambda c: len(pairs(c) & missing))
        missing -= pairs(best)
        chosen.append(best)
    return chosen, list(dict.fromkeys(refused.values()))


WORKING, REFUSED = covering()


@pytest.fixture(scope="module")
def models(toy: SplitInteractions, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recommender]:
    folder = tmp_path_factory.mktemp("models")
    catalogue = toy.catalogue
    made: dict[str, Recommender] = {
        "composed": fitted_composed(toy, folder),
        "composed_without_attention": fitted_composed(toy, folder, attention=None),
        "ease": EASE(catalogue, 5.0),
        "personal_frequency": PersonalFrequency(catalogue),
        "popularity": Popularity(catalogue),
        "external": External(catalogue, by_length),
    }
    for name in MODELS[2:]:
        made[name].fit(fit_data(toy, folder))
    return made


def by_length(histories: list[list[str]], item_ids: list[str]) -> np.ndarray:
    """A function of somebody else's: not additive, and of ids alone."""
    own = np.array([int(i) % 7 for i in item_ids], dtype=float)
    total = np.array([[sum(int(i) for i in history) ** 0.5] for history in histories])
    return own + np.sin(total + own)


@pytest.fixture
def make_run(toy: SplitInteractions, tmp_path: Path):
    def make(combination: Combination) -> Run:
        cases = {"part": "test", "n_users": 3, "top_n": 2, "groups": ["new", "repeat"], "min_players": 1}
        cases |= {"few_players": 3, "chunk_size": 8, "mask_chunk": 32}
        nodes = {group: OPTIONS[group][getattr(combination, group)] for group in ("players", "masker", "output")}
        config = OmegaConf.create({"seed": 3, "cases": cases, **nodes})
        tracker, cache = cast(Any, SimpleNamespace()), ArrayCache(tmp_path / "cache")
        return Run(config, RunDirectory(tmp_path), tracker, toy, cache, torch.device("cpu"))

    return make


def test_models_can_what_is_said_here(models: dict[str, Recommender]) -> None:
    asked = {need for group in ("masker", "output", "explainer") for part in parts(group) for need in part.requires}
    assert {name: model.capabilities.names() & asked for name, model in models.items()} == ABLE


def test_the_array_is_small_and_leaves_no_pair_out() -> None:
    most = sum(not lacking(Combination("items", "zero", "logit", e, m)) for e in OPTIONS["explainer"] for m in MODELS)
    assert len(WORKING) < 1.2 * most  # every explainer with every model is the largest of the pairs
    met = set().union(*map(pairs, WORKING)) | set().union(*map(pairs, REFUSED))
    assert met >= set().union(*map(pairs, everything()))


@pytest.mark.parametrize("combination", WORKING, ids="-".join)
def test_what_meets_works(combination: Combination, make_run, models: dict[str, Recommender], tmp_path: Path) -> None:
    run, model = make_run(combination), models[combination.model]
    rules, explainer = rules_of(run), cast(Explainer, combination.make("explainer"))
    learn(run, rules.masker)
    cases = choose_cases(run, model, rules).cases
    if combination.explainer == "exact_shapley":
        n_players = rules.players.count(run.dataset.histories(run.dataset.period("test")[0]), run.dataset.catalogue)
        cases = [case for case in cases if n_players[case.user] <= MAX_PLAYERS]
    learn(run, explainer, lambda n: games_of_others(run, model, rules, cases, min(n, 5)))
    save_cases(run, cases, rules)
    assert cases and load_cases(run) == cases
    for case in cases:
        assert (case.foil is not None) == rules.output.contrastive and case.foil not in case.targets
        assert len(case.targets) <= (2 if rules.output.joint else 1)
    saved = []
    for game in games_of(run, model, rules, case_chunks(run, cases)):
        check_game(game, rules, combination)
        saved.append(explainer.attribute(game, run.seed, combination.explainer))
        check_attribution(saved[-1], game, rules)
        check_fidelity(game, saved[-1])
    players, answers = (pl.concat([rows(a) for a in saved]) for rows in (player_rows, answer_rows))
    for name, frame in (("players", players), ("answers", answers)):
        frame.write_parquet(tmp_path / name)
    found = Explanations(*(pl.read_parquet(tmp_path / name) for name in ("players", "answers")))
    for attribution in saved:
        same(found.attribution(combination.explainer, 0, attribution.cases), attribution)


def learn(run: Run, learner: Learner, games: Callable[[int], Iterator[ModelGame]] | None = None) -> None:
    """Fit it, and have it take over its own state. games: of others, for explainers."""
    fitting = Fitting(run.dataset, run.seed, run.device, no_progress)
    learner.fit(fitting if games is None else replace(fitting, games=games))
    learner.load_state(learner.state())


def check_game(game: ModelGame, rules: Rules, combination: Combination) -> None:
    catalogue, n = rules.catalogue, len(game)
    assert (game.about.players, game.about.masker, game.about.output) == combination[:3]
    assert game.players.membership.shape == game.history.item.shape
    real = game.history.presence > 0
    assert ((game.players.membership >= 0) == real).all()
    assert game.players.pooled(game.history.presence)[game.players.real].sum() == real.sum()
    for ids, names in zip(game.player_ids, game.players.names, strict=True):
        assert len(set(ids)) == len(ids) == len(names) and all(names) and all(isinstance(i, str) for i in ids)
    assert_known(game, catalogue)
    masks = np.random.default_rng(0).random((n, 7, game.width)) < 0.5
    before, views = (game.masks.copy(), game.forwards.copy()), rules.masker.n_views
    values, ranks, top = game.values(masks), game.ranks(masks), game.top(masks, 4)
    assert ((game.masks - before[0]) == 21).all() and ((game.forwards - before[1]) == 21 * views).all()
    assert values.shape == (n, 7) and np.isfinite(values).all()
    assert ranks.shape == (n, 7, game.targets.shape[1]) and top.shape == (n, 7, 4)
    for row, case in enumerate(game.cases):
        assert (ranks[row, :, : len(case.targets)] >= 1).all() and (ranks[row, :, len(case.targets) :] == 0).all()
        leads = ranks[row, :, 0] == 1
        assert (leads == (top[row, :, 0] == case.target)).all()
        alone = game.single(row)
        mine = masks[row : row + 1, :, : alone.width]
        np.testing.assert_allclose(alone.values(mine)[0], values[row], atol=1e-4)
    whole, empty = game.ends()
    assert np.isfinite(whole).all() and np.isfinite(empty).all() and (game.spread() >= 0).all()
    inside = torch.from_numpy(masks.astype(np.float32))
    if "gradients" in game.capabilities:
        np.testing.assert_allclose(game.differentiable(inside).detach(), values, atol=1e-5)
    else:
        with pytest.raises(SettingError, match="no gradients in a game of model External"):
            game.differentiable(inside)
    if "components" in game.capabilities:
        total = np.sum([part.values(masks) for part in game.components().values()], axis=0)
        np.testing.assert_allclose(total, values, atol=1e-4)


def assert_known(game: ModelGame, catalogue: Catalogue) -> None:
    ids = {i for of_case in game.player_ids for i in of_case}
    department = next(f for f in catalogue.item_fields if f.name == "department")
    known = {
        "items": set(catalogue.item_ids),
        "field": set(department.levels),
        "kind": set(catalogue.event_kinds),
        "period": {str(p) for p in range(1, game.history.moment)},
    }
    assert ids <= known.get(game.about.players, ids)


def check_attribution(found: Attribution, game: ModelGame, rules: Rules) -> None:
    assert {name: getattr(found, name) for name in rules.names} == rules.names
    assert found.values.shape == (len(game), game.width) and found.player_ids == game.player_ids
    padding = np.arange(game.width) >= game.n_players[:, None]
    assert np.isfinite(found.values[~padding]).all() and np.isnan(found.values[padding]).all()
    assert (found.n_forwards >= 0).all() and (found.seconds > 0).all()
    assert found.role != "control" or (found.n_forwards == 0).all()


def check_fidelity(game: ModelGame, found: Attribution) -> None:
    removal = Removal(game, found, [1] * len(game))
    for node in options("fidelity").values():
        for measured in cast(FidelityMetric, instantiate(node)).measure(removal):
            assert measured.values.shape == (len(game),)
            if measured.variant is None and measured.metric not in ("completeness_error", "sparsity"):
                assert np.isfinite(measured.values).all()


def same(found: Attribution, saved: Attribution) -> None:
    for name in (f.name for f in fields(Attribution)):
        mine, other = getattr(found, name), getattr(saved, name)
        if isinstance(other, np.ndarray):
            np.testing.assert_array_equal(mine, other, err_msg=name)
        else:
            assert mine == other, name


@pytest.mark.parametrize("combination", REFUSED, ids="-".join)
def test_what_cannot_work_is_refused_with_the_reason(combination: Combination, make_run, models) -> None:
    run, model = make_run(combination), models[combination.model]
    rules, explainer = rules_of(run), cast(Explainer, combination.make("explainer"))
    option, capability = lacking(combination)[0]

    def ask() -> None:
        explainer.check(combination.explainer, rules.capabilities(model), f"model {combination.model}")

    with pytest.raises(SettingError, match=f"{option} needs .*{capability}.*, which model .* does not have"):
        ask()


def test_an_output_says_of_itself_what_cases_it_has() -> None:
    made: list[Output] = parts("output")
    assert any(o.joint for o in made) and any(o.contrastive for o in made) and not all(o.linear for o in made)
    assert not any(o.joint and o.contrastive for o in made)
