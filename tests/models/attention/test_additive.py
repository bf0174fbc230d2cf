"""Additive attention: against a loop over items and heads."""

from __future__ import annotations

import math

import pytest
import torch

from tests.toys import fitted_composed, histories


@pytest.fixture(params=("sigmoid", "softmax"))
def model(request, toy, tmp_path):
    return fitted_composed(toy, tmp_path, attention="additive", normaliser=request.param, user_encoder=False).only(
        "attention"
    )


@torch.no_grad()
def test_scores_are_those_of_a_loop(model, toy):
    context, attention = model.prepare(histories(toy, [3, 5])), model.component("attention")
    history, features = context.history, context.tables["features"].double()
    attention.decay.copy_(torch.tensor([0.3, 1.1]))
    presence = (torch.rand(2, 3, history.item.shape[1], generator=torch.Generator().manual_seed(1)) < 0.6).float()
    scores, size = model.score(context, presence), features.shape[1]
    values = attention.value.weight.double().chunk(2)
    hidden, shift = attention.hidden.weight.double(), attention.hidden.bias.double()
    for user, copy, target in [(0, 0, 4), (0, 1, 9), (1, 2, 0), (1, 0, 7)]:
        wanted = 0.0
        for h in range(2):
            gates, found = [], []
            for j in torch.nonzero(presence[user, copy] * history.presence[user]).flatten().tolist():
                own = features[history.item[user, j]]
                logit = float(attention.rating.weight[h].double() @ torch.tanh(hidden @ own * math.sqrt(size) + shift))
                logit += float(attention.kind_bias[h, history.kind[user, j]] + attention.bias[h])
                logit -= float(attention.decay[h]) * math.log1p(float(history.age[user, j]))
                gates.append(1 / (1 + math.exp(-logit)) if attention.normaliser.linear else math.exp(logit))
                found.append(float((values[h] @ own) @ features[target]))
            total = 1.0 if attention.normaliser.linear else sum(gates)
            wanted += sum(g * v for g, v in zip(gates, found, strict=True)) / total
        assert float(scores[user, copy, target]) == pytest.approx(wanted / math.sqrt(size), rel=1e-4, abs=1e-5)


@torch.no_grad()
def test_weights_are_the_same_for_every_target(model, toy):
    context = model.prepare(histories(toy, [3]))
    weights = model.attention_weights(context)
    assert weights.shape == (1, context.history.item.shape[1], toy.catalogue.n_items)
    assert (weights == weights[..., :1]).all() and weights.std(1).min() > 0
