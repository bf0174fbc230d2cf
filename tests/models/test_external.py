"""A function as a recommender: what it is asked, in which order, how often, and what is refused."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from tests.toys import histories
from xrec.errors import SettingError
from xrec.models.external import External
from xrec.models.history import History
from xrec.types import Catalogue

IDS = ("a", "b", "c", "d")


def catalogue() -> Catalogue:
    return Catalogue(IDS, IDS, (), ("u",))


class Recorded:
    """Scores: 10 for every place of an item in the history, and 1 ... 4 for the items as they are."""

    def __init__(self) -> None:
        self.asked: list[list[list[str]]] = []

    def __call__(self, histories: list[list[str]]) -> np.ndarray:
        self.asked.append(histories)
        return np.array([[1.0 + i + 10 * h.count(item) for i, item in enumerate(IDS)] for h in histories])


def history(item: list[list[int]], age: list[list[float]], presence: list[list[int]] | None = None) -> History:
    items, ages = torch.tensor(item), torch.tensor(age)
    one = torch.ones_like(ages) if presence is None else torch.tensor(presence).float()
    return History(items, ages, ages, one, one, torch.zeros_like(items), one, ages.unsqueeze(-1), one, 9)


def test_histories_are_lists_of_ids_oldest_first_without_padding() -> None:
    function = Recorded()
    model = External(catalogue(), function)
    two = history([[0, 2, 3], [1, 0, 0]], [[1.0, 5.0, 3.0], [2.0, 0.0, 0.0]], [[1, 1, 1], [1, 0, 0]])
    scores = model.score(model.prepare(two))
    assert function.asked == [[["b"], ["c", "d", "a"]]] or function.asked == [[["c", "d", "a"], ["b"]]]
    assert scores.tolist() == [[[11, 2, 13, 14]], [[1, 12, 3, 4]]]


def test_of_equal_ages_the_one_that_was_there_first_is_older() -> None:
    function = Recorded()
    model = External(catalogue(), function)
    two = history([[0, 1, 2]], [[1.0, 1.0, 1.0]])
    two = History(**{**vars(two), "first_age": torch.tensor([[2.0, 7.0, 7.0]])})
    model.score(model.prepare(two))
    assert function.asked == [[["b", "c", "a"]]]


def test_masked_copies_are_shorter_histories_and_equal_ones_are_asked_once() -> None:
    function = Recorded()
    model = External(catalogue(), function)
    context = model.prepare(history([[0, 2]], [[4.0, 1.0]]))
    masks = torch.tensor([[[1, 1], [0, 1], [1, 0], [0, 1], [0, 0], [1, 1]]]).float()
    scores = model.score(context, masks, torch.tensor([[2, 0]]))
    assert sorted(map(tuple, function.asked[0])) == [(), ("a",), ("a", "c"), ("c",)]
    assert scores.tolist() == [[[13, 11], [13, 1], [3, 11], [13, 1], [3, 1], [13, 11]]]
    assert model.n_scored == 4


@given(st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_batches_change_nothing(batch_size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    some = history([[0, 1, 2], [3, 1, 0]], [[3.0, 2.0, 1.0], [2.0, 1.0, 5.0]], [[1, 1, 1], [1, 1, 0]])
    masks = torch.from_numpy(rng.integers(0, 2, (2, 9, 3))).float()
    targets = torch.from_numpy(rng.integers(0, 4, (2, 5)))
    whole, function = External(catalogue(), Recorded()), Recorded()
    cut = External(catalogue(), function, batch_size=batch_size)
    for chosen in (None, targets):
        expected = whole.score(whole.prepare(some), masks, chosen)
        assert torch.equal(cut.score(cut.prepare(some), masks, chosen), expected)
    assert max(map(len, function.asked)) <= batch_size
    by_hand = [[IDS[some.item[0, j]] for j in (0, 1, 2) if masks[0, m, j]] for m in range(9)]
    everything = whole.score(whole.prepare(some), masks)[0]
    assert everything.tolist() == Recorded()(by_hand).tolist()


def test_a_function_that_asks_for_item_ids_is_given_them() -> None:
    def scores(histories: list[list[str]], item_ids: list[str]) -> np.ndarray:
        return np.array([[ord(i) for i in item_ids]] * len(histories))

    model = External(catalogue(), scores)
    assert model.score(model.prepare(history([[0]], [[1.0]]))).tolist() == [[[97, 98, 99, 100]]]


def narrow(scores: np.ndarray) -> torch.Tensor:
    return torch.tensor(scores, dtype=torch.bfloat16)


def sparse_tensor(scores: np.ndarray) -> torch.Tensor:
    return torch.tensor(scores).to_sparse()


KINDS = [np.float32, np.int64, torch.tensor, sparse.csr_matrix, np.ndarray.tolist, narrow, sparse_tensor]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_makes_an_array_of_numbers_is_taken(kind) -> None:
    def scores(histories: list[list[str]]):
        return kind(Recorded()(histories)) if kind is not np.float32 else Recorded()(histories).astype(np.float32)

    found = External(catalogue(), scores)
    values = found.score(found.prepare(history([[0]], [[1.0]])))
    assert values.tolist() == [[[11, 2, 3, 4]]]
    assert values.dtype == (torch.float32 if kind in (np.float32, narrow) else torch.float64)


def test_fractional_presence_is_refused_with_the_reason() -> None:
    model = External(catalogue(), Recorded())
    with pytest.raises(SettingError, match="presence must be 0 or 1, since a masked history is a shorter list"):
        model.score(model.prepare(history([[0]], [[1.0]])), torch.full((1, 1, 1), 0.5))


def fails(histories: list[list[str]]) -> np.ndarray:
    raise KeyError("no such item")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fails, r"model fails failed for the history \['a'\]: KeyError: 'no such item' \(.*test_external.py, line"),
        (lambda h: np.zeros((len(h), 3)), r"gave scores of shape \(1, 3\) .*expected \(1, 4\): histories, items in"),
        (lambda h: np.full((len(h), 4), np.nan), r"gave nan as the score of 'a' for the history \['a'\]"),
        (lambda h: np.array([[0, 0, -np.inf, 0]] * len(h)), r"gave -inf as the score of 'c' .*do not hide items"),
        (lambda h: "no", "gave no array of numbers but str"),
        (lambda h: np.ma.masked_array([[1.0, 2, 3, 4]], mask=[[1, 0, 0, 0]]), "gave nan as the score of 'a'"),
        (lambda h: np.array([[1j] * 4]), "gave no array of numbers but ndarray .its values are of type complex"),
        (lambda h: [["1"] * 4], "gave no array of numbers but list .its values are of type <U1"),
        (lambda h: None, r"model <lambda> gave None: is a return missing\?"),
    ],
)
def test_what_a_function_does_wrong_is_named(function, message: str) -> None:
    model = External(catalogue(), function)
    with pytest.raises(SettingError, match=message):
        model.score(model.prepare(history([[0]], [[1.0]])))


def test_an_empty_history_is_named_where_the_function_fails_on_it() -> None:
    def scores(histories: list[list[str]]) -> np.ndarray:
        return np.array([[len(h[0])] * 4 for h in histories])

    model = External(catalogue(), scores)
    with pytest.raises(SettingError, match=r"for the history \[\]; an empty history is legal"):
        model.score(model.prepare(history([[0]], [[1.0]])), torch.zeros(1, 1, 1))


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(SettingError, match="scores is the class Recorded, takes a function"):
        External(catalogue(), partial(Recorded))
    with pytest.raises(SettingError, match="scores is list, takes a function: scores"):
        External(catalogue(), [1, 2])  # type: ignore[arg-type]


def test_batch_size_is_checked() -> None:
    with pytest.raises(SettingError, match="batch_size must be at least 1, got 0"):
        External(catalogue(), Recorded(), batch_size=0)


def test_masked_equals_removed_on_a_real_table(toy) -> None:
    def scores(listed: list[list[str]]) -> np.ndarray:
        ids = toy.catalogue.item_ids
        return np.array([[len(h) + sum(i < j for j in h) for i in ids] for h in listed], dtype=float)

    model = External(toy.catalogue, scores)
    whole = histories(toy, [3])
    keep = torch.arange(whole.item.shape[1]) % 2
    masked = model.score(model.prepare(whole), keep.float()[None, None])
    assert torch.equal(masked, model.score(model.prepare(whole.without(keep))))
