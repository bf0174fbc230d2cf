"""Conditional GAN: the factors that it is shown, the modes that it finds, and what a cold item gets."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.item_encoder.attributed import generator, planted_catalogue
from tests.toys import fit_data
from xrec.losses.adversarial import WGANGP, Nonsaturating
from xrec.models.item_encoder import conditional_gan
from xrec.models.item_encoder.conditional_gan import ConditionalGAN
from xrec.models.item_encoder.match import neighbour_coverage
from xrec.models.item_encoder.svd import SVD

#: of planted factors: a kind's mean, and what is added to it or taken away by a coin that no attribute tells
CENTERS = torch.tensor([[1.0, 0.0], [0.0, 1.5], [-1.5, 0.0], [0.0, -1.5], [1.5, 1.5]])
SPLIT, SPREAD = torch.tensor([0.3, 0.5]), 0.05


def planted_factors(n: int = 600) -> torch.Tensor:
    catalogue, rng = planted_catalogue(n), generator(3)
    kind = torch.from_numpy(catalogue.item_fields[0].codes[:, 0].astype(np.int64))
    sign = torch.randint(2, (n, 1), generator=rng) * 2 - 1
    return CENTERS[kind] + sign * SPLIT + SPREAD * torch.randn(n, 2, generator=rng)


@pytest.fixture
def make(toy):
    def make(catalogue=None, size: int = 8, **settings: Any) -> ConditionalGAN:
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"noise_size": 4, "hidden_size": 8, "n_draws": 5, "batch_size": 16}
        sizes |= {"pretraining_steps": 3}
        return ConditionalGAN(catalogue or toy.catalogue, size, Nonsaturating(), **(sizes | settings))

    return make


@pytest.fixture(scope="module")
def planted(toy, tmp_path_factory) -> ConditionalGAN:
    """Of ten modes, two for each kind. The last ten items are cold."""
    torch.manual_seed(0)
    catalogue = replace(planted_catalogue(), cold=np.arange(590, 600, dtype=np.int32))
    encoder = ConditionalGAN(
        catalogue,
        2,
        WGANGP(0.1),
        noise_size=2,
        n_draws=64,
        pretraining_steps=1000,
        n_critic=2,
        generator_learning_rate=2e-3,
        discriminator_learning_rate=4e-3,
        reconstruction_weight=0.3,
        spectral_norm=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditional_gan, "scaled_factors", lambda *_: planted_factors())
        encoder.fit(fit_data(toy, tmp_path_factory.mktemp("planted")))
    return encoder


@torch.no_grad()
def test_every_mode_of_a_mixture_is_made_at_its_share_by_the_noise(planted):
    """A net that ignores the noise, or a squared error of draws, makes the mean between two modes: nothing near them;
    one normal distribution of the same mean and variance puts half of what it makes there."""
    kind = torch.from_numpy(planted_catalogue().item_fields[0].codes[:, 0].astype(np.int64))
    for level, center in enumerate(CENTERS):
        rows = (kind == level).nonzero()[:, 0]
        made = planted._made(rows, 40, generator(5)).flatten(0, 1) - center
        side = (made @ SPLIT).sign().unsqueeze(1)
        assert 0.3 < (side > 0).float().mean() < 0.7
        assert ((made - side * SPLIT).norm(dim=1) < 0.3).float().mean() > 0.64  # the modes are 1.17 apart


def test_the_discriminator_is_fooled_most_of_the_time_and_the_distributions_agree(planted):
    found = planted.monitors()
    assert 0.45 < found["discriminator_accuracy"] < 0.7 and found["conditional_gan_mmd"] < 0.01
    assert found["conditional_gan_coverage"] > 0.6 and found["conditional_gan_alignment"] > 0.9
    assert found["conditional_gan_spread"] == pytest.approx(1, abs=0.15)
    assert found["conditional_gan_modes_collapsed"] == found["conditional_gan_game_collapsed"] == 0
    assert found == planted.monitors()  # the same draws every time


@torch.no_grad()
def test_a_cold_item_gets_the_mean_of_its_attributes_and_a_warm_one_starts_as_its_factor(planted):
    features = planted.features()
    torch.testing.assert_close(features[:590], planted_factors()[:590])
    kind = torch.from_numpy(planted_catalogue().item_fields[0].codes[590:, 0].astype(np.int64))
    assert (features[590:] - CENTERS[kind]).norm(dim=1).max() < 0.35
    assert not planted.factors[590:].any() and not planted.free.table.weight[590:].any()


@torch.no_grad()
def test_a_feature_is_the_mean_over_the_fixed_draws_one_at_a_time(planted):
    codes, net = planted.codes, planted.generator
    assert planted.draws.shape == (64, 2)
    for item in (0, 595):
        own = codes.columns[[item]], codes.weights[[item]]
        drawn = [net(*own, noise[None, None])[0, 0] for noise in planted.draws]
        torch.testing.assert_close(planted.generate(torch.tensor([item]))[0], torch.stack(drawn).mean(0))
        torch.testing.assert_close(planted.generate()[item], torch.stack(drawn).mean(0))
    assert torch.stack(drawn).std(0).min() > 0.1


def test_the_discriminator_is_shown_an_item_s_attributes_with_its_factor_and_with_a_generated_one(planted):
    shown = planted._shown(generator(), 0.0)
    (attributes, own), (again, made) = shown.real, shown.fake
    assert torch.equal(attributes, again) and (attributes.sum(1) == 3).all()
    kind = attributes[:, :5].argmax(1)
    for factor in (own, made.detach()):
        assert ((factor - CENTERS[kind]).norm(dim=1) < 1.0).float().mean() > 0.9
    at = torch.cdist(own, planted_factors()).argmin(1)
    torch.testing.assert_close(attributes, planted.codes.dense(at))
    torch.testing.assert_close(own, planted.factors[at])


def test_reconstruction_is_the_distance_of_the_mean_whatever_the_noise(make):
    """(e - 1)(e + 1) for draws 1 above and 1 below their mean 0: the variance has no part in it."""
    encoder = make(deviation=2.0)
    own, above = torch.full((3, 8), 4.0), torch.ones(3, 8)
    draws = [torch.stack(pair, 1) for pair in ((above, above), (above, -above), (-above, above), (-above, -above))]
    losses = [encoder._reconstruction(own, made).item() for made in draws]
    assert losses == pytest.approx([9 / 4, 15 / 4, 15 / 4, 25 / 4])
    assert np.mean(losses) == pytest.approx((4 / 2) ** 2)  # of the mean of the draws, 0, from 4, in deviations


@torch.no_grad()
def test_factors_are_those_of_the_svd_encoder_and_items_without_one_are_no_example(make, toy, tmp_path):
    cold = replace(toy.catalogue, cold=np.array([2, 5], dtype=np.int32))
    encoder, start = make(cold, deviation=0.7, power=0.5), SVD(cold, 8, deviation=0.7, power=0.5)
    for one in (encoder, start):
        one.fit(fit_data(toy, tmp_path))
    torch.testing.assert_close(encoder.factors, start.features())
    torch.testing.assert_close(encoder.features()[encoder.known], start.features()[encoder.known])
    encoder.known[7] = False
    assert set(encoder.examples().tolist()) == set(range(toy.catalogue.n_items)) - {2, 5, 7}


def test_without_pretraining_warm_items_start_as_their_factors_all_the_same(make, toy, tmp_path):
    encoder = make(pretraining_steps=0)
    before = {n: p.clone() for n, p in encoder.named_parameters() if not n.startswith("free")}
    encoder.fit(fit_data(toy, tmp_path))
    assert all(torch.equal(p, before[n]) for n, p in encoder.named_parameters() if n in before)
    torch.testing.assert_close(encoder.features(), encoder.factors)


def test_a_generator_that_makes_one_thing_only_has_collapsed(make, toy, tmp_path, caplog):
    encoder = make(planted_catalogue(), size=2, pretraining_steps=1, generator_learning_rate=1e-9)
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(conditional_gan, "scaled_factors", lambda *_: planted_factors())
        with torch.no_grad():
            for parameter in encoder.generator.parameters():
                parameter.zero_()
        encoder.fit(fit_data(toy, tmp_path))
    found = encoder.monitors()
    assert found["conditional_gan_modes_collapsed"] == 1 and found["conditional_gan_spread"] < 1e-6
    assert "half of the variance of items' factors; lower generator_learning_rate" in caplog.text


def test_neighbour_coverage_by_hand():
    real = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # nearest: 1, 1, 2, 4; second nearest: 3, 2, 3, 6
    made = torch.tensor([[1.9], [8.0]])
    assert neighbour_coverage(real, made, 1) == 3 / 4  # 1.9 > 1, .9, 1.1, 1
    assert neighbour_coverage(real, made, 2) == 1
    assert neighbour_coverage(real, torch.tensor([[100.0]]), 2) == 0
    assert neighbour_coverage(real, made, 4) == 1  # nobody has four others
    same = [torch.randn(400, 3, generator=generator(seed)) for seed in range(2)]
    assert neighbour_coverage(*same, n_neighbours=3) == pytest.approx(1 - 2**-3, abs=0.05)
