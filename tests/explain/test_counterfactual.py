"""Removal sets against brute force over all subsets, by hand, and by really removing the items."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests.by_hand import N_ITEMS, OnPaper, Table, game_of
from tests.toy_games import game_of as toy_game
from tests.toy_games import plain_history
from tests.toys import fitted_composed, histories, no_progress
from xrec.errors import SettingError
from xrec.explain.counterfactual import BringIn, GreedyRemoval, LeaveOneOutSet, RemovalSet
from xrec.explain.smallest_removal import SmallestRemoval
from xrec.games.fitting import Fitting
from xrec.games.maskers import Popularity, SampledUser, Zero
from xrec.games.outputs import List, Margin
from xrec.games.players import Field
from xrec.types import Attribution

K = 3
TO_LEAVE = [LeaveOneOutSet(K), GreedyRemoval(K), SmallestRemoval(K)]


def name_of(explainer: object) -> str:
    return type(explainer).__name__


class World:
    """A random additive model in quarters, and cases of up to seven players."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.prior = {i: float(random.integers(-8, 9)) / 4 for i in range(N_ITEMS)}
        self.weights = {(j, i): float(random.integers(-4, 9)) / 4 for j in range(N_ITEMS) for i in range(N_ITEMS)}
        self.cases = []
        for n in (7, 5, 2, 6):
            history = sorted(random.choice(N_ITEMS, n, replace=False).tolist())
            scores = {i: self.score(history, i) for i in range(N_ITEMS) if i not in history}
            self.cases.append(OnPaper(tuple(history), max(scores, key=lambda i: (scores[i], -i))))
        self.model = Table(self.prior, self.weights)

    def score(self, there: list[int], item: int) -> float:
        return self.prior[item] + sum(self.weights[j, item] for j in there)

    def rank(self, case: OnPaper, there: list[int]) -> int:
        mine = self.score(there, case.target)
        others = [(self.score(there, i), i) for i in case.candidates]
        return 1 + sum(s > mine or (s == mine and i < case.target) for s, i in others)

    def smallest(self, case: OnPaper, k: int) -> int | None:
        """By enumeration; None: no set does it."""
        for size in range(len(case.history) + 1):
            for gone in itertools.combinations(case.history, size):
                if self.rank(case, [j for j in case.history if j not in gone]) > k:
                    return size
        return None

    def rank_without(self, row: int, found: Attribution) -> int:
        assert found.selected is not None
        kept = [j for j, gone in zip(self.cases[row].history, found.selected[row], strict=False) if not gone]
        return self.rank(self.cases[row], kept)


def outcomes(found: Attribution) -> list[str]:
    assert found.outcome is not None
    return list(found.outcome)


def sizes(found: Attribution) -> list[int]:
    assert found.selected is not None
    return found.selected.sum(1).tolist()


@pytest.mark.parametrize("seed", range(12))
def test_the_smallest_set_is_that_of_enumeration(seed: int) -> None:
    world = World(seed)
    for k in (1, K, 5):
        found = SmallestRemoval(k).attribute(game_of(tuple(world.cases), world.model), 0, "x")
        for row, case in enumerate(world.cases):
            smallest = world.smallest(case, k)
            assert outcomes(found)[row] == ("impossible" if smallest is None else "smallest")
            assert sizes(found)[row] == (smallest or 0)


def test_sums_prove_half_of_it_without_enumeration_and_nothing_that_is_wrong() -> None:
    told, excess = [], 0
    for seed in range(60):
        world = World(seed)
        found = SmallestRemoval(K, exhaustive=0).attribute(game_of(tuple(world.cases), world.model), 0, "x")
        for row, (case, outcome) in enumerate(zip(world.cases, outcomes(found), strict=True)):
            smallest = world.smallest(case, K)
            told.append(outcome)
            if outcome == "smallest":
                assert sizes(found)[row] == smallest
            elif outcome == "impossible":
                assert smallest is None
            elif outcome == "found":
                assert smallest is not None and smallest <= sizes(found)[row]
                excess += sizes(found)[row] - smallest
    assert told.count("smallest") > 100 and told.count("impossible") > 3 and told.count("found") > 10
    assert excess < 0.2 * told.count("found")  # most of what is not proved is the smallest, too


