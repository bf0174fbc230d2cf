"""Repeat: the item itself and nothing else, whatever the targets, copies and padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import fit_data, histories
from xrec.models.components.repeat import Repeat
from xrec.models.history import at_own_item, own_position
from xrec.models.item_statistics import ItemStatistics
from xrec.models.recommender import Context


@pytest.fixture(scope="module")
def repeat(toy, tmp_path_factory):
    torch.manual_seed(0)
    made = Repeat(toy.catalogue, 8)
    made.fit(fit_data(toy, tmp_path_factory.mktemp("repeat")))
    torch.nn.init.normal_(made.bias)
    return made


def context(toy, users: list[int]) -> Context:
    history = histories(toy, users)
    statistics = ItemStatistics(toy, torch.device("cpu")).at(history.moment)
    return Context(history, {"statistics": statistics})


def test_the_place_of_a_target_in_a_history():
    from tests.toy_games import plain_history

    history = plain_history([[4, 0, 2], [1]])  # the padding of the second is item 0, which it does not hold
    targets = torch.tensor([[2, 1, 4, 0], [0, 1, 1, 3]])
    assert own_position(history, targets, 5).tolist() == [[3, 0, 1, 2], [0, 1, 1, 0]]


@given(seed=st.integers(0, 10**6))
@torch.no_grad()
def test_scores_are_contributions_under_any_presence(toy, repeat, seed):
    generator = torch.Generator().manual_seed(seed)
    users = torch.randint(toy.catalogue.n_users, (3,), generator=generator).tolist()
    made = context(toy, users)
    presence = torch.rand(3, 2, made.history.item.shape[1], generator=generator)
    targets = torch.randint(toy.catalogue.n_items, (3, 9), generator=generator)
    for wanted in (None, targets):
        table = repeat.contributions(made, wanted)
        own = repeat.own(made.history, made.tables["statistics"])
        assert torch.equal(table, at_own_item(made.history.item, own, wanted, toy.catalogue.n_items))
        torch.testing.assert_close(repeat.score(made, presence, wanted), presence @ table)
        torch.testing.assert_close(repeat.score(made, None, wanted), table.sum(1, keepdim=True))


@torch.no_grad()
def test_the_bias_is_of_the_item_and_only_where_it_was_bought(toy, repeat):
    made = context(toy, [3])
    before = repeat.score(made)[0, 0].clone()
    item = int(made.history.item[0, 1])
    new = int(next(i for i in range(toy.catalogue.n_items) if i not in made.history.item[0]))
    repeat.bias[[item, new]] += 2.0
    changed = repeat.score(made)[0, 0] - before
    repeat.bias[[item, new]] -= 2.0
    assert changed[item].item() == pytest.approx(2.0, abs=1e-5) and changed.count_nonzero() == 1


def test_its_term_is_the_mean_of_squared_biases(toy):
    made = Repeat(toy.catalogue, 8)
    with torch.no_grad():
        made.bias.fill_(3.0)
    generator = torch.Generator()
    assert made.item_terms(generator, {"own_item_bias"})["own_item_bias"].item() == pytest.approx(9.0)
    assert made.item_terms(generator, {"item_bias"}) == {}


@pytest.mark.parametrize("hidden", [(0, 4), (4,), (3, 4, 5)])
def test_widths_are_checked(toy, hidden):
    with pytest.raises(ValueError, match="hidden takes two widths of at least 1"):
        Repeat(toy.catalogue, 8, hidden=hidden)
