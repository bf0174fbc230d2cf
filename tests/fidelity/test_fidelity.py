"""Fidelity metrics against hand-computed cases and slow loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.toy_games import Planted, game_of, plain_history
from xrec.explain.attention import AdditiveContributions
from xrec.explain.controls import Random
from xrec.fidelity.axiomatic import Axiomatic
from xrec.fidelity.eraser import Eraser
from xrec.fidelity.rank import RankRemoval
from xrec.fidelity.removal import FRACTIONS, Removal, step_sizes
from xrec.fidelity.score import ScoreRemoval
from xrec.games.outputs import List
from xrec.games.players import Players

ITEMS = [0, 3, 5, 7]


@pytest.fixture
def value():
    return game_of(Planted(20), plain_history([ITEMS, [2, 4]]), [14, 15])


def removal(value, explainer=None) -> Removal:
    return Removal(value, (explainer or AdditiveContributions()).attribute(value, 0, "x"), [1] * len(value))


def found(measured) -> dict:
    """Values by (metric, variant, k, step)."""
    values = {m.key: m.values for m in measured}
    assert len(values) == len(measured), "two of them under one key"
    return values


@given(st.integers(2, 1200), st.sampled_from([FRACTIONS, (0.01, 0.05, 0.1, 0.2, 0.5)]))
@example(45, FRACTIONS)  # .7 * 45 + .5 is 32 on paper, and a little less in floats
def test_steps_follow_the_protocol(n_players: int, shares: tuple[float, ...]) -> None:
    sizes, fresh = step_sizes(np.array([n_players]), shares)
    from fractions import Fraction

    wanted = [min(max(math.floor(Fraction(str(q)) * n_players + Fraction(1, 2)), 1), n_players - 1) for q in shares]
    assert sizes[0].tolist() == wanted
    assert sizes[0][fresh[0]].tolist() == sorted(set(wanted))


def test_a_single_player_is_removed_as_a_whole() -> None:
    """cases.min_players=1: there is one step, the only one there can be; exactly n players of one are left out."""
    game = game_of(Planted(20), plain_history([[3], [2]]), [14, 15])
    whole, empty = game.ends()
    assert step_sizes(game.n_players, FRACTIONS)[0].tolist() == [[1] * 9] * 2
    metrics = [ScoreRemoval(), Eraser([0.01, 0.5]), RankRemoval([1, 5]), Axiomatic()]
    measured = found([m for metric in metrics for m in metric.measure(removal(game))])
    for key, wanted in {
        ("deletion", None): empty, ("insertion", None): whole, ("deletion", "normalised"): np.zeros(2),
        ("insertion", "normalised"): np.ones(2), ("comprehensiveness", None): whole - empty,
        ("sufficiency", None): np.zeros(2), ("sparsity", None): np.ones(2),
    }.items():  # fmt: skip
        np.testing.assert_allclose(measured[(*key, None, None)], wanted, atol=1e-6)
    assert (abs(whole - empty) > 1e-3).all()
    for (_, variant, _, _), values in measured.items():
        left_out = variant is not None and variant.startswith("discrete")
        assert (np.isnan(values) if left_out else np.isfinite(values)).all()


def test_deletion_and_insertion_by_hand(value) -> None:
    weight = value.model.weights.double().numpy()[ITEMS, 14]
    order = np.argsort(-weight)
    measured = found(ScoreRemoval().measure(removal(value)))
    # P = 4: the nine fractions give 1, 2, 3 players after dropping duplicates (0.4 -> 1 clipped up, 0.5, 1.3, ...)
    deletion = np.mean([weight.sum() - weight[order[:n]].sum() for n in (1, 2, 3)])
    insertion = np.mean([weight[order[:n]].sum() for n in (1, 2, 3)])
    assert measured["deletion", None, None, None][0] == pytest.approx(deletion, abs=1e-6)
    assert measured["insertion", None, None, None][0] == pytest.approx(insertion, abs=1e-6)
    assert measured["deletion", "normalised", None, None][0] == pytest.approx(deletion / weight.sum(), abs=1e-6)
    assert measured["insertion", "curve", None, 0.9][0] == pytest.approx(
        weight[order[:3]].sum() / weight.sum(), abs=1e-6
    )


def test_discrete_removals_leave_out_short_histories(value) -> None:
    measured = found(ScoreRemoval().measure(removal(value)))
    assert np.isfinite(measured["deletion", "discrete", None, 3][0])
    assert np.isnan(measured["deletion", "discrete", None, 4][0])
    assert np.isfinite(measured["deletion", "discrete", None, 1][1])
    assert np.isnan(measured["deletion", "discrete", None, 2][1])


def test_rank_metrics_against_a_slow_loop(value) -> None:
    rem = removal(value)
    measured = found(RankRemoval([1, 3, 10]).measure(rem))
    weights = value.model.weights.numpy()
    for row, (items, target) in enumerate(zip([ITEMS, [2, 4]], [14, 15], strict=True)):
        order = sorted(items, key=lambda i: -weights[i, target])
        candidates = [i for i in range(20) if i not in items]
        sizes = sorted(set(step_sizes(np.array([len(items)]), FRACTIONS)[0][0].tolist()))

        def rank(left: list[int], target: int = target, candidates: list[int] = candidates) -> int:
            score = {c: np.float32(sum(weights[i, c] for i in left)) for c in candidates}
            return 1 + sum(s > score[target] or (s == score[target] and c < target) for c, s in score.items())

        top = [rank(order[n:]) for n in sizes]
        bottom = [rank(order[: len(order) - n]) for n in sizes]
        assert measured["cdcg", None, None, None][row] == pytest.approx(np.mean([1 / math.log2(1 + r) for r in top]))
        for k in (1, 3, 10):
            assert measured["pos_at_k", None, k, None][row] == pytest.approx(np.mean([r <= k for r in top]))
            assert measured["neg_at_k", None, k, None][row] == pytest.approx(np.mean([r <= k for r in bottom]))


def test_rank_metrics_of_a_list_are_the_means_over_its_targets() -> None:
    """Of the first case three targets, of the second one; ranks are among all candidates of the case."""
    history = plain_history([ITEMS, [2, 4]])
    lists = game_of(Planted(20), history, [(14, 16, 19), (15,)], output=List())
    rem = removal(lists)
    measured = found(RankRemoval([1, 3, 10]).measure(rem))
    sizes, fresh = step_sizes(lists.n_players, FRACTIONS)
    ranks = lists.ranks(rem.without_top(sizes))
    for row, n_targets in enumerate((3, 1)):
        mine = ranks[row][fresh[row], :n_targets]
        assert mine.min() >= 1
        assert measured["cdcg", None, None, None][row] == pytest.approx(np.mean(1 / np.log2(1 + mine)))
        for k in (1, 3, 10):
            assert measured["pos_at_k", None, k, None][row] == pytest.approx(np.mean(mine <= k))
    assert len(set(ranks[0, :, 0] - ranks[0, :, 1])) > 1
    alone = removal(game_of(Planted(20), plain_history([[2, 4]]), [15]))
    single = found(RankRemoval([1, 3, 10]).measure(alone))
    assert all(single[key][0] == pytest.approx(values[1], nan_ok=True) for key, values in measured.items())


def test_groups_are_removed_as_a_whole() -> None:
    """Three players of 1, 2 and 1 items: shares and steps are of players."""

    class Pairs(Players):
        name = "pairs"

        def codes(self, history, catalogue):
            return history.item // 4

        def label(self, code, catalogue):
            return f"{code}", f"pair {code}"

    groups = game_of(Planted(20), plain_history([[1, 5, 7, 9]]), [14], players=Pairs())
    assert groups.player_ids == (("0", "1", "2"),)
    rem = removal(groups)
    weight = groups.model.weights.double().numpy()[[1, 5, 7, 9], 14]
    total = np.array([weight[0], weight[1] + weight[2], weight[3]])
    np.testing.assert_allclose(rem.attribution.values[0], total, atol=1e-6)
    order = np.argsort(-total)
    deletion = np.mean([total.sum() - total[order[:n]].sum() for n in (1, 2)])
    assert found(ScoreRemoval().measure(rem))["deletion", None, None, None][0] == pytest.approx(deletion, abs=1e-6)
    assert np.isnan(found(ScoreRemoval().measure(rem))["deletion", "discrete", None, 3][0])


def test_comprehensiveness_and_sufficiency_by_hand(value) -> None:
    weight = value.model.weights.double().numpy()[ITEMS, 14]
    order = np.argsort(-weight)
    measured = found(Eraser([0.01, 0.05, 0.1, 0.2, 0.5]).measure(removal(value)))
    tops = [weight[order[:n]].sum() for n in (1, 2)]  # 1, 5, 10, 20 % of 4 are all one player
    assert measured["comprehensiveness", None, None, None][0] == pytest.approx(np.mean(tops), abs=1e-6)
    assert measured["sufficiency", None, None, None][0] == pytest.approx(
        np.mean([weight.sum() - t for t in tops]), abs=1e-6
    )


def test_completeness_error_is_zero_for_a_complete_method_and_absent_for_others(value) -> None:
    measured = found(Axiomatic().measure(removal(value)))
    np.testing.assert_allclose(measured["completeness_error", None, None, None], 0, atol=1e-6)
    assert ("completeness_error", None, None, None) not in found(Axiomatic().measure(removal(value, Random())))


def test_sparsity_is_one_for_equal_values_and_one_player_for_a_single_one(value) -> None:
    rem = removal(value)
    rem.attribution.values[0, :4] = [1, -1, 1, 1]
    rem.attribution.values[1, :2] = [0, -3]
    sparsity = found(Axiomatic().measure(rem))["sparsity", None, None, None]
    np.testing.assert_allclose(sparsity, [1.0, 0.5])


def test_a_history_without_effect_is_flagged_not_divided_by(value) -> None:
    value.model.weights.zero_()
    measured = found(ScoreRemoval().measure(removal(value)))
    assert np.isnan(measured["deletion", "normalised", None, None]).all()
    assert np.isfinite(measured["deletion", None, None, None]).all()


def test_ties_are_broken_by_the_seeded_permutation_only(value) -> None:
    attribution = AdditiveContributions().attribute(value, 0, "x")
    attribution.values[0, :4] = 0.0
    one, two, again = (Removal(value, attribution, [s, s]).position[0, :4].tolist() for s in (1, 2, 1))
    assert one == again
    assert sorted(two) == [0, 1, 2, 3]
    orders = {tuple(Removal(value, attribution, [s, s]).position[0, :4]) for s in range(30)}
    assert len(orders) > 10
