"""Explainers against exact enumeration, deletion effects, completeness, and planted causes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.toy_games import Planted, exact_shapley, game_of, plain_history, popularity_control, with_users
from tests.toys import fitted_composed, histories, no_progress, toy_composed
from xrec.explain.activation import DeepLift
from xrec.explain.attention import AdditiveContributions, RawAttention
from xrec.explain.controls import Random
from xrec.explain.gradient import (
    ExpectedGradients,
    InputXGradient,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
    SPINRec,
    SPINRecMean,
)
from xrec.explain.library import ShapPermutation, numpy_global_seed
from xrec.explain.removal import LeaveOneOut
from xrec.explain.shapley import KernelShap, PermutationShap
from xrec.explain.surrogate import LimeRS
from xrec.games.fitting import Fitting
from xrec.games.maskers import Masker, Popularity, SampledUser, Zero
from xrec.games.outputs import List, Logit, LogProbability, Margin, Output
from xrec.games.players import Field
from xrec.models.history import History

REAL = {
    "leave_one_out": LeaveOneOut(),
    "attention": RawAttention(),
    "additive": AdditiveContributions(),
    "integrated_gradients": IntegratedGradients(n_steps=16),
    "permutation_shap": PermutationShap(),
    "kernel_shap": KernelShap(),
    "saliency": Saliency(),
    "input_x_gradient": InputXGradient(),
    "smooth_grad": SmoothGrad(),
    "expected_gradients": with_users(ExpectedGradients(16)),
    "spinrec": with_users(SPINRec(3, 4)),
    "spinrec_mean": with_users(SPINRecMean(3, 4)),
    "lime_rs": LimeRS(budget=300),
    "deep_lift": DeepLift(),
}


def short_cases(toy, toy_fit, normaliser: str):
    model = toy_composed(toy, normaliser=normaliser)
    model.fit(toy_fit)
    table = toy.histories(9)
    short = [int(u) for u in np.argsort(table.lengths()) if table.lengths()[u] >= 3][:3]
    return game_of(model, History.from_table(table, short), [1, 2, 3])


@pytest.fixture
def values(toy, toy_fit):
    """The VAE model with a softmax gate on short histories: nothing about it is additive."""
    return short_cases(toy, toy_fit, "softmax")


def first(array: np.ndarray, value, row: int) -> np.ndarray:
    return array[row, : value.n_players[row]]


@pytest.mark.parametrize(("explainer", "budget"), [(PermutationShap, 4000), (KernelShap, 4000)])
def test_shap_agrees_with_exact_enumeration(explainer, budget, values) -> None:
    rows = [r for r in range(len(values)) if values.n_players[r] <= 10]
    assert rows, "the toy must have a case that can be enumerated"
    found = explainer(budget=budget).attribute(values, seed=0, name="x").values
    for row in rows:
        exact = exact_shapley(values, row)
        tolerance = 1e-4 if explainer is KernelShap else 0.05 * np.abs(exact).max()
        np.testing.assert_allclose(first(found, values, row), exact, atol=tolerance)


@pytest.mark.parametrize("name", ["permutation_shap", "kernel_shap"])
def test_shap_values_sum_to_the_effect_of_the_history(name, values) -> None:
    whole, empty = values.ends()
    total = np.nansum(REAL[name].attribute(values, 0, name).values, axis=1)
    np.testing.assert_allclose(total, whole - empty, atol=1e-5)


@pytest.mark.parametrize("normaliser", ["sparsemax", "entmax15"])
def test_all_explain_sparse_gates_and_shap_agrees_with_exact_enumeration(normaliser, toy, toy_fit) -> None:
    values = short_cases(toy, toy_fit, normaliser)
    for name, explainer in {**REAL, "kernel_shap": KernelShap(budget=4000)}.items():
        found = explainer.attribute(values, 0, name).values
        for row in range(len(values)):
            assert np.isfinite(first(found, values, row)).all() and np.abs(first(found, values, row)).max() > 1e-4
            if name == "kernel_shap" and values.n_players[row] <= 8:
                np.testing.assert_allclose(first(found, values, row), exact_shapley(values, row), atol=1e-4)


def test_integrated_gradients_are_complete_with_a_sigmoid_gate(toy, toy_fit) -> None:
    values = short_cases(toy, toy_fit, "sigmoid")
    whole, empty = values.ends()
    total = np.nansum(IntegratedGradients(n_steps=100).attribute(values, 0, "x").values, axis=1)
    np.testing.assert_allclose(total, whole - empty, atol=1e-4)


def test_integrated_gradients_miss_the_jump_of_a_softmax_gate_at_the_empty_history(values) -> None:
    """Along the straight path a normalised gate is constant and jumps at its start: the method cannot be complete."""
    whole, empty = values.ends()
    total = np.nansum(IntegratedGradients(n_steps=100).attribute(values, 0, "x").values, axis=1)
    assert np.all(np.abs(total - (whole - empty)) > 1e-2)


@pytest.mark.parametrize("masker", [Zero(), Popularity(), SampledUser(3)], ids=lambda m: m.name)
@pytest.mark.parametrize("output", [Logit(), LogProbability(), Margin(), List()], ids=lambda o: o.name)
def test_integrated_gradients_are_complete_for_groups_under_every_masker_and_output(
    masker: Masker, output: Output, toy, tmp_path
) -> None:
    masker.fit(Fitting(toy, 0, torch.device("cpu"), no_progress))
    model, history = fitted_composed(toy, tmp_path, normaliser="sigmoid"), histories(toy, [4, 9])
    targets = [(7, 8, 11), (8,)] if output.joint else [7, 8]
    game = game_of(
        model, history, targets, players=Field("size"), masker=masker, output=output, catalogue=toy.catalogue,
        foils=[12, 13] if output.contrastive else None,
    )  # fmt: skip
    whole, empty = game.ends()
    found = IntegratedGradients(n_steps=100).attribute(game, 0, "x")
    np.testing.assert_allclose(np.nansum(found.values, axis=1), whole - empty, atol=1e-3)
    assert found.n_forwards.tolist() == [100 * masker.n_views] * 2 and (np.abs(whole - empty) > 1e-2).all()


def test_leave_one_out_is_the_score_lost_by_really_removing_the_item(values) -> None:
    found = LeaveOneOut().attribute(values, 0, "x").values
    for row in range(len(values)):
        history = values.history.rows([row])
        target = values.targets[row : row + 1]
        whole = values.model.score(values.model.prepare(history), None, target).item()
        for j in range(int(values.n_players[row])):
            keep = torch.ones(history.item.shape[1], dtype=torch.bool)
            keep[j] = False
            left = history.without(keep)
            lost = whole - values.model.score(values.model.prepare(left), None, target).item()
            assert found[row, j] == pytest.approx(lost, abs=1e-5)


@pytest.mark.parametrize("name", list(REAL))
def test_every_explainer_but_the_controls_finds_the_planted_cause(name) -> None:
    history = plain_history([[0, 3, 5, 7], [2, 4, 6], [1, 8, 9, 5]])
    causes = [5, 4, 8]
    value = game_of(Planted(20), history, [19 - c for c in causes])
    found = REAL[name].attribute(value, 0, name)
    for row, cause in enumerate(causes):
        best = int(np.nanargmax(found.values[row]))
        assert history.item[row, best] == cause


def test_the_controls_know_nothing_of_the_cause() -> None:
    history = plain_history([[0, 3, 5, 7]] * 200)
    value = game_of(Planted(20), history, [14] * 200)
    ranked = [int(np.argmax(r)) for r in Random().attribute(value, 0, "random").values]
    assert 20 < ranked.count(2) < 80  # one in four by chance
    popular = popularity_control(20).attribute(value, 0, "popularity").values
    assert np.all(popular.argmax(1) == 0)


@pytest.mark.parametrize("name", [*REAL, "random"])
def test_random_numbers_are_keyed_by_the_case_and_padding_changes_nothing(name, values) -> None:
    explainer = Random() if name == "random" else REAL[name]
    together = explainer.attribute(values, 3, name)
    for row in range(len(values)):
        alone = explainer.attribute(values.single(row), 3, name)
        np.testing.assert_allclose(alone.values[0], first(together.values, values, row), atol=1e-6)
        assert np.isnan(together.values[row, values.n_players[row] :]).all()


def test_another_seed_draws_other_numbers(values) -> None:
    one, two = (Random().attribute(values, s, "random").values for s in (0, 1))
    assert not np.allclose(np.nan_to_num(one), np.nan_to_num(two))
    other = Random().attribute(values, 0, "random", draw=1).values
    assert not np.allclose(np.nan_to_num(one), np.nan_to_num(other))


def test_forwards_are_counted_exactly(values) -> None:
    n = values.n_players
    assert LeaveOneOut().attribute(values, 0, "x").n_forwards.tolist() == [values.width + 1] * len(values)
    assert IntegratedGradients(16).attribute(values, 0, "x").n_forwards.tolist() == [16] * len(values)
    assert (PermutationShap().attribute(values, 0, "x").n_forwards <= 2 * n + 4).all()


def test_the_global_generator_is_put_back() -> None:
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    with numpy_global_seed(1):
        np.random.random()  # noqa: NPY002
    assert np.random.random() == expected  # noqa: NPY002


def test_too_small_a_budget_is_refused(values) -> None:
    with pytest.raises(ValueError, match="needs a budget of at least"):
        PermutationShap(budget=3).attribute(values, 0, "x")


@pytest.mark.parametrize(("n_players", "budget"), [(1, 5), (2, 6), (7, 16), (7, 64), (40, 82)])
def test_shap_permutation_asks_what_shap_s_own_masker_asks_and_says_the_same(n_players: int, budget: int) -> None:
    import shap
    from shap.maskers import Independent

    pairs = np.random.default_rng(n_players).normal(size=(n_players, n_players))

    def recorded(asked: list[np.ndarray]):
        def values(masks: np.ndarray) -> np.ndarray:
            asked.append(np.array(masks, dtype=bool))
            return np.tanh(masks @ pairs).sum(1)

        return values

    mine, theirs = [], []
    with numpy_global_seed(3):
        found = ShapPermutation().explain(recorded(mine), n_players, budget, 3)
    with numpy_global_seed(3):
        own = Independent(np.zeros((1, n_players)), max_samples=1)
        explainer = shap.PermutationExplainer(recorded(theirs), own, seed=3)
        expected = explainer(np.ones((1, n_players)), max_evals=budget, batch_size=budget, silent=True)
    assert len(mine) == len(theirs) and all(map(np.array_equal, mine, theirs))
    assert np.array_equal(found, np.asarray(expected.values).reshape(n_players))
