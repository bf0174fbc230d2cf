"""Plain GAN: what it generates, and that an item's feature is what its discriminator's last layer sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import leaky_relu

from tests.models.item_encoder.attributed import dense, generator, planted_catalogue
from tests.toys import fit_data
from xrec.losses.adversarial import Nonsaturating
from xrec.models.item_encoder.gan import GAN


@pytest.fixture(scope="module")
def planted(toy, tmp_path_factory) -> GAN:
    torch.manual_seed(0)
    catalogue = replace(planted_catalogue(), cold=np.arange(590, 600, dtype=np.int32))
    encoder = GAN(catalogue, 8, Nonsaturating(), 8, 32, 64, pretraining_steps=700)
    encoder.fit(fit_data(toy, tmp_path_factory.mktemp("planted")))
    return encoder


@torch.no_grad()
def test_planted_levels_are_generated_at_their_shares_and_together_as_they_stand_together(planted):
    made = planted.sampler.generated(planted.generator(torch.randn(4000, 8, generator=generator(5))), generator(6))
    shares = planted.shares()
    ratio = made.mean(0) / shares
    assert (ratio > 0.5).all() and (ratio < 2).all()
    kind, brand = made[:, :5].argmax(1), made[:, 5:8].argmax(1)
    assert (kind % 3 == brand).float().mean() > 0.2 + sum(shares[k] * shares[5 + k % 3] for k in range(5))


def test_the_discriminator_is_fooled_most_of_the_time(planted):
    found = planted.monitors()
    assert 0.45 < found["discriminator_accuracy"] < 0.8 and found["gan_mmd"] < 0.05 and found["gan_coverage"] == 1
    assert found["gan_modes_collapsed"] == found["gan_game_collapsed"] == 0


@torch.no_grad()
def test_features_are_the_standardised_penultimate_layer_by_hand(planted):
    d, hidden = planted.discriminator, dense(planted.codes)
    for layer in (d.item, d.hidden):
        norm = layer.left @ layer.weight @ layer.right
        hidden = leaky_relu(hidden @ layer.weight.T / norm + layer.bias, 0.2)
    torch.testing.assert_close(d(dense(planted.codes)), d.last(hidden).squeeze(1))
    warm = hidden[:590]
    standard = (hidden - warm.mean(0)) / warm.std(0, correction=0).clamp_min(1e-6)
    wanted = planted.projection(standard) + planted.free.table.weight
    torch.testing.assert_close(planted.features(), wanted, atol=1e-4, rtol=1e-4)


def test_the_ranker_never_moves_the_discriminator(planted):
    planted.zero_grad()
    planted.features(generator()).square().sum().backward()
    assert all(p.grad is None for p in planted.discriminator.parameters())


def test_it_has_no_reconstruction():
    assert GAN.term_names == ("adversarial",)
    encoder = GAN(planted_catalogue(), 8, Nonsaturating(), 4, 8, 16)
    assert encoder._shown(generator(), 0.0).reconstruction is None
