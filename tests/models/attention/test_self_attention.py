"""Stacked self-attention: against torch's own attention, its layers, and what depends on presence."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tests.toys import fitted_composed, histories, toy_composed
from xrec.models.attention.present_softmax import present_softmax
from xrec.models.attention.self_attention import SelfAttention


@pytest.fixture
def model(toy, tmp_path):
    return fitted_composed(toy, tmp_path, attention="self_attention", user_encoder=False)


@torch.no_grad()
def test_a_block_is_torch_s_attention_with_the_absent_masked_out(toy):
    torch.manual_seed(0)
    attention = SelfAttention(toy.catalogue, 8, n_blocks=1, n_heads=2)
    block, states = attention.blocks[0], torch.randn(3, 1, 6, 8)
    present = (torch.rand(3, 1, 6) < 0.6).float()
    present[:, :, 0] = 1.0
    query, key, value = block.project(block.before(states)).chunk(3, dim=-1)
    heads = [x.squeeze(1).unflatten(-1, (2, 4)).transpose(1, 2) for x in (query, key, value)]
    gap = torch.tensor([5.0, 4, 3, 3, 1, 0])  # ages
    gap = (gap.unsqueeze(0) - gap.unsqueeze(1)).expand(3, 6, 6)
    block.gap.weight.normal_()
    bias = block.gap((2 * (1 + gap.clamp_min(0)).log2()).long()).movedim(-1, 1)
    bias = bias.masked_fill((gap < 0).unsqueeze(1), -torch.inf).masked_fill(present.unsqueeze(2) == 0, -torch.inf)
    mixed = functional.scaled_dot_product_attention(*heads, attn_mask=bias)
    added = states.squeeze(1) + block.out(mixed.transpose(1, 2).flatten(-2))
    wanted = added + block.net(block.between(added))
    torch.testing.assert_close(block(states, present, gap).squeeze(1), wanted)


@torch.no_grad()
def test_a_softmax_among_what_is_there():
    logits, present = (
        torch.tensor([[1.0, 2.0, 50.0], [3.0, -90.0, 3.0]]),
        torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.5]]),
    )
    found = present_softmax(logits, present)
    torch.testing.assert_close(found[0], torch.cat([logits[0, :2].softmax(0), torch.zeros(1)]))
    torch.testing.assert_close(found[1], torch.tensor([2 / 3, 0.0, 1 / 3]))
    assert not present_softmax(logits, torch.zeros(2, 3)).any()


@torch.no_grad()
def test_layers_and_weights_are_distributions_over_the_history(model, toy):
    assert {"attention", "layers"} <= model.capabilities.names()
    context, n = model.prepare(histories(toy, [0, 3])), histories(toy, [0, 3]).presence.sum(1)
    layers = model.attention_layers(context)
    assert len(layers) == 2
    there = context.history.presence
    for layer in layers:
        torch.testing.assert_close(layer.sum(2), there)
        assert not (layer * (1 - there.unsqueeze(1))).any()
    assert not torch.allclose(layers[0], layers[1])
    targets = torch.tensor([[1, 2], [3, 4]])
    weights = model.attention_weights(context, targets)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 2))
    assert int(n.min()) < weights.shape[1] and not weights[n.argmin(), int(n.min()) :].any()


@torch.no_grad()
def test_it_is_not_additive_and_says_so(model, toy):
    view = model.only("attention")
    assert not view.capabilities.additive and view.capabilities.attention
    with pytest.raises(TypeError, match="no additive parts"):
        view.contributions(view.prepare(histories(toy, [3])))
    context = view.prepare(histories(toy, [3]))
    length = context.history.item.shape[1]
    alone = view.score(context, torch.eye(length).unsqueeze(0))[0].sum(0)
    assert (alone - view.score(context)[0, 0]).abs().max() > 0.1


@torch.no_grad()
def test_masked_copies_are_scored_in_pieces_of_bounded_size(model, toy, monkeypatch):
    context, seen = model.prepare(histories(toy, [3, 5])), []
    presence = torch.rand(2, 7, context.history.item.shape[1])
    whole = model.score(context, presence)
    monkeypatch.setattr("xrec.models.attention.self_attention._MAX_PAIRS", 2 * 2 * presence.shape[2] ** 2)
    read = SelfAttention._read
    monkeypatch.setattr(SelfAttention, "_read", lambda *a: (seen.append(a[3].shape[1]), read(*a))[1])
    torch.testing.assert_close(model.score(context, presence), whole)
    assert seen == [2, 2, 2, 1]


def test_training_drops_and_scoring_does_not(model, toy):
    history = histories(toy, [3])
    users, targets = torch.tensor([3]), torch.tensor([[1, 2]])

    def score(seed: int) -> torch.Tensor:
        context = model.training_context(history, users, torch.Generator().manual_seed(seed))
        return model.component("attention").score(context, None, targets).detach()

    assert torch.equal(score(0), score(0)) and not torch.equal(score(0), score(1))
    mean = torch.stack([score(seed) for seed in range(400)]).mean(0)
    assert (mean - model.component("attention").score(model.prepare(history), None, targets)).abs().max() < 0.3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"n_heads": 3}, "divide model.embedding_size=8"),
        ({"n_blocks": 0}, "at least 1"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
    ],
)
def test_impossible_settings_are_refused(toy, settings, says):
    with pytest.raises(ValueError, match=says):
        SelfAttention(toy.catalogue, 8, **settings)
    assert toy_composed(toy, attention="self_attention").capabilities.layers
