"""What attention says: lengths by loops over heads, gradients through the gates, layers multiplied up on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.by_hand import game_of as table_game
from tests.toy_games import Planted, game_of, plain_history
from tests.toys import fitted_composed, histories
from xrec.errors import SettingError
from xrec.explain.attention import AttentionGradient, AttentionNorm, AttentionRollout, RawAttention
from xrec.games.model_game import ModelGame
from xrec.games.outputs import List, Logit, LogProbability, Margin, Output
from xrec.games.players import Field
from xrec.models.attention.history_attention import HistoryAttention
from xrec.models.attention.self_attention import SelfAttention
from xrec.models.component import Component
from xrec.models.composed import Composed
from xrec.models.recommender import Capabilities, Context
from xrec.types import Doubles

USERS, TARGETS = [4, 9, 2], [7, 8, 11]


def game(toy, tmp_path, output: Output | None = None, players=None, **options) -> ModelGame:
    model = fitted_composed(toy, tmp_path, **options)
    targets = [(7, 8, 11), (8,), (3, 4)] if isinstance(output, List) else TARGETS
    foils = [12, 13, 14] if isinstance(output, Margin) else None
    history = histories(toy, USERS)
    return game_of(model, history, targets, output=output, foils=foils, players=players, catalogue=toy.catalogue)


def values(explainer, of: ModelGame) -> Doubles:
    return explainer.attribute(of, 0, "x").values


def component_of(of: ModelGame) -> Component:
    assert isinstance(of.model, Composed)
    return of.model.component("attention")


@pytest.mark.parametrize("attention", ["additive", "multi_head", "temporal", "mean"])
def test_norms_are_lengths_of_what_the_heads_add_together(attention: str, toy, tmp_path) -> None:
    found = game(toy, tmp_path, attention=attention, normaliser="softmax")
    component = component_of(found)
    assert isinstance(component, HistoryAttention)
    with torch.no_grad():
        (tables,) = component._tables(found.context, found.targets)
        weights, rows = tables.weights(found.history.presence), tables.rows
    norms = values(AttentionNorm(), found)
    for case, n in enumerate(found.n_players.tolist()):
        for j in range(n):
            vector = sum(weights[case, h, j, 0] * rows[case, h, j] for h in range(rows.shape[1]))
            assert norms[case, j] == pytest.approx(float(torch.linalg.norm(vector)) * component.scale, rel=1e-4)


def test_norms_of_stacked_layers_are_those_of_the_read_out(toy, tmp_path) -> None:
    found = game(toy, tmp_path, attention="self_attention")
    component, seen = component_of(found), []
    assert isinstance(component, SelfAttention)
    component.norm.register_forward_hook(lambda module, given, states: seen.append(states[:, 0].detach()))
    norms, weights = values(AttentionNorm(), found), values(RawAttention(), found)
    there = ~np.isnan(norms)
    lengths = seen[0].norm(dim=-1).numpy()
    np.testing.assert_allclose(norms[there], (weights * lengths)[there], rtol=1e-5)


@pytest.mark.parametrize("normaliser", ["sigmoid", "softmax", "entmax15"])
@pytest.mark.parametrize("output", [Logit(), Margin(), List()], ids=lambda o: o.name)
def test_weights_times_gradients_in_a_sum_are_the_attention_s_contributions(
    normaliser: str, output: Output, toy, tmp_path
) -> None:
    for players in (None, Field("size")):
        found = game(toy, tmp_path, output, players, attention="multi_head", normaliser=normaliser)
        known = found.components()["attention"].contributions()
        there = found.players.real.numpy()
        assert np.abs(known[there]).max() > 0.05
        np.testing.assert_allclose(values(AttentionGradient(), found)[there], known[there], atol=1e-5)


@pytest.mark.parametrize(
    ("output", "options"),
    [
        (LogProbability(), {"attention": "multi_head", "normaliser": "softmax"}),
        (Logit(), {"attention": "additive", "normaliser": "softmax", "combination": "mixture"}),
        (Logit(), {"attention": "self_attention"}),
        (LogProbability(), {"attention": "self_attention", "linear": False}),
    ],
)
def test_weights_times_gradients_are_what_a_change_of_a_weight_does(output: Output, options, toy, tmp_path) -> None:
    found = game(toy, tmp_path, output, **options)
    gradient = values(AttentionGradient(), found)

    def at(carried: torch.Tensor) -> torch.Tensor:
        context = Context(found.history, dict(found.context.tables), carried=carried)
        with torch.no_grad():
            whole = found.history.presence.unsqueeze(1)
            return found._reading.value(found.model.score(context, whole, found._reading.items))[:, 0]

    for j in range(int(found.n_players.min())):
        step = torch.zeros_like(found.history.presence)
        step[:, j] = 0.05
        np.testing.assert_allclose(gradient[:, j], (at(1 + step) - at(1 - step)) / 0.1, atol=3e-4, rtol=2e-3)
    assert np.nanmax(np.abs(gradient)) > 1e-2


def test_what_attention_carries_does_not_stay_with_the_game(toy, tmp_path) -> None:
    found = game(toy, tmp_path, attention="multi_head", normaliser="softmax")
    before = found.values(found.whole())
    attribution = AttentionGradient().attribute(found, 0, "x")
    np.testing.assert_array_equal(found.values(found.whole()), before)
    assert attribution.n_forwards.tolist() == [1, 1, 1] and attribution.signed
    assert all(p.requires_grad for p in found.model.parameters())


class Layered(Planted):
    """Two layers of attention among three items, and a read-out, as given."""

    capabilities = Capabilities(attention=True, layers=True)
    first = [[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]]
    second = [[1.0, 0, 0], [0.25, 0.75, 0], [0, 0.6, 0.4]]
    read = [0.1, 0.3, 0.6]

    def attention_layers(self, context, targets=None):
        return [torch.tensor([layer]) for layer in (self.first, self.second)]

    def attention_weights(self, context, targets=None):
        return torch.tensor([self.read]).unsqueeze(-1)


def test_rollout_on_paper() -> None:
    """Read-out .1 .3 .6; through half the second layer and half itself: .1 + .3 / 8, .3 * 7/8 + .6 * .3, .6 * .7;
    through the first: .1375 + .4425 / 4 + .42 / 10, .4425 * 3/4 + .42 * .15, .42 * 3/4."""
    found = AttentionRollout().attribute(game_of(Layered(20), plain_history([[0, 3, 5]]), [9]), 0, "x")
    np.testing.assert_allclose(found.values, [[0.290125, 0.394875, 0.315]], rtol=1e-6)
    assert found.n_forwards.tolist() == [2] and not found.signed


def test_rollout_follows_every_path_of_a_model(toy, tmp_path) -> None:
    found = game(toy, tmp_path, attention="self_attention")
    rolled = values(AttentionRollout(), found)
    layers, read = [layer.double().numpy() for layer in found.attention_layers()], found.channel_attention().numpy()
    for case, n in enumerate(found.n_players.tolist()):
        one, two = ((layer[case, :n, :n] + np.eye(n)) / 2 for layer in layers)
        for j in range(n):
            paths = sum(read[case, k] * two[k, m] * one[m, j] for k in range(n) for m in range(n))
            assert rolled[case, j] == pytest.approx(paths, abs=1e-6)
        assert np.nansum(rolled[case]) == pytest.approx(1.0, abs=1e-5)
    grouped = game(toy, tmp_path, players=Field("size"), attention="self_attention")
    pooled = grouped.players.pooled(torch.from_numpy(np.nan_to_num(rolled)))
    np.testing.assert_allclose(np.nan_to_num(values(AttentionRollout(), grouped)), pooled, atol=1e-6)


@pytest.mark.parametrize("explainer", [AttentionNorm(), AttentionGradient(), AttentionRollout()])
def test_attention_without_values_or_layers_is_refused(explainer) -> None:
    with pytest.raises(SettingError, match="explainer x needs .*(attention_values|layers), which model Table"):
        explainer.attribute(table_game(), 0, "x")
