"""Adversarial autoencoder: what its discriminator is shown, and that it finds planted attributes."""

from __future__ import annotations

import pytest
import torch

from tests.models.item_encoder.attributed import generator, planted_catalogue
from tests.toys import fit_data
from xrec.losses.adversarial import Nonsaturating
from xrec.models.item_encoder.aae import AAE


@pytest.fixture(scope="module")
def planted(toy, tmp_path_factory) -> AAE:
    torch.manual_seed(0)
    encoder = AAE(planted_catalogue(), 8, Nonsaturating(), 8, 32, 64, pretraining_steps=700)
    encoder.fit(fit_data(toy, tmp_path_factory.mktemp("planted")))
    return encoder


def test_real_is_the_prior_and_fake_is_what_the_encoder_makes(planted):
    encoder = AAE(planted_catalogue(), 8, Nonsaturating(), 4, 8, 4000)
    with torch.no_grad():
        encoder.encoder.linear.bias.fill_(5.0)  # far from the prior
    shown = encoder._shown(generator(), 0.0)
    (real,), (fake,) = shown.real, shown.fake
    torch.testing.assert_close(real.mean(0), torch.zeros(4), atol=0.08, rtol=0)
    torch.testing.assert_close(real.T.cov(), torch.eye(4), atol=0.1, rtol=0)
    assert (fake > 0).float().mean() > 0.99 and fake.requires_grad and not real.requires_grad


def test_the_monitors_compare_the_same_two_things(planted):
    with torch.no_grad():
        rows = torch.arange(600)
        shown, _ = planted._looked_at(rows, generator())
        (real,), (fake,) = shown.real, shown.fake
        torch.testing.assert_close(fake, planted.encode(rows, generator()))
        assert real.shape == (1000, 8) and real.mean().abs() < 0.05 and abs(real.std() - 1) < 0.05


@torch.no_grad()
def test_planted_levels_are_decoded_from_the_prior_at_their_shares_and_items_come_back(planted):
    made = planted.sampler.generated(planted.generator(torch.randn(4000, 8, generator=generator(5))), generator(6))
    ratio = made.mean(0) / planted.shares()
    assert (ratio > 0.5).all() and (ratio < 2).all()
    found = planted.monitors()
    assert found["aae_round_trip"] > 0.97 and found["aae_coverage"] == 1 and found["aae_mmd"] < 0.01
    assert 0.45 < found["discriminator_accuracy"] < 0.75
    assert found["aae_modes_collapsed"] == found["aae_game_collapsed"] == 0


def test_the_adversarial_loss_brings_an_encoder_back_to_the_prior(toy, tmp_path, monkeypatch):
    """By D alone: reconstruction does not know of the prior."""
    found = []
    for steps in (1, 400):
        torch.manual_seed(0)
        encoder = AAE(planted_catalogue(), 8, Nonsaturating(), 4, 16, 64, steps, encoder_learning_rate=5e-3)
        encoder.reconstruction_weight = 0.0
        encoder.rates["discriminator"] = 5e-3
        encoder._begin()
        with torch.no_grad():
            encoder.encoder.linear.bias.add_(2.0)
        monkeypatch.setattr(encoder, "_begin", lambda: None)
        encoder.fit(fit_data(toy, tmp_path))
        found.append(encoder.monitors()["aae_mmd"])
    assert found[0] > 0.3 and found[1] < 0.06


def test_reconstruction_is_that_of_the_item_from_its_latent(planted):
    shown = planted._shown(generator(1), 0.0)
    assert shown.reconstruction is not None
    rows, _ = planted._draw(generator(1))
    x, drawn = planted.codes.dense(rows), planted.generate(shown.fake[0]).detach()
    by_field = [
        -(a * b.log()).sum(1).mean() for a, b in zip(x.split([5, 3, 2], 1), drawn.split([5, 3, 2], 1), strict=True)
    ]
    torch.testing.assert_close(shown.reconstruction().detach(), torch.stack(by_field).mean())
