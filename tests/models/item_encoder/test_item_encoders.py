"""Item encoders: attributes in, features out; BiGAN's two players."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.toy_games import plain_history
from tests.toys import toy_composed, toy_raw
from xrec.losses.adversarial import Nonsaturating
from xrec.models.item_encoder.attribute_codes import LARGEST, AttributeCodes, AttributeSum
from xrec.models.item_encoder.attributes import Attributes
from xrec.models.item_encoder.bigan import BiGAN
from xrec.models.item_encoder.embedding import Embedding
from xrec.models.recommender import Context
from xrec.types import Field


@pytest.fixture
def bigan(toy) -> BiGAN:
    torch.manual_seed(0)
    return BiGAN(toy.catalogue, 8, Nonsaturating(), latent_size=4, hidden_size=8, batch_size=16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawing(drawn: torch.Generator) -> Context:
    """A training context that draws from a generator."""
    return Context(plain_history([[0]]), generator=drawn)


def reached(model: torch.nn.Module) -> set[str]:
    """The parts of a model that have a gradient other than 0."""
    graded = {n.split(".")[0]: p.grad for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    return set(graded)


def test_codes_of_different_fields_share_no_column(toy):
    codes = AttributeCodes(toy.catalogue)
    start = 0
    for index, field in enumerate(toy.catalogue.item_fields):
        assert (codes.columns[:, index].numpy() == field.codes[:, 0] + start).all()
        start += len(field.levels)
    assert codes.n_columns == start


def test_the_attribute_sum_is_a_linear_layer_on_one_hots(toy):
    codes, layer = AttributeCodes(toy.catalogue), AttributeSum(AttributeCodes(toy.catalogue).n_columns, 5)
    dense = torch.zeros(toy.catalogue.n_items, codes.n_columns).scatter_(1, codes.columns, 1.0)
    torch.testing.assert_close(layer(codes.columns, codes.weights), layer.dense(dense))


def test_generated_shares_sum_to_one_within_each_field(bigan):
    shares = bigan.generate(torch.randn(6, 4, generator=generator()))
    for part in shares.split(bigan.codes.sizes, dim=-1):
        torch.testing.assert_close(part.sum(-1), torch.ones(6))
        assert (part > 0).all()


def test_an_undecided_discriminator_costs_two_log_two(bigan):
    with torch.no_grad():
        bigan.discriminator.head[-1].weight.zero_()
        bigan.discriminator.head[-1].bias.zero_()
    assert bigan.discriminator_loss(generator()).item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert adversarial_term(bigan, generator()).item() == pytest.approx(2 * math.log(2), rel=1e-6)


@pytest.fixture
def pairs(toy):
    """A BiGAN that notes which pairs its discriminator was shown and what it said: 'real' and 'fake' (x, z, logit)."""
    torch.manual_seed(0)
    bigan = BiGAN(toy.catalogue, 8, Nonsaturating(), latent_size=4, hidden_size=8, batch_size=3000)
    seen = {}
    discriminator = bigan.discriminator
    on_items, on_shares = discriminator.on_items, discriminator.on_shares

    def items(columns, weights, latents):
        logit = on_items(columns, weights, latents)
        seen["real"] = (columns, latents, logit)
        return logit

    def shares(made, latents):
        logit = on_shares(made, latents)
        seen["fake"] = (made, latents, logit)
        return logit

    discriminator.on_items, discriminator.on_shares = items, shares
    return bigan, seen


def adversarial_term(bigan, drawn):
    return bigan.item_terms((drawn), {"adversarial"})["adversarial"]


def discriminator_loss(bigan, drawn):
    return bigan.discriminator_loss(drawn)


@pytest.mark.parametrize("step", [adversarial_term, discriminator_loss])
def test_the_discriminator_is_shown_items_with_their_code_and_draws_with_what_they_became(pairs, step):
    """Donahue et al.: (x, E(x)) against (G(z), z), with z from the prior."""
    bigan, seen = pairs
    step(bigan, generator())
    columns, code, _ = seen["real"]
    torch.testing.assert_close(code, bigan.encode(columns, torch.ones(columns.shape)))
    assert {tuple(row) for row in columns.tolist()} == {tuple(row) for row in bigan.codes.columns.tolist()}
    made, prior, _ = seen["fake"]
    torch.testing.assert_close(made, bigan.generate(prior))
    torch.testing.assert_close(prior.mean(0), torch.zeros(4), atol=0.08, rtol=0)
    torch.testing.assert_close(prior.T.cov(), torch.eye(4), atol=0.1, rtol=0)


def test_the_discriminator_calls_real_real_and_the_others_want_it_the_other_way_round(pairs):
    bigan, seen = pairs
    losses = [step(bigan, generator()) for step in (discriminator_loss, adversarial_term)]
    real, fake = (seen[name][2].detach().sigmoid() for name in ("real", "fake"))
    wanted = [-(real.log() + (1 - fake).log()).mean(), -((1 - real).log() + fake.log()).mean()]
    torch.testing.assert_close([loss.detach() for loss in losses], wanted)


def test_steps_of_the_discriminator_tell_real_from_made(pairs):
    bigan, seen = pairs
    optimiser = torch.optim.Adam(bigan.discriminator.parameters(), lr=0.01)
    for step in range(30):
        optimiser.zero_grad()
        bigan.discriminator_loss(generator(step)).backward()
        optimiser.step()
    assert seen["real"][2].mean() > 0.5 > -0.5 > seen["fake"][2].mean()


@torch.no_grad()
def test_the_discriminator_looks_at_both_halves_of_a_pair(bigan):
    columns, weights = bigan.codes.columns[:5], bigan.codes.weights[:5]
    latents = torch.randn(5, 4, generator=generator())
    discriminator, x = bigan.discriminator, dense(bigan.codes)[:5]
    logits = discriminator.on_items(columns, weights, latents)
    torch.testing.assert_close(logits, discriminator.on_shares(x, latents))
    assert not torch.isclose(logits, discriminator.on_items(columns, weights, latents + 1)).any()
    assert not torch.isclose(logits, discriminator.on_shares(x + 1, latents)).any()


def test_the_discriminator_s_step_moves_the_discriminator_only(bigan):
    bigan.discriminator_loss(generator()).backward()
    moved = reached(bigan)
    assert moved == {"discriminator"}


def test_the_adversarial_term_reaches_encoder_and_generator(bigan):
    bigan.item_terms((generator()), {"adversarial"})["adversarial"].backward()
    moved = reached(bigan)
    assert {"encoder_first", "encoder_second", "generator"} <= moved


def test_item_reconstruction_is_the_mean_cross_entropy_of_the_fields(bigan):
    found = bigan.item_terms((generator()), {"item_reconstruction"})["item_reconstruction"]
    rows = torch.randint(len(bigan.codes.columns), (16,), generator=generator())
    columns = bigan.codes.columns[rows]
    log_shares = bigan.generate(bigan.encode(columns, bigan.codes.weights[rows])).log()
    wanted = -torch.stack([log_shares.gather(1, columns[:, [f]]) for f in range(columns.shape[1])]).mean()
    torch.testing.assert_close(found, wanted)


BOTH = {"adversarial", "item_reconstruction"}


@pytest.mark.parametrize("wanted", [set(), {"adversarial"}, {"item_reconstruction"}, BOTH])
def test_only_wanted_terms_are_computed(bigan, wanted):
    assert set(bigan.item_terms((generator()), wanted | {"reconstruction"})) == wanted


def test_features_do_not_flicker(bigan):
    torch.testing.assert_close(bigan.features(), bigan.features(), rtol=0, atol=0)
    assert not torch.equal(bigan.features(generator()), bigan.features())


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
@torch.no_grad()
def test_a_free_row_is_dropped_whole_at_its_probability_and_otherwise_left_as_it_is(toy, share):
    bigan = BiGAN(toy.catalogue, 8, Nonsaturating(), latent_size=4, hidden_size=8, free_dropout=share)
    whole = bigan.features()
    attributes = bigan.projection(bigan.encode(bigan.codes.columns, bigan.codes.weights))
    torch.testing.assert_close(whole, attributes + bigan.free.weight)
    dropped = []
    for seed in range(200):
        found = bigan.features(generator(seed))
        gone = (found == attributes).all(1)
        torch.testing.assert_close(found, torch.where(gone.unsqueeze(1), attributes, whole))
        dropped.append(gone.double().mean())
    assert torch.stack(dropped).mean().item() == pytest.approx(share, abs=0.03 if share else 0.0)


def test_items_with_the_same_attributes_share_their_feature(toy):
    encoder = Attributes(toy.catalogue, 4, 8)
    features, columns = encoder.features(), encoder.codes.columns
    same = (columns.unsqueeze(0) == columns.unsqueeze(1)).all(-1)
    close = (features.unsqueeze(0) - features.unsqueeze(1)).abs().amax(-1) < 1e-6
    assert (same & ~close).sum() == 0 and (same.sum() > len(same))


def test_an_item_without_attributes_is_legal(toy):
    item = toy.catalogue.item_ids.index(str(toy_raw().items.height))
    assert all(f.levels[f.codes[item, 0]] == "(missing)" for f in toy.catalogue.item_fields)
    assert torch.isfinite(toy_composed(toy).item_encoder.features()[item]).all()


@pytest.mark.parametrize("variant", ["bigan", "attributes"])
def test_a_dataset_without_attributes_is_refused_with_a_way_out(toy, variant):
    bare = replace(toy, catalogue=replace(toy.catalogue, item_fields=()))
    way_out = f"item_encoder={variant} needs item attributes.*use model/item_encoder=embedding"
    with pytest.raises(ValueError, match=way_out):
        toy_composed(bare, item_encoder=variant)
    toy_composed(bare, item_encoder="embedding")


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_an_impossible_dropout_is_refused(toy, share):
    with pytest.raises(ValueError, match="free_dropout must be in"):
        BiGAN(toy.catalogue, 8, Nonsaturating(), free_dropout=share)


def rich(toy):
    """The toy's catalogue with an attribute of several values, a number and a text beside its own."""
    n, rng = toy.catalogue.n_items, np.random.default_rng(0)
    several = rng.integers(2, 6, (n, 3)).astype(np.int32)
    weights = np.full((n, 3), 1 / 3, dtype=np.float32)
    several[0], weights[0] = 0, [1, 0, 0]
    there = (rng.random((n, 1)) < 0.8).astype(np.int32)
    price = np.where(there, rng.normal(size=(n, 1)) * 4, 1.0).astype(np.float32)
    price[1], there[1] = 1000.0, 1
    fields = (
        Field("tags", "categorical", tuple("abcdef"), several, weights),
        Field("price", "numeric", ("(missing)", "value"), there, price),
        Field("words", "text", tuple("abcdef"), several, weights),
    )
    return replace(toy.catalogue, item_fields=(*toy.catalogue.item_fields, *fields))


