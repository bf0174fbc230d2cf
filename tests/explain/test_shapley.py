"""Shapley values: closed forms and estimators against enumeration, what they promise, and what they cost."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toy_games import TableGame, exact_shapley, game_of, random_tables
from tests.toys import fitted_composed, histories, no_progress
from xrec.errors import SettingError
from xrec.explain import weighted_mean
from xrec.explain.enumeration import ExactShapley, enumerated
from xrec.explain.explainer import Explainer
from xrec.explain.pairwise import Pairwise
from xrec.explain.shapley import (
    AdjustedShap,
    KernelShap,
    LeverageShap,
    PermutationShap,
    Sample,
    Sampled,
    Shapley,
    drawn_pairs,
    exact_values,
    relative_error,
)
from xrec.explain.weighted_mean import weighted_mean_shapley
from xrec.games.fitting import Fitting
from xrec.games.maskers import Masker, Popularity, SampledUser, Zero
from xrec.games.outputs import List, Logit, LogProbability, Margin, Output
from xrec.games.players import Field, Items
from xrec.types import Attribution

SAMPLED = [PermutationShap, KernelShap, LeverageShap, AdjustedShap]


def attributed(explainer: Explainer, game) -> Attribution:
    return explainer.attribute(game, 0, "x")


# weighted means


def mean_values(weight: np.ndarray, weighted: np.ndarray, base: tuple[float, float]) -> np.ndarray:
    """[2 ^ P] by definition."""
    inside = (np.arange(2 ** len(weight))[:, None] >> np.arange(len(weight))) & 1
    below, above = inside @ weight + base[0], inside @ weighted + base[1]
    return np.where(below > 0, above / np.where(below > 0, below, 1), 0.0)


def by_quadrature(weight: np.ndarray, weighted: np.ndarray, base: tuple[float, float]) -> np.ndarray:
    rows = [torch.tensor(part).unsqueeze(0) for part in (weight, weighted)]
    return weighted_mean_shapley(*rows, *(torch.tensor([end], dtype=torch.float64) for end in base))[0].numpy()


@settings(deadline=None, max_examples=60)
@given(
    n_players=st.integers(1, 9),
    spread=st.floats(0, 60),
    base=st.sampled_from([0.0, 1e-9, 1e-3, 0.5]),
    seed=st.integers(0, 2**31),
)
def test_weighted_means_are_those_of_enumeration_whatever_the_weights_spread(n_players, spread, base, seed) -> None:
    generator = np.random.default_rng(seed)
    weight = np.exp(-spread * generator.random(n_players))
    weight[0] = 1.0
    values = generator.normal(size=n_players)
    ends = (base, -0.7 * base)
    expected = enumerated(TableGame(mean_values(weight, weight * values, ends)))[0]
    found = by_quadrature(weight, weight * values, ends)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(np.abs(expected).max(), 1e-3))


def test_a_player_without_weight_has_no_value_and_its_absence_changes_nothing() -> None:
    weight, weighted = np.array([0.5, 0.0, 2.0]), np.array([1.0, 0.0, -3.0])
    found = by_quadrature(weight, weighted, (0.0, 0.0))
    assert found[1] == 0.0
    np.testing.assert_allclose(found[[0, 2]], by_quadrature(weight[[0, 2]], weighted[[0, 2]], (0.0, 0.0)), atol=1e-9)
    np.testing.assert_array_equal(by_quadrature(np.zeros(2), np.zeros(2), (0.0, 0.0)), 0.0)


@pytest.mark.parametrize("spread", [0.5, 12.0, 60.0])
def test_many_players_agree_with_twice_the_nodes_and_sum_to_the_mean(spread: float, monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.exp(-spread * torch.rand(2, 240, generator=generator, dtype=torch.float64))
    weighted = weight * torch.randn(2, 240, generator=generator, dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    found = weighted_mean_shapley(weight, weighted, zero, zero)
    torch.testing.assert_close(found.sum(1), weighted.sum(1) / weight.sum(1), rtol=0, atol=1e-6)
    coarse = weighted_mean._probabilities(weight)
    twice = torch.from_numpy(np.stack(np.polynomial.legendre.leggauss(2 * len(coarse)), axis=1) / 2 + [0.5, 0.0])
    monkeypatch.setattr(weighted_mean, "_probabilities", lambda like: twice)
    monkeypatch.setattr(weighted_mean, "_STEP", 0.25)
    fine = weighted_mean_shapley(weight, weighted, zero, zero)
    assert float((found - fine).norm() / fine.norm()) < 1e-7


def test_memory_cuts_change_nothing(monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, values = (torch.rand(7, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    base = torch.rand(7, generator=generator, dtype=torch.float64)
    whole = weighted_mean_shapley(weight, weight * values, base, base)
    monkeypatch.setattr(weighted_mean, "_MAX_ENTRIES", 1)
    cut = weighted_mean_shapley(weight, weight * values, base, base)
    torch.testing.assert_close(cut, whole, rtol=1e-6, atol=1e-7)  # nodes span the weights of what is together


# the engine

#: without a user encoder, whose score has no closed form
CLOSED = {"user_encoder": None}


def fitted(masker: Masker, toy) -> Masker:
    masker.fit(Fitting(toy, 0, torch.device("cpu"), no_progress))
    return masker


@pytest.mark.parametrize("normaliser", ["softmax", "sigmoid"])
@pytest.mark.parametrize("players", [Items(), Field("size")], ids=lambda p: p.name)
@pytest.mark.parametrize("masker", [Zero(), Popularity(), SampledUser(3)], ids=lambda m: m.name)
@pytest.mark.parametrize("output", [Logit(), Margin(), List()], ids=lambda o: o.name)
def test_components_with_a_closed_form_are_exact_under_every_masker_output_and_players(
    normaliser, players, masker, output: Output, toy, tmp_path
) -> None:
    model = fitted_composed(toy, tmp_path, normaliser=normaliser).without("user_encoder")
    table = toy.histories(9)
    short = [int(u) for u in np.argsort(table.lengths()) if 3 <= table.lengths()[u] <= 8][:2]
    targets = [(7, 8, 11), (8,)] if output.joint else [7, 8]
    game = game_of(
        model, histories(toy, short), targets, players=players, masker=fitted(masker, toy), output=output,
        catalogue=toy.catalogue, foils=[12, 13] if output.contrastive else None,
    )  # fmt: skip
    game.ends()
    before = game.masks.copy()
    found = attributed(Shapley(), game)
    assert (game.masks - before <= len(model.component_names)).all()  # a forward for each that has values
    for row in range(len(game)):
        n = int(game.n_players[row])
        expected = exact_shapley(game, row)
        assert np.abs(expected).max() > 1e-2
        np.testing.assert_allclose(found.values[row, :n], expected, atol=2e-6)
        assert found.standard_error is not None and not found.standard_error[row, :n].any()


def test_what_has_no_closed_form_is_sampled_and_the_rest_is_not(toy, tmp_path) -> None:
    model = fitted_composed(toy, tmp_path, normaliser="softmax")
    game = game_of(model, histories(toy, [4]), [7])
    rest = exact_values(game.only("user_encoder"))
    assert rest is None and exact_values(game.only("prior")) is not None
    assert exact_values(game.only("prior")).any() == False  # noqa: E712, nothing of the history
    alone = PermutationShap().sampled(game.only("user_encoder"), [np.random.default_rng(0)], np.array([99]))
    assert alone.values.any()
    found = attributed(Shapley(), game)
    sampled = attributed(PermutationShap(), game.only("user_encoder"))
    closed = sum(exact_values(part) for name, part in game.components().items() if name != "user_encoder")
    np.testing.assert_allclose(found.values, closed + sampled.values, atol=1e-9)


def test_a_number_that_is_not_linear_in_scores_is_one_game(toy, tmp_path) -> None:
    game = game_of(fitted_composed(toy, tmp_path), histories(toy, [4]), [7], output=LogProbability())
    found, sampled = attributed(Shapley(), game), attributed(PermutationShap(), game)
    np.testing.assert_array_equal(found.values, sampled.values)


def test_an_estimator_that_is_none_is_refused() -> None:
    with pytest.raises(
        SettingError, match=r"estimator must be one of permutation, kernel, leverage, adjusted; got 'kernal'"
    ):
        Shapley("kernal")


# enumeration


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(0, 2**31))
def test_enumeration_is_efficient_linear_and_symmetric(n_players: list[int], seed: int) -> None:
    one, two = random_tables(seed, *n_players), random_tables(seed + 1, *n_players)
    game = TableGame(*one)
    found = enumerated(game)
    whole, empty = game.ends()
    np.testing.assert_allclose(found.sum(1), whole - empty, atol=1e-9)
    mixed = enumerated(TableGame(*(3 * a - b for a, b in zip(one, two, strict=True))))
    np.testing.assert_allclose(mixed, 3 * found - enumerated(TableGame(*two)), atol=1e-9)
    for row, (table, n) in enumerate(zip(one, n_players, strict=True)):
        turned = table.reshape((2,) * n).transpose().reshape(-1)  # players in reverse order
        np.testing.assert_allclose(enumerated(TableGame(turned))[0, ::-1], found[row, :n], atol=1e-9)
        with_null = np.concatenate([table, table])  # a player more, who adds nothing
        np.testing.assert_allclose(enumerated(TableGame(with_null))[0], [*found[row, :n], 0.0], atol=1e-9)


def test_enumeration_is_the_mean_over_all_orders() -> None:
    (table,) = random_tables(3, 4)
    expected = np.zeros(4)
    for order in itertools.permutations(range(4)):
        inside = 0
        for player in order:
            expected[player] += table[inside | 1 << player] - table[inside]
            inside |= 1 << player
    np.testing.assert_allclose(enumerated(TableGame(table))[0], expected / math.factorial(4), atol=1e-12)


def test_more_players_than_can_be_enumerated_are_refused() -> None:
    with pytest.raises(SettingError, match="takes up to 16 players, and a case has 17"):
        attributed(ExactShapley(), TableGame(np.zeros(2**17)))
    assert attributed(ExactShapley(), TableGame(np.zeros(2), np.zeros(8))).n_forwards.tolist() == [2, 8]


# estimators


@pytest.mark.parametrize("kind", SAMPLED)
def test_estimates_sum_to_the_effect_and_do_not_depend_on_other_cases(kind: type[Sampled]) -> None:
    game = TableGame(*random_tables(0, 7, 3, 1, 5))
    for explainer in (kind(), kind(30), kind(target_error=0.1), kind(200, 0.05)):
        found = attributed(explainer, game)
        np.testing.assert_allclose(np.nansum(found.values, axis=1), np.subtract(*game.ends()), atol=1e-9)
        for row, n in enumerate(game.n_players.tolist()):
            alone = attributed(explainer, game.single(row))
            np.testing.assert_allclose(alone.values[0], found.values[row, :n], atol=1e-9)
            errors = [np.full(n, np.nan) if a.standard_error is None else a.standard_error[r, :n] for a, r in
                      ((alone, 0), (found, row))]  # fmt: skip
            np.testing.assert_allclose(*errors, atol=1e-9)
            assert alone.n_forwards[0] == found.n_forwards[row]


@pytest.mark.parametrize("kind", SAMPLED)
def test_a_budget_is_never_exceeded_and_hardly_ever_left(kind: type[Sampled]) -> None:
    game = TableGame(*random_tables(0, 9, 6, 8))
    for budget in (20, 31, 64, 90):
        spent = attributed(kind(budget), game).n_forwards + 2
        most = np.minimum(budget, np.inf if kind is PermutationShap else 2**game.n_players)
        assert (spent <= most).all() and (most - spent < 2 * game.n_players).all()


@pytest.mark.parametrize("kind", [KernelShap, LeverageShap, AdjustedShap])
def test_regression_over_all_coalitions_is_exact(kind: type[Sampled]) -> None:
    game = TableGame(*random_tables(1, 6, 2, 5, 3))
    found = attributed(kind(64), game)
    np.testing.assert_allclose(np.nan_to_num(found.values), enumerated(game), atol=1e-7)
    assert not np.nan_to_num(found.standard_error).any() and found.n_forwards.tolist() == [62, 2, 30, 6]


@pytest.mark.parametrize("kind", SAMPLED)
def test_estimates_come_close_and_standard_errors_say_how_close(kind: type[Sampled]) -> None:
    tables = random_tables(5, *[8] * 40)
    game = TableGame(*tables)
    found = attributed(kind(130), game)
    error = found.values - enumerated(game)
    z = error / found.standard_error
    assert 0.6 < np.sqrt((z**2).mean()) < 1.7  # of 320 values; errors of few pairs are noisy themselves
    closer = attributed(kind(200), game)
    assert (closer.standard_error < found.standard_error).mean() > 0.7


@pytest.mark.parametrize("kind", SAMPLED)
def test_drawing_stops_when_the_target_is_reached(kind: type[Sampled]) -> None:
    smooth = [np.sqrt(1.0 + 3 * np.arange(2**9) / 512), *random_tables(5, 9)]
    game = TableGame(*smooth)
    found = attributed(kind(400, target_error=0.2), game)
    error = relative_error(found.values, found.standard_error)
    assert error[0] <= 0.2 and found.n_forwards[0] < found.n_forwards[1]
    assert error[1] <= 0.2 or found.n_forwards[1] > 370


def test_pairs_of_walks_are_exact_for_pairwise_interactions_and_their_error_is_zero() -> None:
    generator = np.random.default_rng(0)
    inside = (np.arange(2**6)[:, None] >> np.arange(6)) & 1
    pairs = generator.normal(size=(6, 6))
    table = np.einsum("si,ij,sj->s", inside, pairs, inside) + inside @ generator.normal(size=6)
    game = TableGame(table)
    expected = enumerated(game)
    for explainer in (PermutationShap(), PermutationShap(100), Pairwise()):
        found = attributed(explainer, game)
        np.testing.assert_allclose(found.values, expected, atol=1e-9)
    assert attributed(PermutationShap(14), game).standard_error is None  # of a single pair nothing is known
    np.testing.assert_allclose(attributed(PermutationShap(100), game).standard_error, 0.0, atol=1e-9)
    triple = TableGame(inside[:, :3].prod(1).astype(float))
    assert np.abs(attributed(Pairwise(), triple).values - enumerated(triple)).max() > 0.1


@pytest.mark.parametrize("kind", [KernelShap, LeverageShap])
def test_pairs_have_the_weights_of_the_shapley_kernel(kind: type[Sampled]) -> None:
    """Drawn a thousand times, sizes get their share of the kernel; a size taken whole has it exactly."""
    n, kernel = 9, np.array([1 / (s * (9 - s)) for s in range(1, 5)])
    kernel = kernel / kernel.sum()
    generator, share = np.random.default_rng(0), kind().share
    total = np.zeros(4)
    for _ in range(300):
        pairs = drawn_pairs(n, 30, generator, share)
        size = np.minimum(pairs.masks.sum(1), n - pairs.masks.sum(1))
        total += np.bincount(size, weights=pairs.weight, minlength=5)[1:]
        assert len(pairs.weight) == 30
        if not pairs.random.all():
            assert pairs.weight[~pairs.random & (size == 1)].sum() == pytest.approx(kernel[0])
    np.testing.assert_allclose(total / 300, kernel, rtol=0.05)
    whole = drawn_pairs(6, 500, generator, share)
    assert len(whole.weight) == 31 and len({tuple(m) for m in whole.masks.tolist()}) == 31
    assert not any(tuple((~m).tolist()) in {tuple(o) for o in whole.masks.tolist()} for m in whole.masks)


# one history, several targets


def test_cases_of_one_history_share_their_masked_copies_and_get_the_same_values(toy, tmp_path, monkeypatch) -> None:
    model = fitted_composed(toy, tmp_path, normaliser="softmax")
    twins = game_of(model, histories(toy, [4, 9, 4]), [7, 8, 11])
    twins.cases = tuple(
        c if c.index != 2 else type(c)(**{**c.__dict__, "user_id": twins.cases[0].user_id}) for c in twins.cases
    )
    scored = []
    score = type(model).score

    def counted(self, context, *rest):
        scored.append(len(context.history))
        return score(self, context, *rest)

    monkeypatch.setattr(type(model), "score", counted)
    found = attributed(PermutationShap(), twins)
    assert max(scored) == 2 and sum(found.n_forwards) > 0
    for row in range(3):
        alone = attributed(PermutationShap(), twins.single(row))
        n = int(twins.n_players[row])
        np.testing.assert_allclose(found.values[row, :n], alone.values[0], atol=1e-6)
    one_by_one = [twins.single(row) for row in range(3)]
    assert twins.ranks(twins.whole()).tolist() == [game.ranks(game.whole())[0].tolist() for game in one_by_one]


def test_cases_of_one_history_may_ask_for_different_masks(toy, tmp_path) -> None:
    twins = game_of(fitted_composed(toy, tmp_path, normaliser="softmax"), histories(toy, [4, 4]), [7, 8])
    masks = np.random.default_rng(0).random((2, 5, twins.width)) < 0.5
    expected = [twins.single(row).values(masks[row : row + 1])[0] for row in range(2)]
    np.testing.assert_allclose(twins.values(masks), expected, atol=1e-6)


def test_further_pairs_share_the_weight_of_those_that_were_drawn() -> None:
    def sample(weight: list[float], random: list[bool]) -> Sample:
        return Sample(np.zeros((1, len(weight), 2)), np.zeros((1, len(weight))), np.array([weight]), np.array([random]))

    joined = sample([0.4, 0.3, 0.3], [False, True, True]).joined(
        sample([0.2, 0.2, 0.2, 0.0], [True, True, True, False])
    )
    np.testing.assert_allclose(joined.weight, [[0.4, 0.12, 0.12, 0.12, 0.12, 0.12, 0.0]])
    untouched = sample([0.4, 0.6], [False, True]).joined(sample([0.0], [False]))
    np.testing.assert_allclose(untouched.weight, [[0.4, 0.6, 0.0]])


def test_a_gain_scales_what_is_exact(toy, tmp_path) -> None:
    model = fitted_composed(toy, tmp_path, normaliser="softmax").only("attention")
    game = game_of(model, histories(toy, [4]), [7])
    before = exact_values(game)
    model.gains = torch.nn.ParameterDict({"attention": torch.nn.Parameter(torch.tensor(-1.5))})
    after = exact_values(game_of(model, histories(toy, [4]), [7]))
    assert before is not None and np.abs(before).max() > 1e-3
    np.testing.assert_allclose(after, -1.5 * before, atol=1e-6)
