"""FusedAdam is torch's fused Adam, bit for bit, in steps and in checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from xrec.models.adam import FusedAdam, Optimiser

SHAPES = ((7, 5), (3,), (), (2, 2))


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def grouped(p: Sequence[nn.Parameter]) -> list[tuple[list[nn.Parameter], float]]:
    return [([p[0], p[1]], 0.1), ([p[2], p[3]], 0.02)]


def ours() -> tuple[list[nn.Parameter], Optimiser]:
    chosen = parameters()
    return chosen, FusedAdam(grouped(chosen))


def torchs() -> tuple[list[nn.Parameter], Optimiser]:
    chosen = parameters()
    return chosen, torch.optim.Adam([{"params": p, "lr": lr} for p, lr in grouped(chosen)], fused=True)


def steps(p: list[nn.Parameter], optimiser: Optimiser, numbers: range) -> list[nn.Parameter]:
    """Of changing rates; the last parameter has a gradient in every third step only."""
    for number in numbers:
        optimiser.param_groups[0]["lr"] = 0.1 / (1 + number)
        optimiser.zero_grad(set_to_none=True)
        used = p if number % 3 == 0 else p[:-1]
        torch.stack([(number + 1) * (x.sin() * x).sum() for x in used]).sum().backward()
        optimiser.step()
    return p


def equal(a: list[nn.Parameter], b: list[nn.Parameter]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_steps_are_those_of_torch():
    moved = steps(*ours(), range(7))
    assert equal(moved, steps(*torchs(), range(7))) and not any(map(torch.equal, moved, parameters()))
    assert all(not p.requires_grad or p.grad_fn is None for p in moved)


def test_either_goes_on_from_the_state_of_the_other():
    whole = steps(*ours(), range(8))
    for first, second in ((ours, torchs), (torchs, ours), (ours, ours)):
        p, optimiser = first()
        steps(p, optimiser, range(4))
        state = optimiser.state_dict()
        assert sorted(state["state"]) == [0, 1, 2, 3]
        q, other = second()
        with torch.no_grad():
            for x, y in zip(q, p, strict=True):
                x.copy_(y)
        other.load_state_dict({"state": state["state"], "param_groups": other.state_dict()["param_groups"]})
        assert equal(steps(q, other, range(4, 8)), whole)


def test_a_parameter_that_never_had_a_gradient_has_no_state():
    p, optimiser = ours()
    p[0].sum().backward()
    optimiser.step()
    assert list(optimiser.state_dict()["state"]) == [0]
    assert equal(p[1:], parameters()[1:])
