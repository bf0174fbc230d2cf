"""Schedules over steps, by their formulas."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrec.training.schedules import Constant, Cosine, Cyclic, Linear, Staircase, WarmUp

progress = st.floats(0, 1, exclude_max=True)


@given(progress, st.floats(0, 2), st.floats(0, 2))
def test_lines_and_cosines_go_from_start_to_end(share, start, end):
    assert Linear(start, end)(0, share) == pytest.approx(start + share * (end - start))
    assert Cosine(start, end)(0, share) == pytest.approx(end + (start - end) * (1 + math.cos(math.pi * share)) / 2)
    assert Constant()(3, share) == 1.0


def test_a_cycle_rises_and_stays():
    cyclic = Cyclic(cycles=2, rise=0.5)
    found = [cyclic(0, share) for share in (0.0, 0.125, 0.25, 0.49, 0.5, 0.625, 0.9)]
    assert found == pytest.approx([0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0])


def test_warming_up_counts_steps_or_shares_and_goes_on():
    steps = WarmUp(steps=4)
    assert [steps(step, 0.0) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    shares = WarmUp(share=0.2, then=Linear(1.0, 0.0))
    assert [shares(0, p) for p in (0.0, 0.1, 0.2, 0.5)] == pytest.approx([0.0, 0.5 * 0.9, 0.8, 0.5])


@given(st.integers(1, 60), st.integers(1, 200))
def test_stairs_as_many_as_epochs_are_a_decay_per_epoch(epochs, n_batches):
    stairs = Staircase(0.65, epochs)
    for epoch in range(epochs):
        for batch in {0, n_batches // 2, n_batches - 1}:
            assert stairs(0, (epoch + batch / n_batches) / epochs) == 0.65**epoch


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (WarmUp, "either steps or share"),
        (lambda: WarmUp(steps=1, share=0.5), "either steps or share"),
        (lambda: WarmUp(steps=0), "steps of at least 1"),
        (lambda: WarmUp(share=1.5), "share in"),
        (lambda: Cyclic(cycles=0), "cycles of at least 1"),
        (lambda: Linear(start=-1), "linear: start must be at least 0"),
        (lambda: Cosine(end=math.nan), "cosine: end must be at least 0"),
        (lambda: Staircase(0.5, 0), "at least 1 stair"),
    ],
)
def test_what_makes_no_schedule_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
