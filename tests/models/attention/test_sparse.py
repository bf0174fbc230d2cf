"""Sparsemax and 1.5-entmax: published and hand-computed values, bisection, and what presence in [0, 1] promises."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xrec.models.attention.normalisers import sparse
from xrec.models.attention.normalisers.sparse import Entmax15, Sparse, Sparsemax

BOTH = pytest.mark.parametrize("normaliser", [Sparsemax(), Entmax15()], ids=["sparsemax", "entmax15"])


def bisected(normaliser: Sparse, logits: torch.Tensor, presence: torch.Tensor) -> torch.Tensor:
    """Gates [..., L, T] in float64, tau by 100 halvings; logits and presence alike. Where nothing is there, of none."""
    power = 1 if isinstance(normaliser, Sparsemax) else 2
    x, p = logits.double() / power, presence.double()
    there = p > 0
    high = torch.where(there, x, -math.inf).amax(-2, keepdim=True).nan_to_num(neginf=0.0)
    low = high - (1 / p.sum(-2, keepdim=True).clamp_min(1e-12)) ** (1 / power) - x.abs().amax() * 2
    for _ in range(100):
        middle = (low + high) / 2
        above = (p * (x - middle).clamp_min(0) ** power).sum(-2, keepdim=True) > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (x - (low + high) / 2).clamp_min(0) ** power


def drawn(seed: int, spread: float, ties: bool, fractional: bool, length: int = 9, n_copies: int = 7):
    """Logits and values [2, 2, L, 3], presence [2, M, L] with an empty copy; float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 2, length, 3, generator=generator, dtype=torch.double)
    logits = (logits.round() if ties else logits) * spread
    value = torch.randn(logits.shape, generator=generator, dtype=torch.double)
    presence = torch.rand(2, n_copies, length, generator=generator, dtype=torch.double)
    presence = presence * (torch.rand(presence.shape, generator=generator) < 0.6)
    presence[:, 0] = 0.0
    return logits, value, presence if fractional else (presence > 0).double()


def of_copies(normaliser: Sparse, logits, value, presence) -> torch.Tensor:
    """[B, M, T] by bisection, a copy at a time as if it were a history of its own."""
    there = presence[:, :, None, :, None].expand(*presence.shape[:2], *logits.shape[1:])
    gates = bisected(normaliser, logits.unsqueeze(1).expand_as(there), there)
    return (there * gates * value.unsqueeze(1)).sum((2, 3))


@pytest.mark.parametrize(
    ("normaliser", "logits", "wanted"),
    [
        (Sparsemax(), [-2.0, 0.0, 0.5], [0.0, 0.25, 0.75]),  # and the next of entmax15: README of the package entmax
        (Entmax15(), [-2.0, 0.0, 0.5], [0.0, 0.3260, 0.6740]),
        (Sparsemax(), [1.0, 0.6, 0.5, -1.0], [0.6333, 0.2333, 0.1333, 0.0]),  # tau = (2.1 - 1) / 3
        (Entmax15(), [1.0, 0.0], [(0.25 + 0.875**0.5 / 2**0.5) ** 2, (-0.25 + 0.875**0.5 / 2**0.5) ** 2]),
        (Sparsemax(), [3.0, 1.0, 2.0], [1.0, 0.0, 0.0]),  # the second just not
        (Entmax15(), [3.0, 1.0, 1.0], [1.0, 0.0, 0.0]),
        (Entmax15(), [7.0, 7.0, 7.0, 7.0], [0.25] * 4),
    ],
)
def test_values_by_hand(normaliser: Sparse, logits, wanted):
    column = torch.tensor(logits).unsqueeze(-1)
    torch.testing.assert_close(
        normaliser.gates(column, torch.ones_like(column))[:, 0], torch.tensor(wanted), atol=5e-5, rtol=0
    )


@BOTH
def test_an_item_of_presence_2_is_two_items(normaliser: Sparse):
    logits = torch.tensor([0.3, 0.9, 0.4, -0.2], dtype=torch.double).unsqueeze(-1)
    twice = torch.cat([logits, logits[1:2]])
    found = normaliser.gates(logits, torch.tensor([1.0, 2.0, 1.0, 1.0], dtype=torch.double).unsqueeze(-1))
    torch.testing.assert_close(found, normaliser.gates(twice, torch.ones_like(twice))[:4])


