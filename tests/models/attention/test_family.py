"""Every attention with every normaliser: logits against a loop, masked is removed, what contributions and weights are,
and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.models.attention.test_sparse import bisected
from tests.toys import fitted_composed, histories, toy_composed, train
from xrec.models.attention.dot_product import DotProduct
from xrec.models.attention.multi_head import MultiHead
from xrec.models.attention.normalisers.by_name import NORMALISERS
from xrec.models.attention.normalisers.sparse import Sparse
from xrec.models.attention.temporal import Temporal
from xrec.models.recommender import Context

ATTENTIONS = ("additive", "dot_product", "multi_head", "temporal")  # target is multi_head with one


@pytest.fixture(params=NORMALISERS)
def normaliser(request):
    return request.param


@pytest.fixture(params=ATTENTIONS)
def model(request, normaliser, toy, tmp_path):
    """Of features that tell items apart, and with steep logits, so that few items have gates."""
    chosen = {"attention": request.param, "normaliser": normaliser, "item_encoder": "embedding"}
    model = fitted_composed(toy, tmp_path, **chosen, linear=False, repeat=False, user_encoder=False).only("attention")
    attention: Any = model.component("attention")
    attention.decay.data.fill_(1.5)
    return model


def several(history, seed: int = 1):
    return torch.rand(len(history), 5, history.item.shape[1], generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_masked_is_removed(model, toy):
    history, targets = histories(toy, [3, 5]), torch.tensor([[0, 4, 9], [1, 7, 2]])
    targets[:, 0] = history.item[:, 0]
    presence = (several(history) < 0.5).float()
    presence[:, 0] = 0.0
    context = model.prepare(history)
    masked, some = model.score(context, presence), model.score(context, presence, targets)
    assert not masked[:, 0].any()
    for row in range(2):
        for copy in range(5):
            removed = model.prepare(history.rows([row]).without(presence[row, copy]))
            torch.testing.assert_close(masked[row, copy], model.score(removed)[0, 0], rtol=1e-5, atol=2e-6)
            wanted = model.score(removed, None, targets[row : row + 1])[0, 0]
            torch.testing.assert_close(some[row, copy], wanted, rtol=1e-5, atol=2e-6)


@torch.no_grad()
def test_a_history_may_be_there_in_part(model, toy):
    history = histories(toy, [3, 5])
    presence = several(history)[:, :1] * history.presence.unsqueeze(1)
    context = model.prepare(replace(history, presence=presence[:, 0]))
    score = model.score(model.prepare(history), presence)
    torch.testing.assert_close(model.score(context), score, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.contributions(context).sum(1), score[:, 0], rtol=1e-5, atol=1e-6)
    weights = model.attention_weights(context)
    if not model.component("attention").linear:
        torch.testing.assert_close(weights.sum(1), torch.ones_like(weights[:, 0]))


@torch.no_grad()
def test_contributions_sum_and_are_deletion_effects_where_it_is_linear(model, toy):
    context, attention = model.prepare(histories(toy, [3, 5])), model.component("attention")
    contributions, whole = model.contributions(context), model.score(context)
    torch.testing.assert_close(contributions.sum(1), whole[:, 0], rtol=1e-5, atol=1e-6)
    there = context.history.presence
    alone = model.score(context, 1 - torch.eye(there.shape[1]).expand(2, -1, -1))
    exact = torch.allclose(whole - alone, contributions, rtol=1e-4, atol=1e-6)
    assert exact == attention.linear == attention.normaliser.linear
    weights = model.attention_weights(context)
    assert weights.shape == contributions.shape and (weights >= 0).all() and not weights[there == 0].any()
    if not exact:
        torch.testing.assert_close(weights.sum(1), torch.ones_like(weights[:, 0]))
    absent = (weights == 0) & (there > 0).unsqueeze(-1)
    assert absent.any() == isinstance(attention.normaliser, Sparse)
    assert not contributions[absent].any()  # nor does it make a difference whether such an item is there
    torch.testing.assert_close(alone[absent], whole.expand_as(alone)[absent], rtol=1e-5, atol=1e-6)
    fractional = several(context.history)
    wanted = torch.cat([model.score(context, p) for p in fractional.split(2, dim=1)], dim=1)
    torch.testing.assert_close(model.score(context, fractional), wanted)
    nearly = model.score(context, fractional * 0.999 + 0.001)
    assert 0 < (nearly - wanted).abs().max() < 0.1


def test_gradients_reach_what_is_learned(model, toy):
    history = histories(toy, [2, 3, 5, 8])
    own = history.item[:, :3]
    context = model.training_context(history, torch.tensor([2, 3, 5, 8]), torch.Generator().manual_seed(0))
    attention = model.component("attention")
    (attention.score(context, None, own) * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
    for name, parameter in attention.named_parameters():
        if name in ("bias", "kind_bias") and not attention.linear:  # one kind of event: they cancel
            continue
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-6, name
    assert model.item_encoder.table.weight.grad.abs().sum() > 0
    presence = several(history).requires_grad_()
    (slope,) = torch.autograd.grad(model.score(model.prepare(history), presence, own).sum(), presence)
    assert slope.isfinite().all() and slope.abs().max() > 1e-3


@pytest.mark.parametrize("name", ["dot_product", "temporal"])
@torch.no_grad()
def test_logits_and_scores_are_those_of_a_loop(name, normaliser, toy, tmp_path):
    chosen = {"attention": name, "normaliser": normaliser, "item_encoder": "embedding"}
    model = fitted_composed(toy, tmp_path, **chosen, linear=False, repeat=False, user_encoder=False).only("attention")
    attention: Any = model.component("attention")
    context = model.prepare(histories(toy, [3]))
    attention.decay.copy_(torch.tensor([0.3, 1.1]))
    history, features = context.history, context.tables["features"].double()
    scores, size, length = model.score(context)[0, 0], features.shape[1], history.item.shape[1]
    assert length == int(history.presence.sum())
    double = {name: parameter.double() for name, parameter in attention.named_parameters()}
    for target in (int(history.item[0, 1]), int(history.item[0, 4]), 4, 9):
        wanted = 0.0
        for h in range(2):
            logits, values = torch.zeros(length, 1, dtype=torch.double), torch.zeros(length, 1, dtype=torch.double)
            for j in range(length):
                own = features[history.item[0, j]]
                logits[j] = double["kind_bias"][h, history.kind[0, j]] + double["bias"][h]
                logits[j] -= float(attention.decay[h]) * math.log1p(float(history.age[0, j]))
                if name == "dot_product":
                    logits[j] += math.sqrt(size) * double["query.weight"][h] @ own
                else:
                    query, key = (double[f"{x}.weight"].chunk(2)[h] for x in ("query", "key"))
                    logits[j] += (query @ features[target]) @ (key @ own) / math.sqrt(size / 2)
                    of_time = time_by_hand(double, history, j)
                    logits[j] += of_time[h] + (of_time[2 + h] if history.item[0, j] == target else 0.0)
                values[j] = (double["value.weight"].chunk(2)[h] @ own) @ features[target]
            if normaliser in ("softmax", "sigmoid"):
                gates = logits.softmax(0) if normaliser == "softmax" else logits.sigmoid()
            else:
                gates = bisected(attention.normaliser, logits, torch.ones_like(logits))
            wanted += float((gates * values).sum())
        assert float(scores[target]) == pytest.approx(wanted / math.sqrt(size), rel=1e-4, abs=1e-5)


def time_by_hand(weights, history, j: int) -> torch.Tensor:
    age, first, times = (float(c[0, j]) for c in (history.age, history.first_age, history.n_periods))
    gap = (first - age) / (times - 1) if times > 1 else 0.0
    due = min(age / (gap + 1), 5.0) if times > 1 else 0.0
    inputs = torch.tensor([math.log1p(age), math.log1p(gap), math.log1p(times), due], dtype=torch.double)
    hidden = weights["time.0.weight"] @ inputs + weights["time.0.bias"]
    return weights["time.2.weight"] @ (hidden * hidden.sigmoid()) + weights["time.2.bias"]


def test_the_rhythm_of_a_history_item(toy):
    history = histories(toy, [3])
    age, first, times = torch.tensor([[2.0, 40.0, 3.0], [11.0, 46.0, 3.0], [4.0, 3.0, 1.0]])[:, None]
    gap, due = replace(history, age=age, first_age=first, n_periods=times).rhythm()
    torch.testing.assert_close(gap, torch.tensor([[3.0, 3.0, 0.0]]))
    torch.testing.assert_close(due, torch.tensor([[0.5, 5.0, 0.0]]))  # 40 / 4, bounded


@torch.no_grad()
def test_temporal_starts_as_multi_head(toy):
    history, features = histories(toy, [3, 5]), torch.randn(toy.catalogue.n_items, 8)
    scores = []
    for kind in (MultiHead, Temporal):
        torch.manual_seed(0)
        attention = kind(toy.catalogue, 8, 2, "softmax")
        scores.append(attention.score(Context(history, {"features": features})))
    assert torch.equal(*scores)


@pytest.mark.parametrize("kind", [MultiHead, Temporal])
def test_only_temporal_tells_what_is_due_again(toy, kind):
    """Of items that are the same but for their gaps, the target is the one that is due."""
    history = histories(toy, list(range(8)))
    several_times = torch.where(history.presence > 0, 4.0, 0.0)
    gap = torch.where(history.item % 2 == 0, 1.0, 7.0)
    history = replace(history, age=torch.full_like(history.age, 6.0), first_age=6 + 3 * gap, n_periods=several_times)
    torch.manual_seed(0)
    attention = kind(toy.catalogue, 4, 1, "sigmoid", maps="identity")
    attention.value.requires_grad_(False)
    attention.bias.data.fill_(-5.0)  # sums over histories start near 0
    context = Context(history, {"features": torch.ones(toy.catalogue.n_items, 4)})
    there = history.presence.bool()
    due = (gap == 1.0).float()[there]
    shift = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.Adam([*attention.parameters(), shift], lr=0.1)
    loss = torch.zeros(())
    for _ in range(100):
        scores = attention.score(context, None, history.item)[:, 0][there] + shift
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, due)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (loss < 0.5) if kind is Temporal else (loss > 0.6)


def test_dot_product_has_no_hidden_layer(toy):
    """The logit of a sum of features is the sum of their logits."""
    attention, history = DotProduct(toy.catalogue, 8, 2), histories(toy, [3])
    one, other = torch.randn(2, 1, history.item.shape[1], 8)
    rated = [
        attention.tables(history, f, one, one).logits - attention.offset(history) for f in (one, other, one + other)
    ]
    torch.testing.assert_close(rated[0] + rated[1], rated[2], rtol=1e-4, atol=1e-5)
    assert {name for name, _ in attention.named_parameters()} == {
        "decay", "kind_bias", "bias", "query.weight", "value.weight",
    }  # fmt: skip


def test_temporal_is_not_trained_on_profiles(toy):
    with pytest.raises(ValueError, match="attention cannot be trained on whole profiles: .* own-item term"):
        toy_composed(toy, attention="temporal", repeat=False).check_profiles()


@pytest.mark.parametrize(
    ("attention", "normaliser"),
    [("dot_product", "entmax15"), ("additive", "sparsemax"), ("temporal", "entmax15")],
)
def test_it_learns_a_toy(toy, tmp_path, attention, normaliser):
    model = toy_composed(toy, normaliser, False, attention, "embedding", linear=False, repeat=False, noise=0.0)
    rows: list[dict[str, float]] = []
    train(
        toy,
        tmp_path,
        model=model,
        weights={"reconstruction": 1.0, "item_bias": 0.0},
        validate=None,
        epochs=15,
        learning_rate=0.05,
        log=rows.append,
    )
    losses = [row["loss/raw/reconstruction"] for row in rows if "loss/raw/reconstruction" in row]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
