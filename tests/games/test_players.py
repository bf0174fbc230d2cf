"""Players: which items belong together, worked out by hand; and that a group removed is its items really removed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.toy_games import Planted, bare_catalogue, game_of, plain_history
from tests.toys import fitted_composed, histories
from xrec.errors import SettingError
from xrec.games.players import Field, Items, Kind, Period, Players
from xrec.models.history import History
from xrec.types import Catalogue
from xrec.types import Field as ItemField

HISTORY = plain_history([[0, 1, 2, 3, 4], [3, 5], [6]])


def field(name: str, rows: list[dict[str, float]], levels: list[str], kind: str = "categorical") -> ItemField:
    """rows: per item, level -> weight, in the order they are stored in; filled up with code 0, weight 0."""
    width = max(map(len, rows))
    codes = np.array([[*map(levels.index, r), *[0] * (width - len(r))] for r in rows], dtype=np.int32)
    weights = np.array([[*r.values(), *[0.0] * (width - len(r))] for r in rows], dtype=np.float32)
    return ItemField(name, kind, levels, codes, weights)


GENRE = field(
    "genre",
    [
        {"drama": 1.0},
        {"comedy": 0.5, "drama": 0.5},
        {"drama": 0.0, "comedy": 1.0},  # a level that weighs nothing is none
        {"(missing)": 1.0},
        {"drama": 0.25, "comedy": 0.75},  # the first, not the weightiest
        {"comedy": 1.0},
        {"(rare)": 1.0},
    ],
    ["(missing)", "(rare)", "drama", "comedy"],
)
PRICE = field("price", [{"value": 0.5}] * 7, ["(missing)", "value"], "numeric")
WORDS = field("title", [{"word 3": 1.0}] * 7, ["(missing)", "word 3"], "text")
CATALOGUE = replace(bare_catalogue(7), item_fields=(GENRE, PRICE, WORDS), event_kinds=("purchase", "view"))


def test_items_are_players_of_their_own_and_nothing_is_gathered() -> None:
    bound = Items().bind(HISTORY, CATALOGUE)
    assert bound.ids == (("i0", "i1", "i2", "i3", "i4"), ("i3", "i5"), ("i6",))
    assert bound.names[1] == ("item i3", "item i5")
    assert bound.membership.tolist() == [[0, 1, 2, 3, 4], [0, 1, -1, -1, -1], [0, -1, -1, -1, -1]]
    masks = torch.rand(3, 2, 5)
    values = masks[:, 0]
    assert bound.expand(masks) is masks and bound.pooled(values) is values
    assert bound.n_players.tolist() == [5, 2, 1] and bound.width == 5


def test_an_item_belongs_to_its_first_level_that_weighs_something() -> None:
    bound = Field("genre").bind(HISTORY, CATALOGUE)
    assert bound.ids == (("drama", "comedy", "(missing)"), ("(missing)", "comedy"), ("(rare)",))
    assert bound.names == bound.ids
    assert bound.membership.tolist() == [[0, 1, 1, 2, 0], [0, 1, -1, -1, -1], [0, -1, -1, -1, -1]]
    assert bound.n_players.tolist() == [3, 2, 1] and bound.width == 3


def test_masks_reach_all_members_and_values_are_pooled_over_them() -> None:
    bound = Field("genre").bind(HISTORY, CATALOGUE)
    masks = torch.tensor([[[1.0, 0.5, 0.0]], [[0.0, 0.25, 1.0]], [[1.0, 1.0, 1.0]]], requires_grad=True)
    channels = bound.expand(masks)
    assert channels[:, 0].tolist() == [[1, 0.5, 0.5, 0, 1], [0, 0.25, 0, 0, 0], [1, 0, 0, 0, 0]]
    channels.sum().backward()
    assert masks.grad is not None and masks.grad[:, 0].tolist() == [[2, 2, 1], [1, 1, 0], [1, 0, 0]]
    values = torch.tensor([[1.0, 2, 4, 8, 16], [1, 2, -9, -9, -9], [5, -9, -9, -9, -9]])
    assert bound.pooled(values).tolist() == [[17, 6, 8], [1, 2, 0], [5, 0, 0]]
    assert bound.least(values)[bound.real].tolist() == [1, 2, 8, 1, 2, 5]
    alone = bound.single(1)
    assert (alone.ids, alone.membership.tolist()) == ((("(missing)", "comedy"),), [[0, 1]])


def test_kind_and_period_are_those_of_the_last_event_and_say_so() -> None:
    history = replace(
        HISTORY,
        moment=10,
        kind=torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]),
        age=torch.tensor([[1.0, 3, 3, 9, 1], [2, 2, 0, 0, 0], [4, 0, 0, 0, 0]]),
    )
    kinds, periods = Kind().bind(history, CATALOGUE), Period().bind(history, CATALOGUE)
    assert kinds.ids == (("view", "purchase"), ("purchase",), ("view",))
    assert kinds.names[0] == ("last event: view", "last event: purchase")
    assert periods.ids == (("9", "7", "1"), ("8",), ("6",))
    assert periods.names[0][0] == "last event in period 9"
    assert periods.membership.tolist() == [[0, 1, 1, 2, 0], [0, 0, -1, -1, -1], [0, -1, -1, -1, -1]]


@pytest.mark.parametrize("players", [Items(), Field("genre"), Kind(), Period()], ids=lambda p: p.name)
def test_an_empty_history_has_no_player_and_room_for_one(players: Players) -> None:
    empty = plain_history([[0]])
    empty = replace(empty, presence=torch.zeros_like(empty.presence))
    bound = players.bind(empty, CATALOGUE)
    assert bound.ids == ((),) and bound.width == 1
    assert bound.expand(torch.ones(1, 2, 1)).shape == (1, 2, 1)
    game = game_of(Planted(7), empty, [1], players=players, catalogue=CATALOGUE)
    assert game.ends()[0].tolist() == game.ends()[1].tolist() == [0.0]
    assert game.single(0).values(np.ones((1, 3, 1))).tolist() == [[0.0] * 3]


@pytest.mark.parametrize("players", [Items(), Field("size"), Kind(), Period()], ids=lambda p: p.name)
@pytest.mark.parametrize("together", [1, 7, 100, 10**6])
def test_players_are_counted_as_they_are_bound(players: Players, together: int, toy, monkeypatch) -> None:
    monkeypatch.setattr("xrec.games.players._TOGETHER", together)
    for moment in (1, 3, 11):  # nobody has a history at first, and some not yet later
        table = toy.histories(moment)
        bound = players.bind(History.from_table(table, np.arange(table.n_users)), toy.catalogue)
        assert players.count(table, toy.catalogue).tolist() == bound.n_players.tolist()


def test_a_field_that_cannot_be_players_is_refused_with_the_reason() -> None:
    for name, says in {
        "price": "'price' is numeric: numbers have no levels to group by .takes genre",
        "title": "'title' is text: its levels are hashed words, not names",
        "gendre": "players.field: no item field 'gendre'; did you mean 'genre'. .fields of this data: genre.",
    }.items():
        with pytest.raises(SettingError, match=says):
            Field(name).bind(HISTORY, CATALOGUE)
    with pytest.raises(SettingError, match="fields of this data: nothing"):
        Field("genre").bind(HISTORY, bare_catalogue(7))


def test_removing_a_group_is_really_removing_its_items(toy, tmp_path) -> None:
    """A composed model in which nothing is additive; for every level of every user, alone and with others."""
    model = fitted_composed(toy, tmp_path, normaliser="softmax")
    users = [int(u) for u in np.argsort(-toy.histories(11).lengths())[:4]]
    history = histories(toy, users)
    game = game_of(model, history, [1, 2, 3, 4], players=Field("department"), catalogue=toy.catalogue)
    assert game.width < history.item.shape[1] and (game.n_players >= 3).all()
    masks = ~np.eye(game.width, dtype=bool)[None].repeat(4, 0)
    values = game.values(masks)
    largest = 0
    for row in range(4):
        for player in range(int(game.n_players[row])):
            left = really_without(history.rows([row]), toy.catalogue, game.player_ids[row][player])
            largest = max(largest, int(history.presence[row].sum()) - left.item.shape[1])
            score = model.score(model.prepare(left), None, game.targets[row : row + 1])
            assert values[row, player] == pytest.approx(score.item(), abs=1e-5)
    assert largest >= 3


def really_without(history: History, catalogue: Catalogue, level: str) -> History:
    department = next(f for f in catalogue.item_fields if f.name == "department")
    mine = [department.levels[department.codes[i, 0]] == level for i in history.item[0].tolist()]
    return history.without(~torch.tensor(mine))
