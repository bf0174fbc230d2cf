"""A saved run in Python: what it explained has the values that it saved, and what it cannot do is said."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import xrec
from tests.contracts.test_application import environment
from tests.door.conftest import EXPLAINERS
from xrec.door import Explanation, LoadedRun, load
from xrec.errors import RunError, SettingError
from xrec.explain.controls import Popularity, Random
from xrec.explain.explainer import Explainer
from xrec.explain.removal import LeaveOneOut
from xrec.games.fitting import Fitting
from xrec.games.maskers import SampledUser
from xrec.games.outputs import Margin
from xrec.games.players import Field
from xrec.rundir.saved import SavedRun
from xrec.training.checkpoint import CheckpointError


def cases(run: LoadedRun) -> pl.DataFrame:
    frame = SavedRun(run.directory).table("cases.parquet")
    assert frame is not None
    return frame


def test_importing_xrec_brings_nothing_heavy() -> None:
    code = (
        "import sys, xrec; assert {'load', 'external', 'fidelity'} <= set(dir(xrec)); "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'polars', 'numpy', 'hydra', 'scipy', 'shap'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'loads'"):
        xrec.loads  # noqa: B018


def test_fidelity_is_a_function_and_a_package_whatever_came_first() -> None:
    code = "import xrec.fidelity.rank, xrec.door; assert xrec.fidelity.rank and callable(xrec.fidelity)"
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_a_case_that_the_run_explained_has_the_values_that_it_saved(run: LoadedRun, explainer: str) -> None:
    players, answers = (SavedRun(run.directory).table(f"{n}.parquet") for n in ("attributions", "explanations"))
    assert players is not None and answers is not None
    for case in cases(run).sample(8, seed=1).iter_rows(named=True):
        mine = (pl.col("case") == case["case"]) & (pl.col("explainer") == explainer)
        e = run.explain(case["user"], case["item"], explainer)
        for draw, attribution in enumerate(e.attributions):
            rows = players.filter(mine & (pl.col("draw") == draw))
            assert rows["player"].to_list() == list(e.player_ids)
            assert rows["player_name"].to_list() == list(e.player_names)
            np.testing.assert_allclose(attribution.values[0], rows["value"].to_numpy(), rtol=1e-6, atol=5e-6)
        told = answers.filter(mine & (pl.col("draw") == 0)).row(0, named=True)
        assert len(e.attributions) == answers.filter(mine).height
        np.testing.assert_allclose([e.f_x, e.f_empty], [told["f_x"], told["f_empty"]], rtol=1e-6, atol=5e-6)
        assert e.n_forwards == told["forwards"]
        assert e.case.group == case["group"]


def test_fidelity_of_cases_that_the_run_measured_is_what_it_saved(run: LoadedRun) -> None:
    rows = SavedRun(run.directory).results.frame.filter(pl.col("stage") == "fidelity")
    for case in cases(run).sample(5, seed=2).iter_rows(named=True):
        mine = rows.filter((pl.col("user") == case["user"]) & (pl.col("item") == case["item"]))
        for name in ("random", "permutation_shap", "attention"):
            found = xrec.fidelity(
                [run.explain(case["user"], case["item"], n) for n in ("random", name)], variants=True
            ).filter((pl.col("explainer") == name) & (pl.col("case") == 0))
            keys = ["metric", "variant", "k", "step"]
            both = found.unique(keys).join(
                mine.filter(pl.col("explainer") == name), on=keys, suffix="_saved", nulls_equal=True
            )
            assert both.height == mine.filter(pl.col("explainer") == name).height > 100
            np.testing.assert_allclose(both["value"], both["value_saved"], rtol=1e-4, atol=1e-4)
            assert both["direction"].to_list() == both["direction_saved"].to_list()
            assert (name == "random") != ("removal_gain" in found["metric"].to_list())


def test_recommendations_are_those_of_the_model(run: LoadedRun) -> None:
    for case in cases(run).filter(pl.col("group") == "new").sample(5, seed=3).iter_rows(named=True):
        listed = run.recommend(case["user"], n=case["position"], among="new")
        assert listed["item"][-1] == case["item"] and listed["name"][-1] == case["item_name"]
        assert listed["rank"].to_list() == list(range(1, case["position"] + 1))
        assert not listed["known"].any()
        assert listed["score"].is_sorted(descending=True)
        known = run.recommend(case["user"], n=3, among="known")["item"]
        assert set(known) <= set(run.history(case["user"])["item"])
    user = run.users[0]
    everything = run.recommend(user, n=10_000)
    assert sorted(everything["item"]) == sorted(run.items)
    assert everything.filter("known").height == run.history(user).height


def test_without_an_item_the_best_new_one_is_explained(run: LoadedRun) -> None:
    user = run.users[0]
    e = run.explain(user, explainer="leave_one_out")
    assert (e.item, e.position, e.case.group) == (run.recommend(user, n=1, among="new")["item"][0], 1, "new")
    bought = run.history(user)["item"][0]
    known = run.explain(user, bought, "leave_one_out")
    rank = run.recommend(user, n=10_000).filter(pl.col("item") == bought)["rank"][0]
    assert (known.case.group, known.position) == ("repeat", rank)


def test_history_is_latest_first(run: LoadedRun) -> None:
    history = run.history(run.users[0])
    assert history["age"].is_sorted() and history.height > 3
    earlier = run.history(run.users[0], part="validation")
    assert earlier.height <= history.height
    assert set(earlier["item"]) <= set(history["item"])


def test_players_go_by_a_field_of_the_data_a_name_or_an_object(run: LoadedRun) -> None:
    user = run.users[0]
    by_brand = run.explain(user, explainer="leave_one_out", players="brand")
    item = by_brand.item
    for players in (Field("brand"),):
        same = run.explain(user, item, "leave_one_out", players)
        assert same.player_ids == by_brand.player_ids
        assert np.array_equal(same.values, by_brand.values)
    assert by_brand.table()["n_items"].sum() == run.history(user).height
    assert run.explain(user, item, "leave_one_out", "period").game.about.players == "period"


def test_versus_is_the_margin_over_another_item(run: LoadedRun) -> None:
    user = run.users[0]
    first, second, third = run.recommend(user, n=3, among="new")["item"]
    e = run.explain(user, first, "leave_one_out", versus=third)
    one, other = (run.explain(user, i, "leave_one_out") for i in (first, third))
    np.testing.assert_allclose(e.values, one.values - other.values, atol=1e-5)
    assert e.f_x == pytest.approx(one.f_x - other.f_x, abs=1e-5)
    assert run.explain(user, first, "random", versus="next_ranked").case.foil == run.items.index(second)
    assert run.explain(user, first, "random", output=Margin("item", third)).case.foil == run.items.index(third)
    popular = run.explain(user, first, "random", versus="most_popular")
    assert popular.foil_name and popular.case.foil is not None
    assert " and not " in popular.title


def test_several_items_are_explained_as_a_list(run: LoadedRun) -> None:
    user = run.users[0]
    items = run.recommend(user, n=3, among="new")["item"].to_list()
    e = run.explain(user, run.recommend(user, n=3, among="new")["item"], "leave_one_out")
    singles = [run.explain(user, i, "leave_one_out").values for i in items]
    np.testing.assert_allclose(e.values, np.mean(singles, axis=0), atol=1e-5)
    assert e.item == ", ".join(items)


def test_maskers_are_fitted_on_the_data(run: LoadedRun) -> None:
    user = run.users[0]
    e = run.explain(user, explainer="leave_one_out", masker="sampled_user")
    assert e.n_forwards == 10 * (len(e.values) + 1)
    few = run.explain(user, e.item, "leave_one_out", masker=SampledUser(n_users=2))
    assert few.n_forwards == 2 * (len(e.values) + 1)
    assert run.explain(user, e.item, "additive", masker="popularity").game.about.masker == "popularity"


class OnGames(Explainer):
    """Fitted on games of other users."""

    fits = 0

    def fit(self, fitting: Fitting) -> None:
        type(self).fits += 1
        self.users = {case.user for game in fitting.games(30) for case in game.cases}

    def values(self, game, random):
        assert len(self.users) > 5 and game.cases[0].user not in self.users
        return np.full((len(game), game.width), float(sum(self.users)))


class OnData(Popularity):
    fits = 0

    def fit(self, fitting: Fitting) -> None:
        type(self).fits += 1
        super().fit(fitting)


def test_what_is_fitted_on_data_is_fitted_once_and_on_games_never_on_those_it_explains(run: LoadedRun) -> None:
    on_games, on_data = OnGames(), OnData()
    first = [run.explain(user, explainer=on_games).values for user in run.users[:3]]
    again = [run.explain(user, explainer=OnGames()).values for user in reversed(run.users[:3])]
    assert OnGames.fits == 6 and all(map(np.array_equal, first, reversed(again))), "whatever was explained before"
    for user in run.users[:3]:
        run.explain(user, explainer=on_data)
    run.explain(run.users[0], explainer=on_data, players="brand")
    assert OnData.fits == 2, "once for each kind of games"
    assert run.explain(run.users[0], explainer=Random(2)).explainer == "Random"


def test_what_the_run_has_learned_is_taken_over_where_the_settings_are_its_own(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, fits = load(saved), []
    monkeypatch.setattr(
        Popularity, "fit", lambda self, fitting: fits.append(1) or setattr(self, "share", torch.ones(30))
    )
    own = run.explain(run.users[0], explainer="popularity")
    assert not fits and own.values.max() < 1
    other = run.explain(run.users[0], explainer="popularity", players="brand")
    assert fits == [1] and other.values.max() >= 1


def test_options_are_keywords_and_wrong_ones_are_named(run: LoadedRun) -> None:
    user = run.users[0]
    assert len(run.explain(user, explainer="random", n_draws=4).attributions) == 4
    assert len(run.explain(user, explainer="random").attributions) == 3, "as the run has set it"
    with pytest.raises(
        SettingError, match=r"explainer.permutation_shap.budgets: unknown argument; did you mean 'budget'"
    ):
        run.explain(user, budgets=3)
    with pytest.raises(SettingError, match=r"got 'permutation_shp', takes .*did you mean 'permutation_shap'"):
        run.explain(user, explainer="permutation_shp")
    with pytest.raises(SettingError, match=r"budget: got 'many', takes"):
        run.explain(user, budget="many")
    with pytest.raises(SettingError, match=r"n_draws would be lost"):
        run.explain(user, explainer=LeaveOneOut(), n_draws=3)
    with pytest.raises(SettingError, match=r"explainer: got int, takes a name of conf/explainer"):
        run.explain(user, explainer=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user": "nobody"}, "user: no user 'nobody' in the data"),
        ({"item": "nothing"}, "item: no item 'nothing' in the catalogue"),
        ({"item": []}, "item is an empty list"),
        ({"players": "brnd"}, r"players: got 'brnd', takes field, items, kind, period, or an item field .*'brand'\?"),
        ({"masker": "zeros"}, "masker: got 'zeros', takes popularity, sampled_user, zero; did you mean 'zero'"),
        ({"output": "logits"}, "output: got 'logits', takes list, log_probability, logit, margin; did you mean"),
        ({"versus": "next"}, "versus: got 'next', takes an item, next_ranked, most_popular; did you mean"),
        ({"versus": "1001", "output": "logit"}, "leave out output"),
        ({"item": ["1001", "1002"], "output": "logit"}, "output logit is of one item, got several"),
        ({"part": "tests"}, "no part 'tests'"),
    ],
)
def test_what_is_not_there_is_named(run: LoadedRun, arguments: dict, message: str) -> None:
    with pytest.raises((SettingError, ValueError), match=message):
        run.explain(**{"user": run.users[0], "explainer": "random", **arguments})


def test_a_foil_that_is_no_candidate_is_named(run: LoadedRun) -> None:
    user = run.users[0]
    new, bought = run.recommend(user, n=1, among="new")["item"][0], run.history(user)["item"][0]
    for foil in (new, bought):
        with pytest.raises(SettingError, match=f"'{foil}' cannot be held against"):
            run.explain(user, new, "random", versus=foil)


def test_recommend_names_what_it_takes(run: LoadedRun) -> None:
    with pytest.raises(SettingError, match=r"among is 'news', takes all, new, known; did you mean 'new'"):
        run.recommend(run.users[0], among="news")
    with pytest.raises(SettingError, match="n must be a whole number of at least 1, got 0"):
        run.recommend(run.users[0], n=0)


def test_a_run_is_found_by_a_relative_path_from_another_folder(
    configured, journey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from xrec import pipeline

    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(journey, home / "journey")
    monkeypatch.chdir(home)
    paths = ["data.source.path=journey", "paths.cache=cache"]
    pipeline.run(configured("model=popularity", "stages=[fit]", *paths), home / "runs" / "one" / "now")
    monkeypatch.chdir(elsewhere)
    with caplog.at_level(logging.WARNING):
        there = load("../home/runs/one/now")
    assert not caplog.records and not list(elsewhere.iterdir())
    shutil.rmtree(home / "cache")
    with caplog.at_level(logging.WARNING):
        again = load("../home/runs/one/now", cache=elsewhere / "new")
    assert "data-completejourney is not in the cache" in caplog.text and "made again" in caplog.text
    assert again.recommend(again.users[0]).equals(there.recommend(there.users[0]))
    assert "popularity" in repr(again)


def test_what_is_no_run_or_no_model_is_said(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="device: got 'gpu', takes cpu, cuda"):
        load(saved, device="gpu")
    with pytest.raises(RunError, match="does not exist; give a run directory"):
        load(tmp_path / "none")
    with pytest.raises(RunError, match="is not a run directory"):
        load(tmp_path)
    copy = shutil.copytree(saved, tmp_path / "copy")
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="does not match the sha256"):
        load(copy)


def test_loading_leaves_the_global_state_of_torch_alone(saved: Path) -> None:
    before = (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.initial_seed())
    e = load(saved).explain("1", explainer="leave_one_out")
    assert isinstance(e, Explanation)
    assert before == (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.initial_seed())
