"""DeepLIFT against Captum's on a net of modules, on paper, and complete where its rules reach."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.toy_games import Planted, game_of, plain_history
from tests.toys import fitted_composed, histories, no_progress
from xrec.errors import SettingError
from xrec.explain.activation import DeepLift
from xrec.explain.gradient import InputXGradient
from xrec.games.fitting import Fitting
from xrec.games.maskers import Masker, Popularity, SampledUser, Zero
from xrec.games.outputs import List, Logit, Margin, Output
from xrec.games.players import Field
from xrec.models.recommender import Capabilities, Context, FitData, Recommender

USERS, TARGETS = [4, 9, 2], [7, 8, 11]


class Net(Recommender):
    """Two layers of modules over a multi-hot history, with another activation each."""

    capabilities = Capabilities(gradients=True, fractional_presence=True)

    def __init__(self, n_items: int, activations: tuple[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.n_items = n_items
        with torch.random.fork_rng():
            torch.manual_seed(2)
            first, second, third = nn.Linear(n_items, 12), nn.Linear(12, 12), nn.Linear(12, n_items)
        self.net = nn.Sequential(first, activations[0], second, activations[1], third)

    def fit(self, data: FitData) -> None:
        pass

    def prepare(self, history) -> Context:
        return Context(history)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        present, item = context.presence(presence), context.history.item
        hot = present.new_zeros(*present.shape[:2], self.n_items)
        hot = hot.scatter_add(2, item.unsqueeze(1).expand_as(present), present)
        scores = self.net(3 * hot)
        if targets is None:
            return scores
        return scores.gather(2, targets.unsqueeze(1).expand(-1, present.shape[1], -1))


@pytest.mark.parametrize(
    "activations", [(nn.Tanh(), nn.Sigmoid()), (nn.ReLU(), nn.Softplus()), (nn.ELU(), nn.LeakyReLU(0.1))]
)
def test_it_is_captum_s_on_a_net_of_modules(activations: tuple[nn.Module, nn.Module]) -> None:
    rows = [[0, 3, 5, 7], [2, 4, 6], [1, 8, 9, 5]]
    model, targets = Net(20, activations), [14, 11, 12]
    found = DeepLift().attribute(game_of(model, plain_history(rows), targets), 0, "x")
    assert found.n_forwards.tolist() == [2] * 3 and found.signed and not found.complete
    slopes = InputXGradient().attribute(game_of(model, plain_history(rows), targets), 0, "x").values
    for row, (items, target) in enumerate(zip(rows, targets, strict=True)):
        hot = torch.zeros(1, 20)
        hot[0, items] = 3.0
        known = captum.attr.DeepLift(model.net).attribute(hot, torch.zeros_like(hot), target=target)
        np.testing.assert_allclose(found.values[row, : len(items)], known[0, items].detach(), atol=1e-5)
        assert not np.allclose(found.values[row, : len(items)], slopes[row, : len(items)], rtol=0.05)
    np.testing.assert_allclose(np.nansum(found.values, 1), found.f_x - found.f_empty, atol=1e-5)


class Product(Planted):
    """(1 + 2 a) (3 + b) / (1 + c), of the presences of three items."""

    capabilities = Capabilities(gradients=True, fractional_presence=True)

    def score(self, context, presence=None, targets=None):
        a, b, c = context.presence(presence).unbind(-1)
        return ((1 + 2 * a) * (3 + b) / (1 + c)).unsqueeze(-1)


def test_products_are_shared_between_both_orders_on_paper() -> None:
    """(1 + 2a)(3 + b) goes from 3 to 12: 2 * 3.5 by a and 1 * 2 by b; the inverse from 1 to 1/2, both means being
    (3 + 12) / 2 and (1 + 1/2) / 2: 7 * .75, 2 * .75, -.5 * 7.5."""
    found = DeepLift().attribute(game_of(Product(20), plain_history([[0, 3, 5]]), [9]), 0, "x")
    np.testing.assert_allclose(found.values, [[5.25, 1.5, -3.75]], rtol=1e-6)
    assert found.f_x - found.f_empty == pytest.approx(3.0)


@pytest.mark.parametrize("masker", [Zero(), Popularity(), SampledUser(3)], ids=lambda m: m.name)
@pytest.mark.parametrize("output", [Logit(), Margin(), List()], ids=lambda o: o.name)
def test_it_is_complete_for_a_vae_and_sigmoid_gates(masker: Masker, output: Output, toy, tmp_path) -> None:
    masker.fit(Fitting(toy, 0, torch.device("cpu"), no_progress))
    model = fitted_composed(toy, tmp_path, normaliser="sigmoid")
    targets = [(7, 8, 11), (8,), (3, 4)] if isinstance(output, List) else TARGETS
    game = game_of(
        model, histories(toy, USERS), targets, masker=masker, output=output, players=Field("size"),
        foils=[12, 13, 14] if isinstance(output, Margin) else None, catalogue=toy.catalogue,
    )  # fmt: skip
    found, slopes = (e.attribute(game, 0, "x") for e in (DeepLift(), InputXGradient()))
    effect = found.f_x - found.f_empty
    np.testing.assert_allclose(np.nansum(found.values, 1), effect, atol=1e-4)
    assert np.abs(np.nansum(slopes.values, 1) - effect).max() > 1e-2
    assert found.n_forwards.tolist() == [2 * masker.n_views] * 3


def test_values_and_gradients_of_the_game_are_the_same_afterwards(toy, tmp_path) -> None:
    model, history = fitted_composed(toy, tmp_path), histories(toy, USERS)
    fresh, used = game_of(model, history, TARGETS), game_of(model, history, TARGETS)
    DeepLift().attribute(used, 0, "x")
    one, two = (InputXGradient().attribute(game, 0, "x").values for game in (fresh, used))
    np.testing.assert_array_equal(one, two)


class Branching(Planted):
    """Computes an empty history in another way."""

    capabilities = Capabilities(gradients=True, fractional_presence=True)

    def score(self, context, presence=None, targets=None):
        present = context.presence(presence).sum(-1, keepdim=True)
        return present.tanh() if bool((present > 0).any()) else present


def test_a_model_that_takes_another_way_for_empty_histories_is_refused() -> None:
    with pytest.raises(SettingError, match="deep_lift: the model calls tanh for the whole history where it does not"):
        DeepLift().attribute(game_of(Branching(20), plain_history([[0, 3, 5], [1, 2, 4]]), [9, 8]), 0, "x")


@pytest.mark.parametrize("normaliser", ["softmax", "sparsemax", "entmax15"])
def test_weights_that_are_shared_out_have_their_slopes(normaliser: str, toy, tmp_path) -> None:
    """Those of nobody are undefined, and would be whatever stands in for 0 / 0."""
    model = fitted_composed(toy, tmp_path, attention="multi_head", normaliser=normaliser).only("attention")
    found, slopes = (
        e.attribute(game_of(model, histories(toy, USERS), TARGETS), 0, "x").values
        for e in (DeepLift(), InputXGradient())
    )
    there = ~np.isnan(found)
    np.testing.assert_allclose(found[there], slopes[there], atol=1e-6)
    assert np.abs(found[there]).max() > 0.01


def test_stacked_attention_is_explained_within_what_it_can_move(toy, tmp_path) -> None:
    model = fitted_composed(toy, tmp_path, attention="self_attention", user_encoder=False).only("attention")
    found = DeepLift().attribute(game_of(model, histories(toy, USERS), TARGETS), 0, "x")
    assert 1e-4 < np.nanmax(np.abs(found.values)) < 20 * np.abs(found.f_x - found.f_empty).max()