@pytest.mark.parametrize("explainer", TO_LEAVE, ids=name_of)
def test_without_a_found_set_the_target_has_left_and_with_none_nothing_is_chosen(explainer: RemovalSet) -> None:
    seen = set()
    for seed in range(25):
        world = World(seed)
        found = explainer.attribute(game_of(tuple(world.cases), world.model), 0, "x")
        for row, (case, outcome) in enumerate(zip(world.cases, outcomes(found), strict=True)):
            seen.add(outcome)
            assert (world.rank_without(row, found) > K) == (outcome in ("smallest", "found"))
            if outcome not in ("smallest", "found"):
                assert sizes(found)[row] == 0
            if outcome in ("stays", "not_found"):
                assert (world.rank(case, []) > K) == (outcome == "not_found")
            if outcome == "smallest":
                assert sizes(found)[row] == world.smallest(case, K)
    proves = isinstance(explainer, SmallestRemoval)
    assert seen == {"smallest", "impossible"} if proves else seen >= {"smallest", "found", "stays"}


def test_leave_one_out_takes_the_smallest_prefix_of_its_order() -> None:
    for seed in range(10):
        world = World(seed)
        found = LeaveOneOutSet(K).attribute(game_of(tuple(world.cases), world.model), 0, "x")
        for row, case in enumerate(world.cases):
            effects = [world.weights[j, case.target] for j in case.history]
            np.testing.assert_allclose(found.values[row, : len(effects)], effects, atol=1e-6)
            if outcomes(found)[row] not in ("smallest", "found") or len(set(effects)) < len(effects):
                continue
            order = [j for _, j in sorted(zip(effects, case.history, strict=True), reverse=True)]
            first = next(n for n in range(len(order) + 1) if world.rank(case, order[n:]) > K)
            assert found.selected is not None
            chosen = {j for j, gone in zip(case.history, found.selected[row], strict=False) if gone}
            assert chosen == set(order[:first])


class Capped(Table):
    """No more than 4 of support for an item."""

    def score(self, context, presence=None, targets=None):
        total = super().score(context, presence, targets)
        return total.clamp(max=5.0)


def test_greedy_removal_computes_effects_anew() -> None:
    """By hand: 23 has 1 + 4 for each of 0, 1 and 2 + .5 for 3, but no more than 5; 22 has 3. Any two can go for
    nothing, with all three 23 falls from 5 to 1.5."""
    model = Capped({23: 1.0, 22: 3.0}, {(j, 23): 4.0 for j in (0, 1, 2)} | {(3, 23): 0.5})
    game = game_of((OnPaper((0, 1, 2, 3), 23),), model)
    first = LeaveOneOutSet(1).attribute(game, 0, "x")
    assert first.values[0].tolist() == [0.0] * 4  # nobody is missed
    found = GreedyRemoval(1).attribute(game, 0, "x")
    assert outcomes(found) == ["found"] and sizes(found) == [3]
    assert found.selected is not None and found.selected[0].tolist() == [True, True, True, False]
    assert found.values[0, :3].tolist() == [0.0, 0.0, 3.5]


def test_greedy_puts_back_who_is_not_needed() -> None:
    """No member of a set can be spared."""
    for seed in range(30):
        world = World(seed)
        found = GreedyRemoval(K).attribute(game_of(tuple(world.cases), world.model), 0, "x")
        assert found.selected is not None
        for row, case in enumerate(world.cases):
            chosen = [j for j, gone in zip(case.history, found.selected[row], strict=False) if gone]
            for spared in chosen:
                kept = [j for j in case.history if j not in chosen or j == spared]
                assert world.rank(case, kept) <= K


def test_nothing_is_removed_where_the_target_is_not_there_to_begin_with() -> None:
    world = World(0)
    case = world.cases[0]
    last = min(case.candidates, key=lambda i: world.score(list(case.history), i))
    game = game_of((OnPaper(case.history, last),), world.model)
    for explainer in TO_LEAVE:
        found = explainer.attribute(game, 0, "x")
        assert outcomes(found) == ["already"] and sizes(found) == [0]


def test_a_limit_of_the_size_is_kept() -> None:
    for seed in range(10):
        world = World(seed)
        game = game_of(tuple(world.cases), world.model)
        for explainer in (LeaveOneOutSet(K, 1), GreedyRemoval(K, 1), SmallestRemoval(K, 1)):
            found = explainer.attribute(game, 0, "x")
            assert max(sizes(found)) <= 1
            for row, case in enumerate(world.cases):
                if outcomes(found)[row] == "impossible":
                    assert world.smallest(case, K) is None


