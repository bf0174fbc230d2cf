"""Lists, ranks and groups against a slow lexsort."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xrec.errors import SettingError
from xrec.ranking.evaluate import RankingSettings, best_rank, evaluate, top_items
from xrec.types import HistoryTable, TargetTable

FEW_VALUES = st.sampled_from([-1.0, 0.0, 0.5, 2.0, -np.inf])
SCORES = hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=FEW_VALUES)


def slow_order(row: np.ndarray) -> list[int]:
    return np.lexsort((np.arange(len(row)), -row)).tolist()


@given(SCORES, st.integers(1, 11))
def test_lists_equal_a_slow_sort_and_ties_go_to_the_lower_id(scores, depth):
    items, values = top_items(torch.from_numpy(scores), depth)
    for row in range(len(scores)):
        assert items[row].tolist() == slow_order(scores[row])[:depth]
        assert values[row].tolist() == scores[row][items[row].numpy()].tolist()


def test_ties_at_the_cut_go_to_the_lower_id_in_a_long_row():
    scores = torch.zeros(3, 5000)
    scores[1, 4000] = 1.0
    items, _ = top_items(scores, 3)
    assert items.tolist() == [[0, 1, 2], [4000, 0, 1], [0, 1, 2]]


@given(SCORES, st.data())
def test_the_best_rank_equals_a_slow_sort(scores, data):
    finite = np.where(np.isinf(scores), np.float32(-3.0), scores)
    relevant = data.draw(hnp.arrays(bool, scores.shape))
    relevant[:, data.draw(st.integers(0, scores.shape[1] - 1))] = True
    found = best_rank(torch.from_numpy(finite), torch.from_numpy(relevant))
    wanted = [1 + min(slow_order(s).index(i) for i in np.flatnonzero(r)) for s, r in zip(finite, relevant, strict=True)]
    assert found.tolist() == wanted


def table(rows: list[list[int]]) -> HistoryTable:
    item = np.array([i for row in rows for i in row], dtype=np.int64)
    ones = np.ones(len(item), dtype=np.float32)
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    decayed = np.ones((len(item), 6), dtype=np.float32)
    return HistoryTable(5, indptr, item, ones, ones, ones, ones, item * 0, ones, decayed)


def wanted(rows: list[list[int]]) -> TargetTable:
    made = table(rows)
    return TargetTable(5, 6, made.indptr, made.item)


SCORE = torch.tensor([[5.0, 4, 3, 2, 1], [1, 2, 3, 4, 5], [5, 5, 5, 5, 5]])
HISTORY, TARGETS = [[0, 1], [], [4]], [[0, 3], [0], [4]]
SETTINGS = RankingSettings(ndcg=(2,), recall=(2,), map=(2,), coverage=(2,))
POPULARITY = np.array([0.5, 0.25, 0.25, 0.125, 0.125])


def measured(scores, groups=("all",), settings=SETTINGS, chunks=None):
    """`evaluate` of one model on the three toy users."""
    history, targets = table(HISTORY), wanted(TARGETS)
    chunks = [np.arange(3)] if chunks is None else chunks
    return evaluate(lambda users: {"toy": scores[users]}, chunks, history, targets, POPULARITY, groups, settings)["toy"]


def ranked(chunks=((0, 1, 2),), groups=("all", "new")):
    pieces = [np.array(c) for c in chunks]
    return measured(SCORE, groups, SETTINGS, pieces)


def test_all_ranks_the_whole_catalogue():
    found = ranked()["all"]
    assert found.top.users.tolist() == [0, 1, 2]
    assert found.top.items.tolist() == [[0, 1], [4, 3], [0, 1]]
    np.testing.assert_allclose(found.values["mrr", None], [1, 1 / 5, 1 / 5])
    np.testing.assert_allclose(found.values["ndcg", 2], [1 / (1 + 1 / np.log2(3)), 0, 0])
    np.testing.assert_allclose(found.values["recall", 2], [1 / 2, 0, 0])
    assert found.totals["coverage", 2] == 4 / 5
    assert found.totals["novelty", 2] == pytest.approx(((1 + 2) / 2 + 3 + (1 + 2) / 2) / 3)


def test_new_masks_the_history_and_counts_targets_outside_it():
    found = ranked()["new"]
    assert found.top.users.tolist() == [0, 1], "user 2 has no new target and no value"
    assert found.top.items.tolist() == [[2, 3], [4, 3]]
    np.testing.assert_allclose(found.values["mrr", None], [1 / 2, 1 / 5])
    np.testing.assert_allclose(found.values["recall", 2], [1, 0])


def test_new_never_recommends_what_is_known_even_when_little_is_left():
    history = [[0, 1, 2, 3]]
    scores = torch.tensor([[5.0, 4, 3, 2, 1]])
    settings = RankingSettings((4,), (4,), (4,), (4,))
    ranked = evaluate(
        lambda u: {"m": scores}, [np.array([0])], table(history), wanted([[4]]), POPULARITY, ["new"], settings
    )
    found = ranked["m"]["new"]
    assert found.top.items.tolist() == [[4, -1, -1, -1]]
    assert found.values["mrr", None].tolist() == [1.0]


def test_chunks_change_nothing():
    one, three = ranked(), ranked(((0,), (1,), (2,)))
    for group in ("all", "new"):
        assert one[group].totals == three[group].totals
        assert one[group].top.items.tolist() == three[group].top.items.tolist()
        for key, values in one[group].values.items():
            np.testing.assert_array_equal(values, three[group].values[key])


def test_default_cut_offs_are_legal_on_a_catalogue_smaller_than_them():
    found = measured(SCORE, settings=RankingSettings())
    assert found["all"].values["recall", 50].tolist() == [1.0, 1.0, 1.0]
    assert found["all"].values["ndcg", 100][1] == pytest.approx(1 / np.log2(6))


def test_scores_that_are_nan_are_refused():
    with pytest.raises(SettingError, match="^ranking: model toy gave scores that are nan"):
        measured(SCORE * np.nan)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 6), (3, 1), (3, 1, 5)])
def test_scores_of_another_shape_are_refused(shape):
    with pytest.raises(
        SettingError, match=rf"^ranking: model toy gave scores {re.escape(str(shape))}, expected \(3, 5\): users, items"
    ):
        measured(torch.zeros(shape))


def test_an_ablation_of_the_wrong_shape_is_called_by_what_is_left_out():
    with pytest.raises(SettingError, match="^ranking: model toy without linear gave scores"):
        evaluate(
            lambda users: {("toy", None): SCORE[users], ("toy", "linear"): SCORE[users, :2]},
            [np.arange(3)],
            table(HISTORY),
            wanted(TARGETS),
            POPULARITY,
            ["all"],
            SETTINGS,
        )


def test_models_ranked_together_are_ranked_as_they_are_alone():
    scores = {"one": SCORE, "other": -SCORE}
    history, targets = table(HISTORY), wanted(TARGETS)
    found = evaluate(
        lambda users: {name: s[users] for name, s in scores.items()},
        [np.array([0, 1]), np.array([2])],
        history,
        targets,
        POPULARITY,
        iter(["all", "new"]),
        SETTINGS,
    )
    assert set(found) == {"one", "other"}
    for name, by_group in found.items():
        for group, alone in measured(scores[name], ("all", "new")).items():
            assert by_group[group].top.items.tolist() == alone.top.items.tolist()
            assert by_group[group].totals == alone.totals


def test_cold_items_are_ranked_among_themselves_and_count_alone():
    history, targets, cold = table(HISTORY), wanted([[0, 3], [2], [4]]), np.array([2, 3])
    found = evaluate(lambda u: {"m": SCORE[u]}, [np.arange(3)], history, targets, POPULARITY, ["cold"], SETTINGS, cold)[
        "m"
    ]["cold"]
    assert found.top.users.tolist() == [0, 1], "user 2 has no cold target and no value"
    assert found.top.items.tolist() == [[2, 3], [3, 2]]
    np.testing.assert_allclose(found.values["mrr", None], [1 / 2, 1 / 2])
    np.testing.assert_allclose(found.values["recall", 2], [1, 1])


def test_cold_items_are_all_that_is_recommended_even_when_they_are_few():
    history, targets, cold = table([[]]), wanted([[3]]), np.array([3])
    settings = RankingSettings((4,), (4,), (4,), (4,))
    found = evaluate(
        lambda u: {"m": SCORE[u]}, [np.array([0])], history, targets, POPULARITY, ["cold"], settings, cold
    )["m"]["cold"]
    assert found.top.items.tolist() == [[3, -1, -1, -1]]


def test_the_group_cold_without_cold_items_is_refused():
    with pytest.raises(ValueError, match="group cold needs cold items; use split=cold_item, or leave it out"):
        measured(SCORE, ("cold",))


def test_a_group_in_which_nobody_has_a_target_is_left_out_and_said(caplog):
    history, targets = table([[3], [3]]), wanted([[3], [3]])
    settings = RankingSettings((4,), (4,), (4,), (4,))
    scores = SCORE[[0, 0]]
    found = evaluate(
        lambda u: {"m": scores[u]}, [np.array([0, 1])], history, targets, POPULARITY, ["all", "new"], settings
    )
    assert list(found["m"]) == ["all"]
    assert "no user has a target in the group new, which is left out" in caplog.text
    none = evaluate(lambda u: {"m": scores[u]}, [np.array([0, 1])], history, targets, POPULARITY, ["new"], settings)
    assert none == {"m": {}}