@BOTH
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([0.0, 0.1, 1.0, 5.0, 1000.0]), flags=st.integers(0, 3))
def test_gates_and_scores_are_those_of_bisection(normaliser: Sparse, seed, spread, flags):
    logits, value, presence = drawn(seed, spread, bool(flags & 1), bool(flags & 2))
    wanted = of_copies(normaliser, logits, value, presence)
    torch.testing.assert_close(normaliser.scores(logits, value)(presence), wanted, rtol=1e-8, atol=1e-8)
    assert not wanted[:, 0].any()
    single = normaliser.scores(logits.float(), value.float())(presence.float())
    torch.testing.assert_close(single.double(), wanted, rtol=1e-3, atol=2e-4 * max(1.0, spread))
    there = presence[:, 3, None, :, None]
    gates = normaliser.gates(logits, there)
    sums = (gates * there).sum(-2)
    some = there.sum(-2) > 0
    torch.testing.assert_close(sums, some.expand_as(sums).double())
    torch.testing.assert_close((gates * there * value).sum((1, 2)), wanted[:, 3], rtol=1e-8, atol=1e-8)


@BOTH
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([0.3, 1.0, 100.0]), ties=st.booleans())
def test_masked_is_removed_and_order_is_nothing(normaliser: Sparse, seed, spread, ties):
    logits, value, presence = (t.float() for t in drawn(seed, spread, ties, fractional=False))
    masked = normaliser.scores(logits, value)(presence)
    for copy, kept in enumerate(presence[0].bool()):
        few, n = logits[:1, :, kept], int(kept.sum())
        removed = normaliser.scores(few, value[:1, :, kept])(torch.ones(1, 1, n))
        torch.testing.assert_close(masked[0, copy], removed[0, 0], rtol=1e-5, atol=1e-5)
        gates = normaliser.gates(logits[:1], kept.float()[:, None])
        torch.testing.assert_close(gates[:, :, kept], normaliser.gates(few, torch.ones(n, 1)), rtol=1e-5, atol=1e-5)
    order = torch.randperm(logits.shape[2], generator=torch.Generator().manual_seed(seed))
    shuffled = normaliser.scores(logits[:, :, order], value[:, :, order])(presence[:, :, order])
    torch.testing.assert_close(shuffled, masked, rtol=1e-5, atol=1e-5)


@BOTH
def test_scores_are_continuous_in_presence(normaliser: Sparse):
    """Also where what comes and goes outweighs the rest by far."""
    logits, value, presence = drawn(4, 1.0, ties=False, fractional=True)
    for lead in (0.0, 2.0, 50.0):
        logits[:, :, 2] = logits.amax(2) + lead
        score = normaliser.scores(logits, value)
        for at in (0.0, 0.3, 1.0):
            presence[:, 1:, 2] = at
            before = score(presence)
            presence[:, 1:, 2] = at + (1e-9 if at == 0 else -1e-9)
            assert (score(presence) - before).abs().max() < 1e-5
            if at == 0:
                presence[:, 1:, 2] = 0.1
                assert ((score(presence) - before)[:, 1:].abs().amax((1, 2)) > 0.1).all()


@BOTH
@pytest.mark.parametrize("shared", [False, True])
def test_gradients_are_the_slopes(normaliser: Sparse, shared):
    logits, value, presence = drawn(7, 0.7, ties=False, fractional=True, length=5, n_copies=3)
    logits = logits[..., :1] if shared else logits
    presence[:, 0] = 1.0
    presence[:, 1, 0] = 0.0
    inputs = [x.requires_grad_() for x in (logits, value)]
    # one-sided at presence 0: the function goes on below it
    assert torch.autograd.gradcheck(lambda s, v, p: normaliser.scores(s, v)(p), (*inputs, presence.requires_grad_()))
    there = presence[:, 2, None, :, None].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda s, p: normaliser.gates(s, p) * p, (logits, there))
    assert (normaliser.scores(logits, value)(presence)[0, 0]).abs().max() > 0.05


@BOTH
def test_what_is_not_there_has_a_slope_that_is_finite_and_nothing_scores_0(normaliser: Sparse):
    logits, value, presence = (t.float() for t in drawn(1, 300.0, ties=False, fractional=True))
    inputs = [x.requires_grad_() for x in (logits, value, presence * (presence > 0.5))]
    score = normaliser.scores(*inputs[:2])(inputs[2])
    assert not score[:, 0].any()
    assert all(g.isfinite().all() for g in torch.autograd.grad(score.square().sum(), inputs))
    tiny = presence.detach() * 1e-36
    assert normaliser.scores(logits, value)(tiny).abs().max() < 1e-3
    gates = normaliser.gates(logits, torch.zeros(1, 1, 9, 1))
    assert gates.isfinite().all()
    assert normaliser.gates(logits[:, :, :0], presence[:, :1, :0, None]).shape == (2, 2, 0, 3)
    assert normaliser.scores(logits[:, :, :0], value[:, :, :0])(presence[:, :, :0]).shape == (*presence.shape[:2], 3)


