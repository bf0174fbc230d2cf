"""Multi-head target attention: against a loop over users, items, heads."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from tests.toys import fitted_composed, histories, toy_composed, train
from xrec.models.attention import history_attention
from xrec.models.attention.multi_head import MultiHead

NORMALISERS = ("sigmoid", "softmax")


@pytest.fixture(params=NORMALISERS)
def model(request, toy, tmp_path):
    return fitted_composed(toy, tmp_path, attention="multi_head", normaliser=request.param, user_encoder=False).only(
        "attention"
    )


def by_loop(attention: MultiHead, context, user: int, present, target: int) -> float:
    """One score in float64, an item and a head at a time."""
    history, features = context.history, context.tables["features"].double()
    heads, size = attention.n_heads, features.shape[1]
    query, key = attention.query.weight.double().chunk(heads), attention.key.weight.double().chunk(heads)
    value, score = attention.value.weight.double().chunk(heads), 0.0
    for h in range(heads):
        gates, values = [], []
        for j in torch.nonzero(present * history.presence[user]).flatten().tolist():
            own = features[history.item[user, j]]
            logit = float((query[h] @ features[target]) @ (key[h] @ own)) / math.sqrt(size / heads)
            logit += float(attention.kind_bias[h, history.kind[user, j]] + attention.bias[h])
            logit -= float(attention.decay[h]) * math.log1p(float(history.age[user, j]))
            gates.append(1 / (1 + math.exp(-logit)) if attention.normaliser.linear else math.exp(logit))
            values.append(float((value[h] @ own) @ features[target]))
        total = 1.0 if attention.normaliser.linear else sum(gates)
        score += sum(g * v for g, v in zip(gates, values, strict=True)) / total if gates else 0.0
    return score / math.sqrt(size)


@torch.no_grad()
def test_scores_are_those_of_a_loop(model, toy):
    context, attention = model.prepare(histories(toy, [3, 5])), model.component("attention")
    attention.decay.copy_(torch.tensor([0.3, 1.1]))
    attention.kind_bias.normal_()
    length = context.history.item.shape[1]
    presence = (torch.rand(2, 4, length, generator=torch.Generator().manual_seed(1)) < 0.6).float()
    presence[:, 3] = 0.0
    scores = model.score(context, presence)
    some = model.score(context, presence, torch.tensor([[4, 9], [0, 7]]))
    torch.testing.assert_close(some[0], scores[0][:, [4, 9]], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(some[1], scores[1][:, [0, 7]], rtol=1e-5, atol=1e-6)
    for user, copy, target in [(0, 0, 4), (0, 1, 9), (1, 2, 0), (1, 0, 7), (0, 3, 4)]:
        wanted = by_loop(attention, context, user, presence[user, copy], target)
        assert float(scores[user, copy, target]) == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    assert not scores[:, 3].any()


@torch.no_grad()
def test_a_softmax_head_is_torch_s_attention(toy):
    torch.manual_seed(0)
    attention, history = MultiHead(toy.catalogue, 8, 2, "softmax"), histories(toy, [3])
    attention.decay.zero_()
    features = torch.randn(toy.catalogue.n_items, 8)
    tables = attention.tables(history, features[history.item], features, torch.arange(len(features)))
    query, key = (
        attention.heads(attention.query(features)[None]),
        attention.heads(attention.key(features[history.item])),
    )
    mixed = functional.scaled_dot_product_attention(
        query, key, attention.heads(attention.value(features[history.item]))
    )
    wanted = (mixed * features).sum(-1).sum(1)
    torch.testing.assert_close(tables.score()(history.presence.unsqueeze(1))[:, 0], wanted)


@torch.no_grad()
@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_identity_maps_start_as_an_item_to_item_model_of_the_features(toy, normaliser):
    torch.manual_seed(0)
    attention, history = MultiHead(toy.catalogue, 8, 2, normaliser, maps="identity"), histories(toy, [3])
    features = torch.randn(toy.catalogue.n_items, 8)
    own, everything = features[history.item], torch.arange(len(features))
    blocks = torch.stack([own[..., :4] @ features[:, :4].T, own[..., 4:] @ features[:, 4:].T], 1) / 2
    logits = blocks - 0.5 * history.age.log1p()[:, None, :, None] - 1
    tables = attention.tables(history, own, features, everything)
    torch.testing.assert_close(tables.logits, logits)
    torch.testing.assert_close(tables.value, (own @ features.T).unsqueeze(1).expand(-1, 2, -1, -1))
    with pytest.raises(ValueError, match="attention.maps must be 'random' or 'identity', got 'unit'"):
        MultiHead(toy.catalogue, 8, maps="unit")


@given(scale=st.floats(0.1, 200), seed=st.integers(0, 100))
def test_masked_is_removed_at_any_spread(scale, seed, toy):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        attention, history = MultiHead(toy.catalogue, 8, 2, "softmax"), histories(toy, [3])
        features = torch.randn(toy.catalogue.n_items, 8)
        attention.query.weight.mul_(scale)
        keep = torch.rand(history.item.shape[1], generator=generator) < 0.5
        masked = attention.tables(history, features[history.item], features, torch.arange(len(features))).score()(
            keep.float()[None, None]
        )
        kept = history.without(keep)
        removed = attention.tables(kept, features[kept.item], features, torch.arange(len(features))).score()(
            kept.presence.unsqueeze(1)
        )
        torch.testing.assert_close(masked, removed, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_blocks_over_the_catalogue_change_nothing_and_small_tables_are_kept(model, toy, monkeypatch):
    history = histories(toy, [3, 5])
    presence = (torch.rand(2, 6, history.item.shape[1]) < 0.5).float()

    def answers(entries: int, kept: int):
        monkeypatch.setattr(history_attention, "_MAX_ENTRIES", entries)
        monkeypatch.setattr(history_attention, "_MAX_KEPT", kept)
        context, seen = model.prepare(history), []
        plain = MultiHead.tables
        monkeypatch.setattr(MultiHead, "tables", lambda *a: (seen.append(len(a[3])), plain(*a))[1])
        attention = model.component("attention")
        scores = [attention.score(context, presence), attention.score(context, presence)]
        rest = [attention.contributions(context), attention.attention_weights(context)]
        monkeypatch.setattr(MultiHead, "tables", plain)
        return [*scores, *rest], seen

    whole, seen = answers(10**9, 10**9)
    pieces, more = answers(history.item.numel() * 2 * 7, 0)
    n = toy.catalogue.n_items
    assert seen == [n] * 3 and max(more) == 7 and sum(more) == 4 * n
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_target_that_is_no_key_scores_as_if_it_were_removed(model, toy, monkeypatch):
    history = histories(toy, [3])
    place, n_items = 2, toy.catalogue.n_items
    target = history.item[:, place : place + 1]
    without = torch.ones(1, 1, history.item.shape[1])
    without[..., place] = 0.0
    plain = model.score(model.prepare(history), without)[0, 0]
    with_it = model.score(model.prepare(history))[0, 0]
    model.component("attention").exclude_target = True
    monkeypatch.setattr(history_attention, "_MAX_ENTRIES", history.item.numel() * 2 * 7)  # several blocks of targets
    found = model.score(model.prepare(history))[0, 0]
    torch.testing.assert_close(found[target[0]], plain[target[0]], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.score(model.prepare(history), None, target)[0, 0], plain[target[0]])
    assert (found - with_it)[target[0]].abs().min() > 1e-4
    others = torch.ones(n_items, dtype=torch.bool)
    others[history.item[0]] = False
    torch.testing.assert_close(found[others], with_it[others], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_it_learns_a_toy(toy, tmp_path, normaliser):
    losses = []
    model = toy_composed(toy, normaliser, False, "multi_head", "embedding", linear=False, repeat=False, noise=0.0)
    train(
        toy,
        tmp_path,
        model=model,
        weights={"reconstruction": 1.0, "item_bias": 0.0},
        validate=None,
        epochs=15,
        learning_rate=0.05,
        log=lambda row: losses.append(row.get("loss/raw/reconstruction")),
    )
    known = [loss for loss in losses if loss is not None]
    assert sum(known[-3:]) < 0.7 * sum(known[:3])


@pytest.mark.parametrize(
    ("given_settings", "says"),
    [
        ({"n_heads": 3}, "divide model.embedding_size=8"),
        ({"n_heads": 0}, "at least 1"),
        ({"normaliser": "max"}, "must be"),
    ],
)
def test_impossible_settings_are_refused(toy, given_settings, says):
    with pytest.raises(ValueError, match=says):
        MultiHead(toy.catalogue, 8, **given_settings)
