"""Gradients on presence against Captum and finite differences; what is drawn, where paths start, and an oracle."""

from __future__ import annotations

from dataclasses import replace

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.toy_games import Planted, game_of, plain_history
from tests.toys import fitted_composed, histories, no_progress
from xrec.errors import SettingError
from xrec.explain.gradient import (
    ExpectedGradients,
    InputXGradient,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
    SPINRec,
    SPINRecMean,
)
from xrec.explain.others import OnTraining
from xrec.fidelity.removal import Removal
from xrec.fidelity.score import ScoreRemoval
from xrec.games.fitting import Fitting
from xrec.games.keyed import Keyed
from xrec.games.maskers import Masker, Popularity, SampledUser, Views, Zero
from xrec.games.model_game import ModelGame
from xrec.games.outputs import List, Logit, LogProbability, Margin, Output
from xrec.games.players import Field
from xrec.types import Attribution

USERS, TARGETS = [4, 9, 2], [7, 8, 11]


def game(
    toy, tmp_path, masker: Masker | None = None, output: Output | None = None, players=None, normaliser="softmax"
) -> ModelGame:
    model = fitted_composed(toy, tmp_path, attention="multi_head", normaliser=normaliser)
    if masker is not None:
        masker.fit(Fitting(toy, 0, torch.device("cpu"), no_progress))
    targets = [(7, 8, 11), (8,), (3, 4)] if isinstance(output, List) else TARGETS
    return game_of(
        model, histories(toy, USERS), targets, masker=masker, output=output, players=players,
        foils=[12, 13, 14] if isinstance(output, Margin) else None, catalogue=toy.catalogue,
    )  # fmt: skip


def fitted(explainer: OnTraining, toy) -> OnTraining:
    other = type(explainer)()
    other.fit(Fitting(toy, 0, torch.device("cpu"), no_progress))
    explainer.load_state(other.state())
    return explainer


def filled(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values)


@pytest.mark.parametrize("masker", [Zero(), Popularity(), SampledUser(3)], ids=lambda m: m.name)
@pytest.mark.parametrize("output", [Logit(), LogProbability(), Margin(), List()], ids=lambda o: o.name)
def test_gradients_are_slopes_of_the_value(masker: Masker, output: Output, toy, tmp_path) -> None:
    of = game(toy, tmp_path, masker, output, Field("size"))
    found, size = InputXGradient().attribute(of, 0, "x"), Saliency().attribute(of, 0, "x")
    assert found.signed and not size.signed and not found.complete
    assert found.n_forwards.tolist() == size.n_forwards.tolist() == [masker.n_views] * 3
    np.testing.assert_array_equal(size.values, np.abs(found.values))
    whole = of.whole().astype(np.float32)
    step = 0.02 * np.eye(of.width, dtype=np.float32)  # to one side, since presence ends at 1
    slope = (3 * of.values(whole) - 4 * of.values(whole - step) + of.values(whole - 2 * step)) / 0.04
    there = ~np.isnan(found.values)
    np.testing.assert_allclose(found.values[there], slope[there], atol=2e-3, rtol=0.01)
    assert (found.values[there] < 0).any() and np.abs(slope[there]).max() > 0.1


def test_saliency_and_input_x_gradient_are_captum_s(toy, tmp_path) -> None:
    of = game(toy, tmp_path, output=LogProbability())

    def forward(present: Tensor) -> Tensor:
        return of.differentiable(present.unsqueeze(1))[:, 0]

    inputs = of.players.real.float()
    for mine, theirs in ((Saliency(), captum.attr.Saliency), (InputXGradient(), captum.attr.InputXGradient)):
        known = theirs(forward).attribute(inputs.clone().requires_grad_()).detach().numpy()
        np.testing.assert_allclose(filled(mine.attribute(of, 0, "x").values), known, atol=1e-6)


