"""The denoising auto-encoder on a net small enough to read off what it does."""

from __future__ import annotations

import pytest
import torch

from tests.toy_games import bare_catalogue, plain_history
from xrec.models.user_encoder.dae import DAE

HISTORY = plain_history([[0, 1, 2]])


def dae(dropout: float = 0.0) -> DAE:
    """Item j feeds latent j alone: tanh(tanh(presence / norm + .1) + .2)."""
    model = DAE(bare_catalogue(3), embedding_size=3, hidden_size=3, dropout=dropout)
    with torch.no_grad():
        for layer, bias in ((model.first.rows, model.first.bias), (model.latent, model.latent.bias)):
            layer.weight.copy_(torch.eye(3))
            bias.fill_(0.1 if layer is model.first.rows else 0.2)
    return model


def test_two_layers_of_tanh_without_a_draw() -> None:
    presence = torch.tensor([[[1.0, 1.0, 1.0], [0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]])
    wanted = torch.tensor([[[1 / 2] * 3, [0.0, 1 / 1.5, 0.5 / 1.5], [0.0] * 3]])
    wanted = ((wanted + 0.1).tanh() + 0.2).tanh()
    torch.testing.assert_close(dae(0.9).encode(HISTORY, presence).user, wanted)
    encoded = dae().encode(HISTORY, presence, torch.Generator())
    torch.testing.assert_close(encoded.user, wanted)
    assert encoded.terms == {}


def test_training_drops_its_share_and_scales_up_what_is_left() -> None:
    encoded = dae(0.25).encode(HISTORY, torch.ones(1, 20_000, 3), torch.Generator().manual_seed(0)).user[0]
    inputs = (encoded.atanh() - 0.2).atanh() - 0.1
    kept = inputs > 0.1
    torch.testing.assert_close(inputs, kept / 2 / 0.75, atol=1e-4, rtol=0)
    torch.testing.assert_close(kept.float().mean(0), torch.full((3,), 0.75), atol=0.015, rtol=0)


def test_weight_decay_is_the_sum_of_squared_weights_without_biases() -> None:
    model = dae()
    with torch.no_grad():
        model.first.rows.weight.fill_(2.0)
        model.latent.weight.fill_(3.0)
    found = model.item_terms(torch.Generator(), {"weight_decay"})["weight_decay"]
    assert found.item() == 9 * 4 + 9 * 9


def test_an_untrained_encoder_is_glorot_s() -> None:
    model = DAE(bare_catalogue(400), embedding_size=64)
    assert model.first.rows.weight.std().item() == pytest.approx((2 / (400 + 128)) ** 0.5, rel=0.02)
    assert model.latent.weight.std().item() == pytest.approx((2 / (64 + 128)) ** 0.5, rel=0.05)
    assert not model.latent.bias.any() and not model.first.bias.any()


def test_the_decoder_is_linear_or_the_paper_s() -> None:
    assert len(dae().decoder) == 0 and len(DAE(bare_catalogue(3), 5, latent_size=2).decoder) == 1
    model = DAE(bare_catalogue(3), embedding_size=5, hidden_size=3, latent_size=2, decoder="tanh")
    layer, latent = model.decoder[0], torch.tanh(model.latent(torch.tanh(model.first.rows.weight.sum(0) / 2)))
    assert isinstance(layer, torch.nn.Linear)
    torch.testing.assert_close(model.encode(HISTORY, torch.ones(1, 1, 3)).user[0, 0], torch.tanh(layer(latent)))
    assert model.item_terms(torch.Generator(), {"weight_decay"})["weight_decay"] > layer.weight.square().sum()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "dae: hidden_size must be at least 1, got 0"),
        ({"latent_size": 0}, "dae: latent_size must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dae: dropout must be in \[0, 1\), got 1.0"),
        ({"decoder": "relu"}, "dae: decoder must be 'linear' or 'tanh', got 'relu'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        DAE(bare_catalogue(3), 3, **settings)
