"""Explainers on cases worked out on paper, and what an attribution says of itself."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shap
import torch

from tests.by_hand import CASES, N_ITEMS, OnPaper, Table, cases, game_of
from tests.toy_games import Planted, popularity_control, with_users
from tests.toy_games import game_of as toy_game
from tests.toys import histories, no_progress
from xrec.errors import SettingError
from xrec.explain.activation import DeepLift
from xrec.explain.attention import AdditiveContributions, RawAttention
from xrec.explain.controls import Popularity, Random, Recency
from xrec.explain.enumeration import ExactShapley
from xrec.explain.explainer import Answer, Explainer
from xrec.explain.gradient import (
    ExpectedGradients,
    InputXGradient,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
    SPINRec,
    SPINRecMean,
)
from xrec.explain.library import ShapExplainer, ShapKernel, ShapPermutation, numpy_global_seed
from xrec.explain.pairwise import Pairwise
from xrec.explain.removal import LeaveOneOut
from xrec.explain.shapley import KernelShap, LeverageShap, PermutationShap, Sampled, Shapley
from xrec.explain.similarity import Jaccard
from xrec.explain.surrogate import LimeRS
from xrec.games.fitting import Fitting
from xrec.games.keyed import case_seed
from xrec.games.players import Field
from xrec.models.recommender import Capabilities

#: (signed, complete) of every explainer
PROMISES = {
    LeaveOneOut(): (True, False),
    RawAttention(): (False, False),
    AdditiveContributions(): (True, True),
    IntegratedGradients(n_steps=5): (True, True),
    PermutationShap(): (True, True),
    KernelShap(): (True, True),
    LeverageShap(): (True, True),
    Shapley(): (True, True),
    ExactShapley(): (True, True),
    Pairwise(): (True, True),
    ShapPermutation(): (True, True),
    ShapKernel(): (True, True),
    popularity_control(N_ITEMS): (False, False),
    Random(): (False, False),
    Recency(): (False, False),
    with_users(Jaccard()): (True, False),
    Saliency(): (False, False),
    InputXGradient(): (True, False),
    SmoothGrad(n_samples=4): (True, False),
    with_users(ExpectedGradients(4)): (True, False),
    with_users(SPINRecMean(2, 3)): (True, False),
    with_users(SPINRec(2, 3)): (True, False),
    LimeRS(width=5.0, ridge=1e-9): (True, False),
    DeepLift(): (True, False),
}
EXACT = [e for e in PROMISES if e.role != "control" and e.signed]
LENGTHS = [len(c.history) for c in CASES]


def name_of(explainer: Explainer) -> str:
    return type(explainer).__name__


def padded(rows: list[list[float]]) -> np.ndarray:
    return np.array([row + [np.nan] * (8 - len(row)) for row in rows])


@pytest.mark.parametrize("explainer", EXACT, ids=name_of)
def test_explainers_of_an_additive_model_find_its_contributions(explainer: Explainer) -> None:
    found = explainer.attribute(game_of(), 0, "x").values
    np.testing.assert_allclose(found, padded([c.contributions for c in CASES]), atol=1e-6)


@pytest.mark.parametrize("explainer", PROMISES, ids=name_of)
def test_a_single_player_has_the_whole_effect(explainer: Explainer) -> None:
    """cases.min_players=1, beside a longer history and alone."""
    alone, other = OnPaper((5,), 10), OnPaper((2, 13), 19)
    for on_paper in ((alone,), (alone, other)):
        found = explainer.attribute(game_of(on_paper), 0, "x").values
        assert np.isfinite(found[0, 0]) and np.isnan(found[0, 1:]).all()
        if explainer in EXACT:
            assert found[0, 0] == pytest.approx(alone.effect) == pytest.approx(1.0)


def test_raw_attention_is_the_model_s_attention_not_its_contributions() -> None:
    found = RawAttention().attribute(game_of(), 0, "x").values
    np.testing.assert_allclose(found, padded([[1 / (1 + abs(v)) for v in c.contributions] for c in CASES]), rtol=1e-6)


def test_popularity_is_the_share_of_users_who_have_an_item() -> None:
    share = np.linspace(0.9, 0.1, 24)
    found = popularity_control(N_ITEMS).attribute(game_of(), 0, "x").values
    np.testing.assert_array_equal(found, padded([[float(share[j]) for j in c.history] for c in CASES]))


def test_random_is_uniform() -> None:
    drawn = np.stack([Random().attribute(game_of(), 0, "random", draw).values for draw in range(300)])
    there = ~np.isnan(drawn[0])
    assert there.sum(1).tolist() == LENGTHS
    numbers = drawn[:, there]
    assert 0 <= numbers.min() < 0.01 and 0.99 < numbers.max() < 1
    assert numbers.mean() == pytest.approx(0.5, abs=0.02) and numbers.std() == pytest.approx(12**-0.5, abs=0.01)
    assert np.abs(np.corrcoef(numbers.T) - np.eye(18)).max() < 0.3  # players and cases have numbers of their own


@pytest.mark.parametrize(
    ("explainer", "forwards"),
    [
        (LeaveOneOut(), [9, 4, 6, 3]),
        (RawAttention(), [1] * 4),
        (AdditiveContributions(), [1] * 4),
        (IntegratedGradients(n_steps=5), [5] * 4),
        (PermutationShap(), [14, 4, 8, 4]),  # 2 P - 2 beside both ends; of two players two pairs
        (PermutationShap(budget=34), [28, 32, 32, 32]),  # as many pairs of walks as that pays for
        (KernelShap(), [32, 6, 20, 2]),  # 4 P, or all there are
        (KernelShap(budget=60), [58, 6, 30, 2]),
        (LeverageShap(), [32, 6, 20, 2]),
        (Pairwise(), [16, 6, 10, 4]),  # 2 P
        (ExactShapley(), [256, 8, 32, 4]),  # 2 ^ P
        (Shapley(), [1] * 4),  # a table of contributions
        (ShapPermutation(), [17, 7, 11, 5]),  # 2 P + 1
        (ShapPermutation(budget=34), [34, 28, 33, 30]),  # as many whole permutations as that pays for
        (ShapKernel(), [36, 8, 24, 4]),  # 4 P + 2 and both ends, or all there are: 2 ^ P
        (ShapKernel(budget=60), [62, 8, 32, 4]),
        (popularity_control(N_ITEMS), [0] * 4),
        (Random(), [0] * 4),
        (Recency(), [0] * 4),
        (with_users(Jaccard()), [0] * 4),
        (Saliency(), [1] * 4),
        (InputXGradient(), [1] * 4),
        (SmoothGrad(n_samples=20), [20] * 4),
        (with_users(ExpectedGradients(20)), [20] * 4),
        (with_users(SPINRecMean(2, 3)), [6] * 4),
        (with_users(SPINRec(2, 3)), [6 + 18] * 4),
        (LimeRS(), [34, 14, 22, 10]),  # 4 P + 2
        (LimeRS(budget=9), [9] * 4),
        (DeepLift(), [2] * 4),
    ],
)
def test_forwards_are_counted_per_case_whatever_it_is_padded_to(explainer: Explainer, forwards: list[int]) -> None:
    value = game_of()
    value.forwards[:] += 1000
    assert explainer.attribute(value, 0, "x").n_forwards.tolist() == forwards


@pytest.mark.parametrize("explainer", list(PROMISES), ids=name_of)
def test_an_attribution_says_where_it_comes_from(explainer: Explainer) -> None:
    value = game_of()
    found = explainer.attribute(value, 0, "mine", draw=4)
    assert (found.explainer, found.draw, found.cases, found.player_ids) == ("mine", 4, value.cases, value.player_ids)
    assert (found.output, found.masker, found.players) == ("logit", "zero", "items")
    assert (found.signed, found.complete) == PROMISES[explainer]
    control = isinstance(explainer, Popularity | Random | Recency | Jaccard)
    oracle = "oracle" if isinstance(explainer, SPINRec) else "explainer"
    assert found.role == ("control" if control else oracle)
    assert found.reference == isinstance(explainer, Random)
    assert found.f_x.tolist() == [3.5, -5.5, 4.0, 4.0] and found.f_empty.tolist() == [1.0, -5.0, 0.0, 4.0]
    sampled = isinstance(explainer, Sampled | Shapley | SmoothGrad | ExpectedGradients | SPINRecMean)
    sampled &= not isinstance(explainer, SPINRec)
    assert (found.standard_error is not None) == sampled and found.selected is None
    assert found.values.dtype == np.float64 and found.n_players.tolist() == LENGTHS


class Given(Explainer):
    """Answers with what it is given."""

    def __init__(self, values) -> None:
        self.given = values

    def values(self, game, random):
        time.sleep(0.02)
        return self.given


def test_standard_errors_and_a_chosen_set_are_kept_where_there_are_players() -> None:
    given = Answer(np.zeros((4, 8)), np.full((4, 8), 0.5), np.ones((4, 8), dtype=bool))
    found = Given(given).attribute(game_of(), 0, "x")
    there = ~np.isnan(found.values)
    assert found.standard_error is not None and found.selected is not None
    np.testing.assert_array_equal(found.standard_error, np.where(there, 0.5, np.nan))
    np.testing.assert_array_equal(found.selected, there)
    with pytest.raises(SettingError, match=r"explainer x gave standard errors of shape \(4, 7\), expected \(4, 8\)"):
        Given(Answer(np.zeros((4, 8)), np.zeros((4, 7)))).attribute(game_of(), 0, "x")
    with pytest.raises(SettingError, match=r"explainer x gave a set of shape \(8,\), expected \(4, 8\)"):
        Given(Answer(np.zeros((4, 8)), selected=np.zeros(8))).attribute(game_of(), 0, "x")


@pytest.mark.parametrize(
    ("explainer", "needs"),
    [
        (RawAttention(), "attention"),
        (AdditiveContributions(), "additive"),
        (IntegratedGradients(), "gradients, fractional_presence"),
    ],
    ids=name_of,
)
def test_an_explainer_refuses_a_game_that_lacks_what_it_needs(explainer: Explainer, needs: str) -> None:
    class Mute(Table):
        capabilities = Capabilities()

    value = game_of(model=Mute())
    says = f"^explainer mine needs {needs}, which model Mute with output logit does not have .it has nothing.$"
    with pytest.raises(SettingError, match=says):
        explainer.attribute(value, 0, "mine")
    assert value.forwards.tolist() == [0] * 4
    assert LeaveOneOut().attribute(value, 0, "x").n_forwards.tolist() == [9, 4, 6, 3]  # needs nothing


def test_the_popularity_control_learns_shares_of_users_and_sums_them_over_a_player(toy) -> None:
    control, again = Popularity(), Popularity()
    with pytest.raises(SettingError, match="explainer popularity has to be fitted before it explains"):
        control.attribute(game_of(), 0, "x")
    control.fit(Fitting(toy, 0, torch.device("cpu"), no_progress))
    again.load_state(control.state())
    users = [set() for _ in range(toy.catalogue.n_items)]
    for user, item, time_ in zip(toy.user.tolist(), toy.item.tolist(), toy.time.tolist(), strict=True):
        if time_ <= toy.train_end:
            users[item].add(user)
    share = [max(1, len(u)) / toy.catalogue.n_users for u in users]
    history, model = histories(toy, [4]), Planted(toy.catalogue.n_items)
    game = toy_game(model, history, [7], players=Field("brand"), catalogue=toy.catalogue)
    brand = next(f for f in toy.catalogue.item_fields if f.name == "brand")
    for name, value in zip(game.player_ids[0], again.attribute(game, 0, "x").values[0], strict=True):
        members = [i for i in history.item[0].tolist() if brand.levels[brand.codes[i, 0]] == name]
        assert value == pytest.approx(sum(share[i] for i in members), abs=1e-12)


def test_seconds_are_shared_by_the_cases_that_were_explained_together() -> None:
    seconds = Given(np.zeros((4, 8))).attribute(game_of(), 0, "x").seconds
    assert seconds.shape == (4,) and len(set(seconds.tolist())) == 1 and 0.005 <= seconds[0] < 0.02


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_stands_beyond_a_case_s_players_is_ignored_and_no_number_among_them_refused(number: float) -> None:
    given = np.zeros((4, 8))
    given[1, 3:] = number
    found = Given(given).attribute(game_of(), 0, "mine")
    assert np.isnan(found.values).sum(1).tolist() == [0, 5, 3, 6]
    assert given[0, 0] == 0 and given[2, 7] == 0  # the explainer's own table is left alone
    given[1, 2] = given[3, 0] = number
    with pytest.raises(SettingError, match=r"explainer mine gave values that are not numbers for cases \[1, 3\]"):
        Given(given).attribute(game_of(), 0, "mine")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (np.zeros((8, 4)), r"values of shape \(8, 4\), expected \(4, 8\): cases, players"),
        (np.zeros(32), r"values of shape \(32,\), expected \(4, 8\)"),
        (np.zeros((4, 9)), r"values of shape \(4, 9\)"),
        (np.zeros((1, 8)), r"values of shape \(1, 8\)"),  # would broadcast
        ([[0.0], [0.0, 1.0]], r"no array of numbers \(setting an array element"),
        (None, r"values of shape \(\)"),
    ],
)
def test_an_answer_of_another_shape_is_refused_by_name(answer: Any, says: str) -> None:
    with pytest.raises(SettingError, match=f"^explainer mine gave {says}"):
        Given(answer).attribute(game_of(), 0, "mine")


def test_a_seed_is_keyed_by_what_is_explained_by_whom_and_nothing_else() -> None:
    case = cases()[0]
    assert case_seed(3, case, "random", 2) == 13279482420087570597  # on every machine, for good
    others = [replace(case, **{c: "other"}) for c in ("part", "user_id", "group")]
    others.append(replace(case, item_ids=("other",)))
    seeds = [case_seed(3, c, "random", 2) for c in (case, *others)]
    seeds += [case_seed(4, case, "random", 2), case_seed(3, case, "x", 2), case_seed(3, case, "random")]
    assert len(set(seeds)) == len(seeds) and all(0 <= s < 2**64 for s in seeds)
    assert case_seed(3, case, "random", 0) == seeds[-1]
    same = replace(case, index=9, user=9, targets=(9,), foil=8, position=9, few=True)
    assert case_seed(3, same, "random", 2) == seeds[0]


def test_a_random_explainer_draws_from_the_seed_of_the_case() -> None:
    found = Random().attribute(game_of(), 3, "random", 2).values
    for row, case in enumerate(cases()):
        wanted = np.random.default_rng(case_seed(3, case, "random", 2)).random(LENGTHS[row])
        np.testing.assert_array_equal(found[row, : LENGTHS[row]], wanted)


def test_the_global_generator_is_seeded_and_put_back_also_after_an_error() -> None:
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    drawn = []

    def draw_and_fail() -> None:
        drawn.append(np.random.random())  # noqa: NPY002
        raise RuntimeError

    for seed in (1, 1, 2, 65, 1 + 2**31, 1 + 2**40):
        np.random.seed(5)  # noqa: NPY002
        with pytest.raises(RuntimeError), numpy_global_seed(seed):
            draw_and_fail()
        assert np.random.random() == expected  # noqa: NPY002
    assert drawn[0] == drawn[1] == drawn[-1]  # the generator knows no more than 32 bits
    assert len(set(drawn)) == 4


@pytest.mark.parametrize("budget", [0, -3, "all", 1_000_001])
def test_impossible_budgets_are_refused(budget) -> None:
    with pytest.raises(
        ValueError, match=f"PermutationShap: budget must be 'auto' or from 1 to 1000000 masks, got {budget!r}"
    ):
        PermutationShap(budget)


def test_a_budget_of_one_pair_of_walks_is_enough_and_one_less_is_not() -> None:
    assert PermutationShap(16).attribute(game_of(CASES[:1]), 0, "x").n_forwards.tolist() == [14]
    with pytest.raises(ValueError, match="a case with 8 players needs a budget of at least 16, got 15"):
        PermutationShap(15).attribute(game_of(CASES[:1]), 0, "x")
    assert ShapPermutation(17).attribute(game_of(CASES[:1]), 0, "x").n_forwards.tolist() == [17]
    with pytest.raises(ValueError, match="a case with 8 players needs a budget of at least 17, got 16"):
        ShapPermutation(16).attribute(game_of(CASES[:1]), 0, "x")


def test_the_ends_of_what_is_legal_and_what_is_beyond_them() -> None:
    assert ShapKernel(1).budget == KernelShap(1).budget == 1
    assert (Random(1).n_draws, Random().n_draws, Popularity().n_draws) == (1, 10, 1)
    for n in (0, 10_001):
        with pytest.raises(SettingError, match=f"n_draws must be from 1 to 10000, got {n}"):
            Random(n)
        with pytest.raises(SettingError, match=f"n_steps must be from 1 to 10000, got {n}"):
            IntegratedGradients(n)
    assert (IntegratedGradients(1).n_steps, IntegratedGradients().n_steps) == (1, 32)


def test_kernel_shap_chooses_no_features() -> None:
    """shap itself would keep ten of the twelve players."""
    weights = {(j, 20): (-1) ** j * (1 + j / 4) for j in range(12)}
    value = game_of((OnPaper(tuple(range(12)), 20),), Table({}, weights))
    found = ShapKernel(400).attribute(value, 0, "x").values[0]
    np.testing.assert_allclose(found, list(weights.values()), atol=1e-6)


def test_permutations_are_shuffled_by_the_seed_of_the_case(monkeypatch) -> None:
    seeds = []

    class Watched(shap.PermutationExplainer):
        def __init__(self, game, masker, seed) -> None:
            seeds.append(seed)
            super().__init__(game, masker, seed=seed)

    monkeypatch.setattr(shap, "PermutationExplainer", Watched)
    ShapPermutation().attribute(game_of(), 5, "mine", draw=2)
    assert seeds == [case_seed(5, case, "mine", 2) % 2**32 for case in cases()]


class Seeds(ShapExplainer):
    """Notes the game and the seeds it is handed."""

    def explain(self, game, n_players, budget, seed) -> np.ndarray:
        ends = game(np.stack([np.ones(n_players), np.zeros(n_players)]))
        drawn = np.random.randint(2**31)  # noqa: NPY002
        self.seen = [*getattr(self, "seen", []), (n_players, budget, seed, drawn, ends.tolist())]
        return np.zeros(n_players)


def test_a_shap_game_is_one_case_with_a_seed_and_a_budget_of_its_own() -> None:
    explainer = Seeds()
    explainer.attribute(game_of(), 5, "mine", draw=2)
    sizes, budgets, seeds, drawn, ends = zip(*explainer.seen, strict=True)
    assert list(sizes) == LENGTHS and list(budgets) == [2 * n + 2 for n in LENGTHS]
    assert list(seeds) == [case_seed(5, case, "mine", 2) for case in cases()]
    assert len(set(drawn)) == 4
    assert list(ends) == [[c.score(list(c.history)), c.score([])] for c in CASES]