def test_smooth_grad_is_the_mean_over_noisy_presences(toy, tmp_path) -> None:
    of = game(toy, tmp_path)
    found = SmoothGrad(n_samples=40, deviation=0.4).attribute(of, 3, "smooth")
    for row, n in enumerate(of.n_players.tolist()):
        noise = Keyed(3, "smooth").generator(of.cases[row]).standard_normal((40, n), dtype=np.float32)
        points = torch.from_numpy(1 + 0.4 * noise).clamp(0, 1)
        assert 0.4 < (points == 1).float().mean() < 0.6
        slopes = []
        for point in points:
            present = point.clone().requires_grad_()
            of.single(row).differentiable(present[None, None]).sum().backward()
            slopes.append(present.grad)
        known = torch.stack([s for s in slopes if s is not None]).double()
        np.testing.assert_allclose(found.values[row, :n], known.mean(0), atol=1e-5)
        assert found.standard_error is not None
        np.testing.assert_allclose(found.standard_error[row, :n], known.std(0) / 40**0.5, atol=1e-5)
    assert found.n_forwards.tolist() == [40] * 3
    assert not np.allclose(filled(found.values), filled(InputXGradient().attribute(of, 0, "x").values), atol=1e-3)


def test_presences_are_those_of_other_users_of_training(toy, tmp_path) -> None:
    sets = toy.histories(toy.train_end + 1)
    had = [set(sets.item[a:b].tolist()) for a, b in zip(sets.indptr[:-1], sets.indptr[1:], strict=True)]
    of, explainer = game(toy, tmp_path), fitted(ExpectedGradients(), toy)
    cases = tuple(replace(case, user=user) for case, user in zip(of.cases, USERS, strict=True))
    for players in (None, Field("size")):
        of = game(toy, tmp_path, players=players)
        of.cases = cases
        found = explainer.presences(of, Keyed(0, "x"), 500)
        assert found.shape == (3, 500, of.width)
        for row, n in enumerate(of.n_players.tolist()):
            member, items = of.players.membership[row].tolist(), of.history.item[row].tolist()
            mine = [{i for i, m in zip(items, member, strict=True) if m == p} for p in range(n)]
            known = {
                tuple(np.float32(len(group & had[user]) / len(group)) for group in mine): user
                for user in range(len(had))
                if user != USERS[row] and had[user]
            }
            drawn = {tuple(presence) for presence in found[row, :, :n]}
            assert drawn <= set(known) and len(drawn) > 0.9 * len(known)
            assert not found[row, :, n:].any()
            if players is None:  # the user's own history is the only one that has everything
                assert found[row, :, :n].min(1).max() == 0


def test_expected_gradients_sum_to_what_the_whole_history_adds_to_those_of_others(toy, tmp_path) -> None:
    of, explainer = game(toy, tmp_path, normaliser="sigmoid"), fitted(ExpectedGradients(3000), toy)
    found = explainer.attribute(of, 0, "x")
    starts = explainer.presences(of, Keyed(0, "x"), 3000)
    gained = of.values(of.whole())[:, 0] - of.values(starts).mean(1)
    assert (np.abs(gained) > 0.05).all()
    np.testing.assert_allclose(np.nansum(found.values, 1), gained, atol=0.02)
    assert not found.complete and found.standard_error is not None and np.nanmax(found.standard_error) < 0.05


def test_expected_gradients_are_captum_s_gradient_shap(toy, tmp_path) -> None:
    of, explainer = game(toy, tmp_path).single(0), fitted(ExpectedGradients(4000), toy)
    found = explainer.attribute(of, 0, "x")
    backgrounds = torch.from_numpy(explainer.presences(of, Keyed(0, "x"), 4000)[0])

    def forward(present: Tensor) -> Tensor:
        return of.differentiable(present.unsqueeze(0))[0]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = captum.attr.GradientShap(forward)
        np.random.seed(0)  # noqa: NPY002
        known = method.attribute(torch.ones(1, of.width), baselines=backgrounds, n_samples=4000)
    assert found.standard_error is not None
    error = np.abs(found.values[0] - known[0].detach().numpy()) / np.maximum(found.standard_error[0], 1e-6)
    assert error.max() < 4.5  # both have errors of sampling