def test_bring_in_puts_the_foil_before_the_target() -> None:
    done = 0
    for seed in range(20):
        world = World(seed)
        history, target = world.cases[0].history, world.cases[0].target
        foil = next(i for i in range(N_ITEMS) if i not in (*history, target))
        game = toy_game(world.model, plain_history([list(history)]), [target], output=Margin(), foils=[foil])
        found = BringIn().attribute(game, 0, "x")
        assert found.selected is not None
        kept = [j for j, gone in zip(history, found.selected[0], strict=True) if not gone]
        margin = world.score(kept, target) - world.score(kept, foil)
        gains = sorted((world.weights[j, target] - world.weights[j, foil] for j in history), reverse=True)
        whole = world.score(list(history), target) - world.score(list(history), foil)
        left = whole - np.cumsum([0, *gains])
        fewest = next((n for n, m in enumerate(left) if m < 0 or (m == 0 and foil < target)), None)
        if outcomes(found)[0] in ("smallest", "found"):
            done += 1
            assert margin < 0 or (margin == 0 and foil < target)
            assert sizes(found)[0] == fewest  # of one margin that is a sum, greedy is exact
        else:
            assert fewest in (None, 0)
    assert done > 8


def test_without_a_foil_it_is_the_next_ranked() -> None:
    world = World(3)
    case = world.cases[0]
    found = BringIn().attribute(game_of((case,), world.model), 0, "x")
    ordered = sorted(case.candidates, key=lambda i: (-world.score(list(case.history), i), i))
    following = ordered[ordered.index(case.target) + 1]
    assert outcomes(found)[0] in ("smallest", "found") and found.selected is not None
    kept = [j for j, gone in zip(case.history, found.selected[0], strict=True) if not gone]
    assert world.score(kept, following) >= world.score(kept, case.target)


def test_bring_in_has_no_foil_for_the_last_candidate() -> None:
    model = Table({i: 30.0 - i for i in range(N_ITEMS)}, {})
    found = BringIn().attribute(game_of((OnPaper((0, 1), N_ITEMS - 1),), model), 0, "x")
    assert outcomes(found) == ["stays"] and sizes(found) == [0]


@pytest.mark.parametrize("masker", [Zero(), Popularity(), SampledUser(3)], ids=lambda m: m.name)
@pytest.mark.parametrize("explainer", [*TO_LEAVE, BringIn()], ids=name_of)
def test_sets_of_groups_of_a_real_model_do_what_they_say(explainer, masker, toy, tmp_path) -> None:
    masker.fit(Fitting(toy, 0, torch.device("cpu"), no_progress))
    model, history = fitted_composed(toy, tmp_path), histories(toy, [4, 9, 12])
    for players in (None, Field("size")):
        game = toy_game(model, history, [7, 8, 11], players=players, masker=masker, catalogue=toy.catalogue)
        found = explainer.attribute(game, 0, "x")
        assert found.selected is not None
        left = game.whole() & ~found.selected[:, None]
        ranks = game.ranks(left)[:, 0, 0]
        for row, outcome in enumerate(outcomes(found)):
            if outcome in ("smallest", "found") and not isinstance(explainer, BringIn):
                assert ranks[row] > K
            alone = explainer.attribute(game.single(row), 0, "x")
            assert outcomes(alone) == [outcome]
            assert sizes(alone) == [sizes(found)[row]]


def test_what_is_no_sum_is_measured_and_proves_nothing(toy, tmp_path) -> None:
    """A softmax gate beside a VAE: contributions are those of some parts only."""
    from xrec.explain.smallest_removal import _sums
    from xrec.games.keyed import Keyed

    history, random = histories(toy, [4, 9, 12]), Keyed(0, "x")
    assert not _sums(toy_game(fitted_composed(toy, tmp_path), history, [7, 8, 11]), K, random).additive.any()
    additive = Table({}, {(j, i): float((j * 7 + i * 3) % 5) for j in range(N_ITEMS) for i in range(N_ITEMS)})
    assert _sums(game_of((OnPaper((0, 1, 2), 23),), additive), K, random).additive.all()


def test_a_list_leaves_as_a_whole(toy, tmp_path) -> None:
    model, history = fitted_composed(toy, tmp_path), histories(toy, [4, 9])
    game = toy_game(model, history, [(7, 8, 11), (8,)], output=List())
    for explainer in (*TO_LEAVE, BringIn()):
        found = explainer.attribute(game, 0, "x")
        assert found.selected is not None
        ranks = game.ranks(game.whole() & ~found.selected[:, None])[:, 0]
        for row, outcome in enumerate(outcomes(found)):
            if outcome in ("smallest", "found") and not isinstance(explainer, BringIn):
                assert all(r > K for r in ranks[row] if r > 0)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingError, match="GreedyRemoval: k must be at least 1, got 0"):
        GreedyRemoval(0)
    with pytest.raises(SettingError, match="BringIn: max_size must be at least 1, got 0"):
        BringIn(0)
    with pytest.raises(SettingError, match="SmallestRemoval: exhaustive must be from 0 to 20 players, got 21"):
        SmallestRemoval(exhaustive=21)
