"""Affinity by hand: what items have in common, weighted by how lately they were bought."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.toy_games import plain_history
from xrec.models.components.affinity import Affinity
from xrec.models.history import History
from xrec.models.recommender import Context
from xrec.types import Catalogue, Field

LEVELS = ("(missing)", "(rare)", "a", "b", "c")


def catalogue() -> Catalogue:
    """Five items; item 3 has nothing, item 4 half of two genres."""
    category = Field("category", "categorical", LEVELS, np.array([[2], [2], [3], [0], [3]], np.int32), np.ones((5, 1)))
    codes = np.array([[2, 0], [3, 4], [2, 3], [0, 0], [2, 4]], np.int32)
    shares = np.array([[1, 0], [0.5, 0.5], [0.5, 0.5], [1, 0], [0.25, 0.75]], np.float32)
    genres = Field("genres", "categorical", LEVELS, codes, shares)
    price = Field("price", "numeric", ("(missing)", "value"), np.ones((5, 1), np.int32), np.ones((5, 1), np.float32))
    names = tuple("vwxyz")
    return Catalogue(names, names, (category, genres, price), ("u",))


def affinity(**settings) -> Affinity:
    made = Affinity(catalogue(), 4, **settings)
    with torch.no_grad():
        made.log_weight.copy_(torch.tensor([2.0, 10.0])[: len(made.fields)].log())
    return made


def history(items: list[int], baskets: list[float]) -> History:
    """One history whose items have so many decayed baskets, at every half-life."""
    decayed = torch.tensor([baskets]).unsqueeze(-1).expand(1, len(items), 6)
    return replace(plain_history([items]), decayed=decayed)


@torch.no_grad()
def test_hand_numbers():
    e = float(np.e)
    context = Context(history([0, 2, 3], [e - 1, e**2 - 1, e - 1]))  # r = 1, 2, 1
    category = torch.tensor([1.0, 1.0, 2.0, 0.0, 2.0])  # item 0 is of "a", item 2 (r = 2) of "b", item 3 of nothing
    genres = torch.tensor([1 + 2 * 0.5, 2 * 0.5 * 0.5, 0.5 + 2 * 0.5, 0.0, 0.25 + 2 * 0.5 * 0.25])
    torch.testing.assert_close(affinity().score(context)[0, 0], 2 * category + 10 * genres)
    torch.testing.assert_close(affinity(fields=["category"]).score(context)[0, 0], 2 * category)
    assert affinity().fields == ("category", "genres")  # numbers have no levels


@torch.no_grad()
def test_only_the_chosen_half_life_and_only_items_with_a_positive_event_count():
    one = history([0, 2], [1.0, 1.0])
    decayed = one.decayed.clone()
    decayed[..., 2] = float(np.e - 1)  # half-life 4
    one = replace(one, decayed=decayed, positive=torch.tensor([[1.0, 0.0]]))
    wanted = 2 * torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(affinity(fields=["category"], half_life=4.0).score(Context(one))[0, 0], wanted)


@given(seed=st.integers(0, 10**6))
@torch.no_grad()
def test_masked_is_removed_and_contributions_sum(seed):
    generator = torch.Generator().manual_seed(seed)
    items = torch.randperm(5, generator=generator)[: int(torch.randint(1, 6, (1,), generator=generator))].tolist()
    own = history(items, (3 * torch.rand(len(items), generator=generator)).tolist())
    presence = torch.rand(1, 3, len(items), generator=generator).round()
    targets = torch.tensor([[4, 0, 0, 3]])
    made, context = affinity(), Context(own)
    for wanted in (None, targets):
        masked = made.score(context, presence, wanted)
        torch.testing.assert_close(masked, presence @ made.contributions(context, wanted), rtol=1e-5, atol=1e-6)
        for copy, kept in enumerate(presence[0]):
            removed = made.score(Context(own.without(kept)), None, wanted)
            torch.testing.assert_close(masked[:, copy], removed[:, 0], rtol=1e-5, atol=1e-6)


def test_the_gradient_reaches_presence_and_weights():
    made, context = affinity(), Context(history([0, 2], [1.0, 3.0]))
    presence = torch.full((1, 1, 2), 0.5, requires_grad=True)
    made.score(context, presence, torch.tensor([[1]])).sum().backward()
    torch.testing.assert_close(presence.grad[0, 0], made.contributions(context, torch.tensor([[1]]))[0, :, 0].detach())
    assert (made.log_weight.grad > 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fields": ["catgory"]}, "no categorical item field 'catgory'; did you mean 'category'"),
        ({"fields": ["price"]}, "no categorical item field 'price'"),
        ({"fields": []}, "leave affinity out of model/wide"),
        ({"half_life": 3.0}, "half_life must be one of .* got 3.0"),
    ],
)
def test_bad_arguments_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Affinity(catalogue(), 4, **settings)


def test_fields_of_very_many_levels_are_for_whoever_asks(monkeypatch):
    monkeypatch.setattr("xrec.models.components.affinity.MAX_LEVELS", 4)
    with pytest.raises(ValueError, match="no categorical item field; leave"):
        Affinity(catalogue(), 4)
    assert Affinity(catalogue(), 4, fields=["genres"]).fields == ("genres",)