class Given(Masker):
    """What is absent is as given."""

    name = "given"

    def __init__(self, there: np.ndarray) -> None:
        self.there, self.n_views = torch.from_numpy(there), there.shape[1]

    def bind(self, history, cases, seed) -> Views:
        return lambda present: present.unsqueeze(2) + (1 - present).unsqueeze(2) * self.there.unsqueeze(1)


def test_the_mean_map_is_integrated_gradients_where_absent_is_what_these_users_have(toy, tmp_path) -> None:
    of, explainer = game(toy, tmp_path, output=Margin()), SPINRecMean(n_users=6, n_steps=20)
    fitted(explainer, toy)
    there = explainer.presences(of, Keyed(2, "spinrec"), 6)
    known = IntegratedGradients(n_steps=20).attribute(game(toy, tmp_path, Given(there), Margin()), 0, "x").values
    found = explainer.attribute(of, 2, "spinrec_mean")
    np.testing.assert_allclose(filled(found.values), filled(known), atol=1e-5)
    assert found.role == "explainer" and found.n_forwards.tolist() == [120] * 3
    assert np.nanmax(np.abs(known)) > 0.1


def with_values(of: ModelGame, values: np.ndarray) -> Attribution:
    values = np.where(of.players.real.numpy(), values, np.nan)
    return replace(InputXGradient().attribute(of, 0, "x"), values=values)


@pytest.mark.parametrize("players", [None, Field("size")])
def test_the_oracle_takes_the_map_that_deletion_likes_best(players, toy, tmp_path) -> None:
    of = game(toy, tmp_path, SampledUser(2), players=players)
    oracle, mean = (fitted(e, toy) for e in (SPINRec(8, 5), SPINRecMean(8, 5)))
    assert isinstance(oracle, SPINRec)
    found = oracle.attribute(of, 1, "spinrec")
    assert found.role == "oracle" and found.n_forwards.tolist() == [2 * (8 * 5 + 8 * 9)] * 3
    maps = oracle.maps(of, Keyed(1, "spinrec"))
    best = SPINRec._deletion(of, maps).argmin(1)
    assert len({*best.tolist(), 0}) > 1, "the toy must have something to choose"
    np.testing.assert_array_equal(filled(found.values), filled(with_values(of, maps[np.arange(3), best]).values))
    for number in range(3):  # the metric is that of fidelity, whatever the map; ties are broken otherwise there
        drawn = np.random.default_rng(number).normal(size=(3, 1, of.width))
        measured = ScoreRemoval().measure(Removal(of, with_values(of, drawn[:, 0]), [0] * 3))
        (known,) = [m.values for m in measured if m.metric == "deletion" and m.variant is None and m.step is None]
        np.testing.assert_allclose(SPINRec._deletion(of, drawn)[:, 0], known, atol=1e-5)
    average = mean.attribute(of, 1, "spinrec_mean")
    np.testing.assert_allclose(filled(average.values), filled(with_values(of, maps.mean(1)).values), atol=1e-9)


def test_a_lone_user_has_nobody_to_be_drawn() -> None:
    explainer = ExpectedGradients()
    explainer.load_state({"indptr": torch.tensor([0, 2, 2]), "item": torch.tensor([1, 2], dtype=torch.int32)})
    with pytest.raises(SettingError, match="no other user with a training history"):
        explainer.attribute(game_of(Planted(20), plain_history([[1, 2]]), [9]), 0, "x")


@pytest.mark.parametrize(
    ("explainer", "settings", "says"),
    [
        (SmoothGrad, {"n_samples": 1}, "smooth_grad.n_samples must be from 2 to 10000, got 1"),
        (SmoothGrad, {"deviation": 0.0}, "smooth_grad.deviation must be above 0 and at most 10, got 0.0"),
        (ExpectedGradients, {"n_samples": 0}, "expected_gradients.n_samples must be from 2"),
        (SPINRec, {"n_users": 1}, "spinrec.n_users must be from 2"),
        (SPINRecMean, {"n_steps": 0}, "spinrec_mean.n_steps must be from 1"),
        (IntegratedGradients, {"n_steps": 0}, "integrated_gradients.n_steps must be from 1"),
    ],
)
def test_bad_settings_are_refused(explainer, settings, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        explainer(**settings)