@BOTH
def test_padding_changes_nothing(normaliser: Sparse):
    logits, value, presence = drawn(3, 1.0, ties=False, fractional=True)
    wanted = normaliser.scores(logits, value)(presence)
    padded = torch.cat([logits[:, :, :4], torch.full((2, 2, 2, 3), -torch.inf), logits[:, :, 4:]], dim=2)
    wider = torch.cat([value[:, :, :4], torch.ones(2, 2, 2, 3), value[:, :, 4:]], dim=2)
    there = torch.cat([presence[..., :4], torch.ones(2, 7, 2), presence[..., 4:]], dim=2)
    torch.testing.assert_close(normaliser.scores(padded, wider)(there), wanted)
    gates = normaliser.gates(padded, there[:, 3, None, :, None])
    assert not gates[:, :, 4:6].any()
    torch.testing.assert_close((gates * there[:, 3, None, :, None] * wider).sum((1, 2)), wanted[:, 3])
    alone = torch.full((1, 1, 2, 3), -torch.inf, requires_grad=True)
    score = normaliser.scores(alone, torch.ones(1, 1, 2, 3))(torch.ones(1, 1, 2))
    assert not score.any() and not torch.autograd.grad(score.sum(), alone)[0].isnan().any()
    assert not normaliser.gates(alone, torch.ones(2, 1)).any()


@BOTH
@pytest.mark.parametrize("spread", [0.05, 20.0])
def test_pieces_and_few_ranks_change_nothing(normaliser: Sparse, spread, monkeypatch):
    logits, value, presence = drawn(5, spread, ties=True, fractional=False, length=60, n_copies=5)
    there, looked = presence[:, 1, None, :, None], []
    wanted = of_copies(normaliser, logits, value, presence)
    found = type(normaliser)._threshold
    monkeypatch.setattr(type(normaliser), "_threshold", lambda *a: (looked.append(a[1].shape[-2]), found(*a))[1])
    monkeypatch.setattr(type(normaliser), "first", 2)
    for entries, pieces in ((10**9, [5]), (2 * 2 * 60 * 3 * 2, [2, 2, 1])):
        monkeypatch.setattr(sparse, "_MAX_ENTRIES", entries)
        looked.clear()
        torch.testing.assert_close(normaliser.scores(logits, value)(presence), wanted, rtol=1e-8, atol=1e-8)
        assert looked.count(2) == len(pieces)
        # widely spread gates are found among few ranks, even ones cannot be
        assert max(looked) == 60 if spread < 1 else max(looked) < 60
    gates = normaliser.gates(logits, there)
    torch.testing.assert_close((gates * there * value).sum((1, 2)), wanted[:, 1], rtol=1e-8, atol=1e-8)
    whole = torch.ones(2, 1, 60, dtype=torch.double)  # gates of all 60, where half of them lies among 32 ranks
    wanted = of_copies(normaliser, logits, value, whole)
    torch.testing.assert_close(normaliser.scores(logits, value)(whole), wanted, rtol=1e-8, atol=1e-8)


@BOTH
def test_a_shared_gate_serves_every_target(normaliser: Sparse):
    logits, value, presence = drawn(9, 1.0, ties=False, fractional=True)
    shared = logits[..., :1]
    torch.testing.assert_close(
        normaliser.scores(shared, value)(presence), normaliser.scores(shared.expand_as(value), value)(presence)
    )


@BOTH
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e6])
def test_large_logits_are_not_rounded(normaliser: Sparse, scale: float) -> None:
    logits, value, presence = (t.float() for t in drawn(5, scale, ties=False, fractional=True))
    copies = presence[:, None, :, :, None]
    wanted = (bisected(normaliser, logits[:, :, None], copies) * copies * value[:, :, None]).sum((1, 3))
    found = normaliser.scores(logits, value)(presence)
    torch.testing.assert_close(found[:, 1:].double(), wanted[:, 1:], rtol=1e-4, atol=1e-5)
    one = presence[:, None, 3, :, None]
    gates = normaliser.gates(logits, one).double() * (one > 0)
    torch.testing.assert_close(gates, bisected(normaliser, logits, one) * (one > 0), rtol=1e-4, atol=1e-5)