def dense(codes: AttributeCodes) -> torch.Tensor:
    """x of every item, as one weight per column."""
    result = torch.zeros(len(codes.columns), codes.n_columns)
    return result.scatter_add_(1, codes.columns, codes.weights)


def test_weights_multiply_the_rows_of_several_values_and_numbers(toy):
    codes = AttributeCodes(rich(toy))
    x = dense(codes)
    start = codes.offsets[-3]
    torch.testing.assert_close(x[:, :start].sum(1), torch.full((len(x),), 3.0))
    torch.testing.assert_close(x[:, start : start + 6].sum(1), torch.ones(len(x)))
    assert x[1, codes.offsets[-2] + 1] == LARGEST  # cut off
    layer = AttributeSum(codes.n_columns, 5)
    torch.testing.assert_close(layer(codes.columns, codes.weights), layer.dense(x))


def test_bigan_reconstructs_shares_by_cross_entropy_and_numbers_by_squared_error(toy):
    torch.manual_seed(0)
    bigan = BiGAN(rich(toy), 8, Nonsaturating(), latent_size=4, hidden_size=8, batch_size=16)
    found = bigan.item_terms((generator()), {"item_reconstruction"})["item_reconstruction"]
    rows = torch.randint(len(bigan.codes.columns), (16,), generator=generator())
    drawn = bigan.generate(bigan.encode(bigan.codes.columns[rows], bigan.codes.weights[rows]))
    x = dense(bigan.codes)[rows]
    losses = []
    for start, size, numeric in zip(bigan.codes.offsets, bigan.codes.sizes, bigan.codes.numeric, strict=True):
        given, made = x[:, start : start + size], drawn[:, start : start + size]
        if numeric:
            there = 1 - given[:, 0]
            value = made[:, 1] / (1 - made[:, 0])
            losses.append(((made[:, 0] - given[:, 0]) ** 2 + there * (value - given[:, 1]) ** 2).mean())
        else:
            losses.append(-(given * made.log()).sum(1).mean())
    torch.testing.assert_close(found, torch.stack(losses).mean())
    assert torch.isfinite(bigan.features()).all() and torch.isfinite(bigan.discriminator_loss(generator()))


def test_generated_numbers_are_a_chance_and_a_value(toy):
    bigan = BiGAN(rich(toy), 8, Nonsaturating(), latent_size=4, hidden_size=8)
    made = bigan.generate(torch.randn(50, 4, generator=generator()))
    missing = made[:, bigan.codes.offsets[-2]]
    assert ((missing > 0) & (missing < 1)).all()


def test_cold_items_are_no_example_and_start_without_a_row_of_their_own(toy):
    cold = np.array([1, 4], dtype=np.int32)
    catalogue = replace(toy.catalogue, cold=cold)
    bigan, table = BiGAN(catalogue, 8, Nonsaturating(), batch_size=400), Embedding(catalogue, 8)
    for rows in (bigan.free.weight, table.table.weight):
        assert (rows[cold] == 0).all() and (rows.abs().sum(1) > 0).sum() == catalogue.n_items - 2
    columns, _, _ = bigan._draw(generator())
    drawn = {tuple(row) for row in columns.tolist()}
    warm = {tuple(row) for i, row in enumerate(bigan.codes.columns.tolist()) if i not in cold}
    assert drawn == warm
