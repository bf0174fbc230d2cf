"""Every fidelity metric on four cases worked out on paper; what they are made for stands in tests/by_hand.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.by_hand import CASES, OnPaper, Table, attribution, game_of, measured_slowly
from xrec.fidelity.axiomatic import Axiomatic
from xrec.fidelity.eraser import Eraser
from xrec.fidelity.metric import FidelityMetric, Key
from xrec.fidelity.rank import RankRemoval
from xrec.fidelity.removal import Removal, effect, step_sizes
from xrec.fidelity.score import ScoreRemoval
from xrec.types import Attribution, Doubles

CUTOFFS = [1, 2, 3, 10, 13, 14, 20]
SHARES = ["0.01", "0.05", "0.1", "0.2", "0.5"]
FAMILIES: list[FidelityMetric] = [
    ScoreRemoval(),
    RankRemoval(CUTOFFS),
    Eraser([0.5, 0.01, 0.2, 0.05, 0.1]),
    Axiomatic(),
]
#: the fourth case has no effect, hence no contributions to go by
TRUE = [*(c.contributions for c in CASES[:3]), [0.25, -0.5]]


def measure(given: Attribution) -> dict[Key, Doubles]:
    removal = Removal(game_of(), given, [7] * len(given.cases))
    found = [m for family in FAMILIES for m in family.measure(removal)]
    values = {m.key: m.values for m in found}
    assert len(values) == len(found), "two of them under one key"
    return values


def drawn(seed: int) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [(rng.permutation(len(c.history)) - 1.5).tolist() for c in CASES]


@pytest.mark.parametrize("values", [TRUE, *map(drawn, range(4))])
@pytest.mark.parametrize("complete", [True, False])
def test_every_metric_is_that_of_the_slow_loops(values, complete: bool) -> None:
    found = measure(attribution(values, complete=complete))
    wanted = [measured_slowly(c, v, CUTOFFS, SHARES, complete) for c, v in zip(CASES, values, strict=True)]
    assert found.keys() == wanted[0].keys()
    for key, mine in found.items():
        np.testing.assert_allclose(mine, [w[key] for w in wanted], rtol=1e-6, atol=1e-9, err_msg=str(key))


@pytest.fixture(scope="module")
def found() -> dict[Key, Doubles]:
    return measure(attribution(TRUE))


#: The first case, f(x) = 3.5, f(empty) = 1, loses 4 3 2 1 .5 -1 -2 -5 one after the other. What is left of the score:
LEFT = [-0.5, -3.5, -5.5, -6.5, -7.0, -6.0, -4.0]
KEPT = [5.0, 8.0, 10.0, 11.0, 11.5, 10.5, 8.5]  # with only the best 1 .. 7
RANKS_LEFT = [9, 12, 13, 14, 14, 14, 13]
RANKS_WITHOUT_LAST = [3, 2, 1, 2, 2, 4, 5]


def test_scores_by_hand(found) -> None:
    assert found["deletion", None, None, None][:3] == pytest.approx([-33 / 7, -8.0, (-2 - 3 - 3.5 - 2) / 4])
    assert found["insertion", None, None, None][:3] == pytest.approx([64.5 / 7, -2.5, (6 + 7 + 7.5 + 6) / 4])
    # minus f(empty), over f(x) - f(empty): (-33/7 - 1) / 2.5, (-8 + 5) / -.5
    assert found["deletion", "normalised", None, None][:2] == pytest.approx([-16 / 7, 6.0])
    assert found["insertion", "normalised", None, None][:2] == pytest.approx([23 / 7, -5.0])
    assert [found["deletion", "discrete", None, n][0] for n in range(1, 6)] == LEFT[:5]
    assert [found["insertion", "discrete", None, n][0] for n in range(1, 6)] == KEPT[:5]
    # 20 and 30 % of eight players are two of them
    curve = [found["deletion", "curve", None, q / 10][0] for q in range(1, 10)]
    assert curve == pytest.approx([(LEFT[n - 1] - 1) / 2.5 for n in (1, 2, 2, 3, 4, 5, 6, 6, 7)])


def test_ranks_by_hand(found) -> None:
    def share(ranks: list[int], k: int) -> float:
        return sum(r <= k for r in ranks) / len(ranks)

    assert found["cdcg", None, None, None][0] == pytest.approx(sum(1 / math.log2(1 + r) for r in RANKS_LEFT) / 7)
    assert found["cdcg", None, None, None][1] == pytest.approx(1 / math.log2(21))
    for k in CUTOFFS:
        assert found["pos_at_k", None, k, None][0] == pytest.approx(share(RANKS_LEFT, k))
        assert found["neg_at_k", None, k, None][0] == pytest.approx(share(RANKS_WITHOUT_LAST, k))
    for n in range(1, 6):
        assert found["neg_at_k", "discrete", 1, n][0] == (n == 3)
        assert found["pos_at_k", "discrete", 10, n][0] == (n == 1)


def test_comprehensiveness_and_sufficiency_by_hand(found) -> None:
    # 1, 5 and 10 % of eight players are one, 20 % two, 50 % four; of three players one, one, two (1.5 + .5)
    assert found["comprehensiveness", None, None, None][:2] == pytest.approx([(4 + 7 + 10) / 3, (3 + 2) / 2])
    assert found["sufficiency", None, None, None][:2] == pytest.approx([-(1.5 + 4.5 + 7.5) / 3, (-3.5 - 2.5) / 2])
    assert found["comprehensiveness", "normalised", None, None][:2] == pytest.approx([7 / 2.5, -5.0])
    assert found["sufficiency", "normalised", None, None][:2] == pytest.approx([-4.5 / 2.5, 6.0])


def test_how_many_players_carry_an_explanation_by_hand(found) -> None:
    # of the second case: 1, 3 and 2.5 of 6.5
    entropy = -sum(p * math.log(p) for p in (1 / 6.5, 3 / 6.5, 2.5 / 6.5))
    assert found["sparsity", None, None, None][1] == pytest.approx(math.exp(entropy) / 3)
    silent = measure(attribution([*TRUE[:3], [1e-9, 0.0]]))["sparsity", None, None, None]
    assert silent[3] == pytest.approx(0.5)


def test_a_silent_explanation_has_no_sparsity_and_misses_the_whole_effect() -> None:
    found = measure(attribution([[0.0] * len(c.history) for c in CASES]))
    assert np.isnan(found["sparsity", None, None, None]).all()
    assert found["completeness_error", None, None, None][:3].tolist() == [1.0, 1.0, 1.0]


def test_a_case_without_effect_is_left_out_of_what_is_divided_by_it_and_of_nothing_else(found) -> None:
    for (metric, variant, _, step), values in found.items():
        divided = variant in ("normalised", "discrete_normalised", "curve") or metric == "completeness_error"
        too_short = variant in ("discrete", "discrete_normalised") and step >= 2
        assert np.isnan(values[3]) == (divided or too_short), (metric, variant, step)


@pytest.mark.parametrize(("effect_of_one", "kept"), [(1.0, False), (1.125, True), (-1.0, False), (-1.125, True)])
def test_an_effect_is_too_small_below_a_millionth_of_the_spread_over_the_candidates(effect_of_one, kept) -> None:
    """The first history spreads the candidates 2^20 apart; what is no candidate of it lies 2^30 away."""
    weights = {(1, 3): effect_of_one, (1, 0): 2.0**19, (1, 4): -(2.0**19), (5, 3): effect_of_one}
    model = Table({1: 2.0**30, 2: -(2.0**30)}, weights)
    found = effect(game_of((OnPaper((1, 2), 3), OnPaper((1, 2, 5), 3), OnPaper((5, 1, 2), 6, "new")), model))
    assert np.isnan(found).tolist() == [not kept, False, True]
    assert found[1] == 2 * effect_of_one


def test_no_effect_on_candidates_that_all_score_the_same_is_too_small() -> None:
    assert np.isnan(effect(game_of((OnPaper((1, 2), 3),), Table({}, {})))).all()


def test_a_half_player_is_a_whole_one() -> None:
    """n = floor(q P + 1/2): half of 7 players are 4, a tenth of 5 is 1, and 90 % of 5 stay below 5."""
    assert step_sizes(np.array([7]), (0.1, 0.2, 0.5, 0.7))[0].tolist() == [[1, 1, 4, 5]]
    sizes, fresh = step_sizes(np.array([5, 1]), (0.1, 0.3, 0.9))
    assert sizes.tolist() == [[1, 2, 4], [1, 1, 1]]
    assert fresh.tolist() == [[True, True, True], [True, False, False]]


def test_each_case_has_its_own_seed_for_ties() -> None:
    given = attribution([[0.0] * len(c.history) for c in CASES])
    value = game_of()
    one, two = (Removal(value, given, seeds).position for seeds in ([1, 2, 3, 4], [5, 2, 3, 4]))
    assert one[1:].tolist() == two[1:].tolist() and one[0].tolist() != two[0].tolist()


def test_directions_are_those_of_the_protocol() -> None:
    lower = {"deletion", "cdcg", "pos_at_k", "sufficiency", "completeness_error"}
    higher = {"insertion", "neg_at_k", "comprehensiveness"}
    declared = {m.name: m.direction for family in FAMILIES for m in family.metrics}
    assert declared == dict.fromkeys(lower, "lower") | dict.fromkeys(higher, "higher") | {"sparsity": None}


@pytest.mark.parametrize("shares", [[], [0.0], [1.0], [0.5, 1.5], [-0.1]])
def test_impossible_shares_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match=r"fidelity.eraser.shares must lie in \(0, 1\), got \["):
        Eraser(shares)


@pytest.mark.parametrize("cutoffs", [[], [0], [5, -1], [5, 10_001], [5, 5]])
def test_impossible_cutoffs_are_refused(cutoffs: list[int]) -> None:
    with pytest.raises(ValueError, match=r"fidelity.removal.cutoffs must be different ranks from 1 to 10000, got \["):
        RankRemoval(cutoffs)
