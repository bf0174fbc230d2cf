"""Softmax among what is there: masked is removed at any spread of logits, and gradients are those of the plain form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.models.attention.present_softmax import PresentMean, present_softmax


def drawn(spread: float, seed: int, n_copies: int = 12, length: int = 9, n_targets: int = 5):
    """Logits [1, L, T] whose spread per target is `spread`, values, and binary presence [1, M, L]."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand(1, length, n_targets, generator=generator)
    logits[:, 0], logits[:, 1] = 0.0, 1.0
    logits = logits[:, torch.randperm(length, generator=generator)] * spread
    value = torch.randn(1, length, n_targets, generator=generator)
    return logits, value, (torch.rand(1, n_copies, length, generator=generator) < 0.5).float()


def naive(logits, value, presence):
    """float64, [B, M, T]; shifted by each copy's own largest logit."""
    logits, value, presence = logits.double(), value.double(), presence.double()
    there = presence.unsqueeze(-1)
    shift = (logits.unsqueeze(1) + there.log()).detach().amax(2, keepdim=True)
    gate = (logits.unsqueeze(1) - torch.nan_to_num(shift, neginf=0.0)).clamp_max(600).exp() * there  # of the absent
    total = gate.sum(2)
    return (gate * value.unsqueeze(1)).sum(2) / torch.where(total > 0, total, 1.0)


@given(spread=st.floats(0, 1000), seed=st.integers(0, 1000))
@settings(max_examples=60)
def test_masked_is_removed_at_any_spread(spread, seed):
    logits, value, presence = drawn(spread, seed)
    masked = PresentMean(logits, value)(presence)
    for row, kept in zip(masked[0], presence[0].bool(), strict=True):
        removed = PresentMean(logits[:, kept], value[:, kept])(torch.ones(1, 1, int(kept.sum())))
        torch.testing.assert_close(row, removed[0, 0], rtol=1e-5, atol=1e-5)
        weights = present_softmax(logits, kept.float()[None, :, None], dim=1)
        torch.testing.assert_close(weights[:, kept], logits[:, kept].softmax(1), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close((weights * value).sum(1)[0], row, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(masked, naive(logits, value, presence).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spread", [0.0, 30.0, 59.0, 61.0, 150.0, 1000.0])
def test_gradients_are_those_of_the_plain_form(spread):
    logits, value, presence = drawn(spread, 3)
    presence = presence * torch.rand(presence.shape, generator=torch.Generator().manual_seed(1)).clamp_min(0.01)
    presence[0, :2] = 1.0
    inputs = [x.requires_grad_() for x in (logits, value, presence)]
    weight = torch.randn(1, 12, 5, generator=torch.Generator().manual_seed(2))
    found = torch.autograd.grad((PresentMean(logits, value)(presence) * weight).sum(), inputs)
    plain = torch.autograd.grad((naive(logits, value, presence) * weight).sum(), inputs)
    there = presence > 0
    for one, other in zip(found[:2], plain[:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[2][there], plain[2][there], rtol=1e-4, atol=1e-4)
    # what is absent and would outweigh the rest by e^40 has a bounded slope
    absent, wanted = found[2][~there], plain[2][~there]
    assert absent.isfinite().all() and (~there).any()
    small = wanted.abs() < 1e16
    torch.testing.assert_close(absent[small], wanted[small], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spread", [1.0, 500.0])
def test_nothing_there_is_zero_with_finite_gradients(spread):
    logits, value, presence = drawn(spread, 5)
    presence.zero_()
    inputs = [x.requires_grad_() for x in (logits, value, presence)]
    for score in (PresentMean(logits, value)(presence), present_softmax(logits, presence[:, 0, :, None], dim=1)):
        assert not score.any()
        assert all(g is None or g.isfinite().all() for g in torch.autograd.grad(score.sum(), inputs, allow_unused=True))
    assert PresentMean(logits[:, :0], value[:, :0])(presence[:, :, :0]).shape == (1, 12, 5)
    assert present_softmax(logits[:, :0], logits[:, :0], dim=1).shape == (1, 0, 5)


def test_padding_changes_nothing():
    logits, value, presence = drawn(200.0, 7)
    padded = torch.cat([logits, torch.full((1, 2, 5), -torch.inf)], dim=1)
    wider = torch.cat([presence, torch.zeros(1, 12, 2)], dim=2)
    found = PresentMean(padded, torch.cat([value, torch.ones(1, 2, 5)], dim=1))(wider)
    torch.testing.assert_close(found, PresentMean(logits, value)(presence))
    alone = PresentMean(padded[:, -2:], torch.ones(1, 2, 5))(wider[:, :, -2:])
    assert not alone.any()


def test_a_shared_gate_serves_every_target():
    logits, value, presence = drawn(300.0, 9)
    shared = logits[:, :, :1]
    torch.testing.assert_close(
        PresentMean(shared, value)(presence), PresentMean(shared.expand_as(value), value)(presence)
    )
