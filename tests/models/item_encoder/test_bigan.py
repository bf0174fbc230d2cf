"""BiGAN: what its players are shown, who moves whom, and that it finds planted attributes."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.item_encoder.attributed import dense, generator, planted_catalogue, rich_catalogue
from tests.toys import fit_data, train
from xrec.losses.adversarial import Nonsaturating
from xrec.models.component import Component
from xrec.models.composed import Composed
from xrec.models.item_encoder.bigan import BiGAN
from xrec.models.item_encoder.discriminator import Discriminator, SpectralLinear
from xrec.models.item_encoder.match import coverage, mmd
from xrec.models.user_encoder.vae import VAE

BOTH = {"adversarial", "item_reconstruction"}


@pytest.fixture
def make(toy):
    def make(catalogue=None, **settings) -> BiGAN:
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"latent_size": 4, "hidden_size": 8, "batch_size": 16, "pretraining_steps": 3}
        return BiGAN(catalogue or toy.catalogue, 8, Nonsaturating(), **(sizes | settings))

    return make


@pytest.fixture
def shown(monkeypatch):
    """What the discriminators were shown (x, z) and said, real and fake in turn."""
    seen = []
    forward = Discriminator.forward

    def noted(self, x, z):
        logit = forward(self, x, z)
        seen.append((x.detach(), z.detach(), logit.detach()))
        return logit

    monkeypatch.setattr(Discriminator, "forward", noted)
    return seen


def reached(model: torch.nn.Module) -> set[str]:
    """The parts of a model that have a gradient other than 0."""
    return {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def adversarial_term(bigan, drawn):
    return bigan.item_terms(drawn, {"adversarial"})["adversarial"]


def discriminator_loss(bigan, drawn):
    return bigan.discriminator_loss(drawn)


# what is shown


def test_real_and_generated_items_are_the_same_kind_of_thing(make, toy):
    """Drawn levels: one-hot for a category, the mean of as many draws for several values; no shares, no softmax."""
    bigan = make(rich_catalogue(toy.catalogue))
    logits = bigan.generator(torch.randn(30, 4, generator=generator()))
    real = bigan.sampler.items(torch.arange(30) % toy.catalogue.n_items, generator())
    fake = bigan.sampler.generated(logits, generator()).detach()
    for x in (real, fake):
        parts = dict(enumerate(x.split(bigan.codes.sizes, dim=-1)))
        for number, part in parts.items():
            if bigan.codes.numeric[number]:
                assert set(part[:, 0].unique().tolist()) <= {0.0, 1.0}
                assert (part[part[:, 0] == 1, 1] == 0).all()
                continue
            n_draws = 3 if number >= 3 else 1
            torch.testing.assert_close(part.sum(-1), torch.ones(30))
            torch.testing.assert_close(part * n_draws, (part * n_draws).round())


def test_draws_have_the_shares_of_their_logits_and_gradients_of_the_soft_ones(make):
    bigan = make(planted_catalogue())
    logits = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05, 0.2, 0.3, 0.5, 0.9, 0.1]).log().requires_grad_()
    drawn = bigan.sampler.generated(logits.expand(20_000, -1), generator())
    torch.testing.assert_close(drawn.mean(0), logits.exp(), atol=0.012, rtol=0)
    drawn[:, 0].mean().backward()
    assert logits.grad is not None and logits.grad[0] > 0.05 and (logits.grad[1:5] < 0).all()
    assert not logits.grad[5:].any()


def test_draws_of_several_values_have_the_weights_of_the_item(make, toy):
    bigan = make(rich_catalogue(toy.catalogue))
    x = torch.stack([bigan.sampler.items(torch.arange(10), generator(seed)) for seed in range(400)]).mean(0)
    torch.testing.assert_close(x, dense(bigan.codes)[:10], atol=0.06, rtol=0)


@pytest.mark.parametrize("step", [adversarial_term, discriminator_loss])
def test_the_discriminator_is_shown_items_with_their_code_and_draws_with_what_they_became(make, shown, step):
    """Donahue et al.: (x, E(x)) against (G(z), z), with z from the prior."""
    bigan = make(planted_catalogue(), batch_size=4000)
    step(bigan, generator())
    (x, code, _), (made, prior, _) = shown
    torch.testing.assert_close(x.mean(0), bigan.shares(), atol=0.03, rtol=0)
    columns = x.nonzero()[:, 1].view(4000, 3)
    mean, log_deviation = bigan.encoder(columns, torch.ones(4000, 3))
    noise = ((code - mean) / log_deviation.exp()).detach()
    for drawn in (prior, noise):
        torch.testing.assert_close(drawn.mean(0), torch.zeros(4), atol=0.08, rtol=0)
        torch.testing.assert_close(drawn.T.cov(), torch.eye(4), atol=0.1, rtol=0)
    expected = bigan.generate(prior).detach()
    first = expected[:, 0] > expected[:, 0].median()
    for half in (first, ~first):  # G's answer to this z, not to another
        torch.testing.assert_close(made[half].mean(0), expected[half].mean(0), atol=0.04, rtol=0)


def test_the_discriminator_calls_real_real_and_the_others_want_it_the_other_way_round(make, shown):
    bigan = make()
    losses = [step(bigan, generator()).detach() for step in (discriminator_loss, adversarial_term)]
    real, fake, real_again, fake_again = (logit.sigmoid() for _, _, logit in shown)
    wanted = [-(real.log() + (1 - fake).log()).mean(), -((1 - real_again).log() + fake_again.log()).mean()]
    torch.testing.assert_close(losses, wanted)


def test_an_undecided_discriminator_costs_two_log_two(make):
    bigan = make()
    with torch.no_grad():
        bigan.discriminator.last.weight.mul_(1e-9)
        bigan.discriminator.last.bias.zero_()
        bigan.discriminator.hidden.bias.zero_()
        bigan.discriminator.item.bias.zero_()
        bigan.discriminator.last.left.mul_(1e9)  # its norm stays
    for step in (discriminator_loss, adversarial_term):
        assert step(bigan, generator()).item() == pytest.approx(2 * math.log(2), rel=0.2)


def test_instance_noise_swaps_whole_fields_of_both_sides_and_moves_their_codes(make):
    bigan = make(planted_catalogue(), batch_size=2000)
    rows, prior = bigan._draw(generator(1))
    encoded = bigan.encode(rows)
    made = torch.zeros(2000, 10)  # nothing that an item could be
    (x, code), (swapped, noisy) = bigan._noisy(rows, encoded, made, prior, generator(), 0.3)
    own = bigan.sampler.items(rows, generator())
    fields = torch.stack([part.abs().sum(1) for part in swapped.split(bigan.codes.sizes, -1)], 1)
    assert set(fields.unique().tolist()) == {0.0, 1.0}
    assert fields.mean().item() == pytest.approx(0.3, abs=0.02)
    changed = [
        (a != b).any(1).float().mean().item()
        for a, b in zip(x.split([5, 3, 2], -1), own.split([5, 3, 2], -1), strict=True)
    ]
    assert changed[2] == pytest.approx(0.15, abs=0.03)  # half of the coins are the same
    for noise in (code - encoded.detach(), noisy - prior):
        assert noise.std().item() == pytest.approx(0.3, abs=0.01)


# who moves whom


def test_the_discriminator_s_step_moves_the_discriminator_only(make):
    bigan = make()
    bigan.discriminator_loss(generator(), 0.2).backward()
    assert reached(bigan) == {"discriminator"}


def test_the_terms_reach_encoder_and_generator_and_nothing_that_the_ranker_learns(make):
    bigan = make()
    for name in sorted(BOTH):
        bigan.zero_grad()
        bigan.item_terms(generator(), {name})[name].backward()
        assert {"encoder", "generator"} <= reached(bigan) <= {"encoder", "generator", "discriminator"}


@pytest.mark.parametrize(
    ("fine_tune", "moved"), [(False, {"projection", "free"}), (True, {"projection", "free", "encoder"})]
)
def test_the_ranker_s_loss_moves_what_is_its_own_and_the_encoder_when_asked(make, fine_tune, moved):
    bigan = make(fine_tune=fine_tune)
    bigan.features(generator()).square().sum().backward()
    assert reached(bigan) == moved


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_in_a_run_the_game_goes_on_only_when_asked(toy, tmp_path, weight):
    """Weights 0: the ranker's steps leave E, G and D as pretraining left them, and the features' attribute part with
    them; above 0: all three move, D by its own optimiser."""
    torch.manual_seed(0)
    factory = partial(
        BiGAN, adversarial=Nonsaturating(), latent_size=4, hidden_size=8, batch_size=16, pretraining_steps=3
    )
    components: dict[str, partial[Component]] = {"user_encoder": partial(VAE, hidden_size=8)}
    model = Composed(toy.catalogue, 8, factory, components)
    states = []
    fit = model.item_encoder.fit

    def noted(data):
        fit(data)
        states.append({name: value.clone() for name, value in model.item_encoder.state_dict().items()})

    model.item_encoder.fit = noted
    rows = []
    weights = {"reconstruction": 1.0, "kl": 0.1, "adversarial": weight, "item_reconstruction": weight}
    train(toy, tmp_path, model=model, weights=weights, log=rows.append)
    after = model.item_encoder.state_dict()
    moved = {name.split(".")[0] for name, value in states[0].items() if not torch.equal(value, after[name])}
    assert moved == {"projection", "free"} | ({"encoder", "generator", "discriminator"} if weight else set())
    assert ("discriminator_loss" in rows[0]) == bool(weight)
    ends = [row for row in rows if "monitor/discriminator_accuracy" in row]
    assert len(ends) == 2 and all(0 <= row["monitor/bigan_coverage"] <= 1 for row in ends)


def test_the_same_seed_gives_the_same_encoder(make, toy, tmp_path):
    one, two = make(), make()
    for encoder in (one, two):
        encoder.fit(fit_data(toy, tmp_path, seed=3))
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, two.state_dict()[name], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in one.parameters())


def test_without_pretraining_fit_leaves_everything(make, toy, tmp_path):
    bigan = make(pretraining_steps=0)
    before = {name: value.clone() for name, value in bigan.state_dict().items()}
    bigan.fit(fit_data(toy, tmp_path))
    assert all(torch.equal(value, before[name]) for name, value in bigan.state_dict().items())


def test_several_steps_of_the_discriminator_for_one_of_the_others(make, toy, tmp_path, monkeypatch):
    bigan, calls = make(n_critic=3, pretraining_steps=4), []
    own, players = bigan.discriminator_loss, bigan._players_losses
    monkeypatch.setattr(bigan, "discriminator_loss", lambda g, noise: calls.append(("D", noise)) or own(g, noise))
    monkeypatch.setattr(bigan, "_players_losses", lambda g, noise: calls.append(("EG", noise)) or players(g, noise))
    bigan.fit(fit_data(toy, tmp_path))
    assert [name for name, _ in calls] == ["D", "D", "D", "EG"] * 4
    assert [noise for name, noise in calls if name == "EG"] == pytest.approx([0.2, 0.1375, 0.075, 0.0125])


@pytest.mark.parametrize("wanted", [set(), {"adversarial"}, {"item_reconstruction"}, BOTH])
def test_only_wanted_terms_are_given(make, wanted):
    assert set(make().item_terms(generator(), wanted | {"reconstruction"})) == wanted


# the start


@torch.no_grad()
def test_the_encoder_begins_with_the_mean_and_the_covariance_of_the_prior(make):
    bigan = make(planted_catalogue(2000), latent_size=12)
    bigan._begin()
    for layer in (bigan.encoder.mean, bigan.encoder.log_deviation):
        layer.weight.zero_()
    z = torch.cat([bigan.encode(bigan.warm, generator(seed)) for seed in range(10)])
    torch.testing.assert_close(z.mean(0), torch.zeros(12), atol=0.03, rtol=0)
    torch.testing.assert_close(z.T.cov(), torch.eye(12), atol=0.04, rtol=0)
    mean = bigan.encode()
    assert (mean[:, 5:].abs() < 1e-5).all()  # x has rank 5: the rest is noise of deviation 1


@torch.no_grad()
def test_the_mean_is_pca_whatever_the_way_it_is_computed(make):
    """Against scikit-learn, by both ways: with fewer latents than columns, and with more."""
    from sklearn.decomposition import PCA

    catalogue = planted_catalogue(300)
    for size in (3, 12):
        bigan = make(catalogue, latent_size=size)
        bigan._begin()
        wanted = PCA(min(size, 5), whiten=True).fit_transform(dense(bigan.codes).double().numpy()) * math.sqrt(0.75)
        got = bigan.encoder.linear(bigan.codes.columns, bigan.codes.weights)[:, : wanted.shape[1]].numpy()
        signs = np.sign((got * wanted).sum(0))
        np.testing.assert_allclose(got * signs, wanted, atol=0.01)


@torch.no_grad()
def test_the_generator_begins_with_the_shares_of_the_levels_and_the_means_of_numbers(make, toy):
    bigan = make(rich_catalogue(toy.catalogue))
    bigan._begin()
    bigan.generator[2].weight.zero_()
    torch.testing.assert_close(bigan.generate(torch.zeros(1, 4))[0], bigan.shares(), atol=0.06, rtol=0)


# the norm of D


def test_a_spectral_layer_divides_by_the_largest_singular_value(make):
    torch.manual_seed(0)
    layer = SpectralLinear(7, 5)
    for _ in range(200):
        layer.estimate_norm()
    x = torch.randn(6, 7)
    norm = np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False)[0]
    torch.testing.assert_close(layer(x), x @ layer.weight.T / float(norm) + layer.bias)
    layer(x).sum().backward()
    grad = layer.weight.grad
    assert grad is not None
    assert abs(float((grad * layer.weight.detach()).sum())) < 1e-4  # its scale has no effect, so no gradient (eq. 12)


def test_going_forward_does_not_change_the_norm_and_a_step_of_d_does(make):
    bigan = make()
    before = bigan.discriminator.item.left.clone()
    adversarial_term(bigan, generator())
    assert torch.equal(before, bigan.discriminator.item.left)
    bigan.discriminator_loss(generator())
    assert not torch.equal(before, bigan.discriminator.item.left)


def test_every_layer_of_the_discriminator_is_normalised(make):
    bigan = make()
    x, z = torch.randn(5, bigan.codes.n_columns), torch.randn(5, 4)
    for _ in range(100):
        bigan.discriminator.estimate_norms()
    before = bigan.discriminator(x, z)
    with torch.no_grad():
        for layer in bigan.discriminator.children():
            layer.weight.mul_(10)
    torch.testing.assert_close(bigan.discriminator(x, z), before)
    assert not torch.isclose(before, bigan.discriminator(x + 1, z)).any()
    assert not torch.isclose(before, bigan.discriminator(x, z + 1)).any()


# what is learned


def test_item_reconstruction_is_the_mean_over_fields_by_hand(make, toy):
    bigan = make(rich_catalogue(toy.catalogue), batch_size=16)
    rows = torch.arange(16)
    latents = bigan.encode(rows)
    found = bigan._reconstruction(rows, latents)
    drawn, x = bigan.generate(latents), dense(bigan.codes)[rows]
    losses = []
    for start, size, numeric in zip(bigan.codes.offsets, bigan.codes.sizes, bigan.codes.numeric, strict=True):
        given, made = x[:, start : start + size], drawn[:, start : start + size]
        if numeric:
            there, value = 1 - given[:, 0], made[:, 1] / (1 - made[:, 0])
            losses.append(((made[:, 0] - given[:, 0]) ** 2 + there * (value - given[:, 1]) ** 2).mean())
        else:
            losses.append(-(given * made.log()).sum(1).mean())
    torch.testing.assert_close(found, torch.stack(losses).mean())
    assert torch.isfinite(bigan.features()).all() and torch.isfinite(bigan.discriminator_loss(generator(), 0.2))


@pytest.fixture(scope="module")
def planted(toy, tmp_path_factory) -> BiGAN:
    torch.manual_seed(0)
    bigan = BiGAN(planted_catalogue(), 8, Nonsaturating(), 8, 32, 64, pretraining_steps=700)
    bigan.fit(fit_data(toy, tmp_path_factory.mktemp("planted")))
    return bigan


@torch.no_grad()
def test_planted_levels_are_generated_at_their_shares_and_together_as_they_stand_together(planted):
    made = planted.sampler.generated(planted.generator(torch.randn(4000, 8, generator=generator(5))), generator(6))
    shares = planted.shares()
    ratio = made.mean(0) / shares
    assert (ratio > 0.6).all() and (ratio < 1.67).all()
    kind, brand = made[:, :5].argmax(1), made[:, 5:8].argmax(1)
    agree = (kind % 3 == brand).float().mean()
    by_chance = sum(shares[k] * shares[5 + k % 3] for k in range(5))
    assert agree > 0.65 > by_chance + 0.2


def test_planted_items_come_back_and_the_discriminator_is_fooled_most_of_the_time(planted):
    found = planted.monitors()
    assert found["bigan_round_trip"] > 0.97 and found["bigan_coverage"] == 1
    assert 0.45 < found["discriminator_accuracy"] < 0.8 and found["bigan_mmd"] < 0.04
    assert found["bigan_modes_collapsed"] == found["bigan_game_collapsed"] == 0
    assert found == planted.monitors()  # the same draws every time


def test_a_generator_that_makes_one_thing_only_has_collapsed_and_a_discriminator_that_sees_it_has_won(
    make, toy, tmp_path, caplog
):
    bigan = make(planted_catalogue(), pretraining_steps=1, discriminator_learning_rate=1e-9)
    begin = bigan._begin

    def broken():
        begin()
        with torch.no_grad():
            bigan.generator[2].bias.copy_(torch.tensor([0, 0, 0, 0, 50.0, 0, 0, 50, 50, 0]))
            bigan.discriminator.item.weight.zero_()
            bigan.discriminator.item.weight[:, [4, 6]] = -1.0  # kind 4 with brand 1 is real; G makes 4 with 2
            bigan.discriminator.item.weight[:, 7] = 1.0

    bigan._begin = broken
    with caplog.at_level(logging.WARNING):
        bigan.fit(fit_data(toy, tmp_path))
    found = bigan.monitors()
    assert found["bigan_modes_collapsed"] == 1 and found["bigan_coverage"] < 0.5
    assert "its generator makes less than half" in caplog.text


def test_a_discriminator_that_is_always_right_is_named(make, monkeypatch):
    bigan = make()
    monkeypatch.setattr(bigan.sampler, "generated", lambda logits, g: torch.full_like(logits, 7.0))
    monkeypatch.setattr(Discriminator, "forward", lambda self, x, z: torch.where((x == 7).all(1), -1.0, 1.0))
    found = bigan.monitors()
    assert found["discriminator_accuracy"] == found["bigan_game_collapsed"] == 1


def test_cold_items_are_no_example_and_start_without_a_row_of_their_own(make, toy, shown):
    cold = np.array([1, 4], dtype=np.int32)
    bigan = make(replace(toy.catalogue, cold=cold), batch_size=400)
    rows, _ = bigan._draw(generator())
    assert set(rows.tolist()) == set(range(toy.catalogue.n_items)) - {1, 4}
    attributes = bigan.projection(bigan.encode())
    torch.testing.assert_close(bigan.features()[cold], attributes[cold])
    kept = dense(bigan.codes)[bigan.warm].mean(0)
    torch.testing.assert_close(bigan.shares(), kept)


def test_features_do_not_flicker(make):
    bigan = make()
    torch.testing.assert_close(bigan.features(), bigan.features(), rtol=0, atol=0)
    assert not torch.equal(bigan.features(generator()), bigan.features())
    torch.testing.assert_close(bigan.features(), bigan.projection(bigan.encode()) + bigan.free.table.weight)


# measures


def test_mmd_is_zero_for_one_distribution_and_by_loops_otherwise():
    one, two = torch.randn(7, 3, generator=generator(1)), torch.randn(5, 3, generator=generator(2)) + 1

    def kernel(a, b):
        return math.exp(-float((a - b).square().sum()) / 6)

    def mean(values):
        values = list(values)
        return sum(values) / len(values)

    wanted = mean(kernel(a, b) for i, a in enumerate(one) for j, b in enumerate(one) if i != j)
    wanted += mean(kernel(a, b) for i, a in enumerate(two) for j, b in enumerate(two) if i != j)
    wanted -= 2 * mean(kernel(a, b) for a in one for b in two)
    assert mmd(one, two) == pytest.approx(wanted, abs=1e-5)
    same = [
        mmd(torch.randn(500, 3, generator=generator(s)), torch.randn(500, 3, generator=generator(s + 99)))
        for s in range(8)
    ]
    assert abs(np.mean(same)) < 1e-3


def test_coverage_counts_levels_within_a_factor_of_two():
    real = torch.tensor([0.5, 0.3, 0.195, 0.005, 0.4])
    made = torch.tensor([0.26, 0.1, 0.38, 0.0, 0.0])
    assert coverage(real, made, torch.tensor([True, True, True, True, False])) == pytest.approx(2 / 3)
    assert coverage(real, made, torch.zeros(5, dtype=torch.bool)) == 1


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("latent_size", 0, "latent_size must be at least 1, got 0"),
        ("n_critic", 0, "n_critic must be at least 1"),
        ("pretraining_steps", -1, "pretraining_steps must be at least 0"),
        ("reconstruction_weight", -1.0, "reconstruction_weight must be at least 0"),
        ("temperature", 0.0, "temperature must be above 0"),
        ("encoder_learning_rate", 0.0, "encoder_learning_rate must be above 0"),
        ("instance_noise", 1.0, "instance_noise must be in"),
        ("free_dropout", 1.0, "free_dropout must be in"),
    ],
)
def test_what_makes_no_sense_is_refused(make, setting, value, message):
    with pytest.raises(ValueError, match=f"bigan: {message}"):
        make(**{setting: value})
