"""The variational encoder on a net small enough to read off what it dropped and what it drew."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional

from tests.toy_games import plain_history
from tests.toys import fit_data, histories
from xrec.models.singular import singular_vectors
from xrec.models.user_encoder.vae import VAE
from xrec.types import Catalogue

HISTORY = plain_history([[0, 1, 2]])


def items(n: int) -> Catalogue:
    return Catalogue([f"{i}" for i in range(n)], [f"item {i}" for i in range(n)], (), [])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vae(dropout: float, deviation: float = 0.0) -> VAE:
    """Item j feeds latent j alone: mu = tanh(presence / norm + .1), with the same deviation everywhere."""
    model = VAE(items(3), embedding_size=3, hidden_size=3, dropout=dropout)
    with torch.no_grad():
        for layer in (model.rows, model.mu):
            layer.weight.copy_(torch.eye(3))
        for zeroed in (model.mu.bias, model.logvar.weight):
            zeroed.zero_()
        model.bias.fill_(0.1)
        model.logvar.bias.fill_(2 * math.log(deviation) if deviation else -200.0)
    return model


def test_scoring_drops_nothing_and_draws_nothing() -> None:
    presence = torch.tensor([[[1.0, 1.0, 1.0], [0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]])
    encoded = vae(dropout=0.9, deviation=2.0).encode(HISTORY, presence)
    wanted = [[1 / 2] * 3, [0.0, 1 / 1.5, 0.5 / 1.5], [0.0] * 3]  # over the root of 1 + the sum of squares
    torch.testing.assert_close(encoded.user, (torch.tensor([wanted]) + 0.1).tanh())
    assert encoded.terms == {}


def test_training_drops_its_share_of_items_one_by_one_and_scales_up_what_is_left() -> None:
    """Normalised first: what is dropped does not change the norm, and the input is the same on average."""
    model, n = vae(dropout=0.25), 20_000
    z = model.encode(HISTORY, torch.ones(1, n, 3), generator()).user[0]
    inputs = z.atanh() - 0.1
    kept = inputs > 0.1
    torch.testing.assert_close(inputs, kept / 2 / 0.75, atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.mean(0), torch.full((3,), 0.5), atol=0.01, rtol=0)
    for pattern in itertools.product([False, True], repeat=3):
        share = (kept == torch.tensor(pattern)).all(1).double().mean().item()
        assert share == pytest.approx(math.prod(0.75 if k else 0.25 for k in pattern), abs=0.012)


def test_training_brings_nothing_back_that_is_not_there() -> None:
    present = torch.tensor([1.0, 0.0, 0.5]).expand(1, 2000, 3)
    z = vae(dropout=0.25).encode(HISTORY, present, generator()).user[0]
    found = {tuple(row) for row in (z.atanh() - 0.1).mul(1e4).round().div(1e4).tolist()}
    scale = 1 / (2.25**0.5 * 0.75)
    wanted = [(a * scale, 0.0, b * scale) for a, b in ((1.0, 0.5), (1.0, 0.0), (0.0, 0.5), (0.0, 0.0))]
    assert sorted(found) == [pytest.approx(row, abs=2e-4) for row in sorted(wanted)]


def test_an_untrained_posterior_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    model = VAE(items(400), embedding_size=64)
    assert (model.rows.embedding_dim, model.dropout) == (128, 0.5)
    assert model.rows.weight.std().item() == pytest.approx((2 / (400 + 128)) ** 0.5, rel=0.02)
    assert model.logvar.weight.std().item() == pytest.approx((2 / (64 + 128)) ** 0.5, rel=0.05)
    assert not any(layer.bias.any() for layer in (model.mu, model.logvar)) and not model.bias.any()


def test_the_decoder_of_the_paper_is_a_hidden_layer_between_latents_and_items() -> None:
    model = VAE(items(3), embedding_size=5, hidden_size=3, latent_size=2, decoder="tanh")
    encoded = model.encode(HISTORY, torch.ones(1, 1, 3))
    hidden = torch.tanh(model.rows.weight.sum(0) / 2)
    layer = model.decoder[0]
    assert isinstance(layer, torch.nn.Linear)
    torch.testing.assert_close(encoded.user[0, 0], torch.tanh(layer(model.mu(hidden))))
    assert len(VAE(items(3), 5).decoder) == 0 and len(VAE(items(3), 5, latent_size=2).decoder) == 1
    with pytest.raises(ValueError, match="vae: decoder must be 'linear' or 'tanh', got 'relu'"):
        VAE(items(3), 5, decoder="relu")  # type: ignore[arg-type]


def test_without_dropout_training_sees_the_whole_history() -> None:
    z = vae(dropout=0.0).encode(HISTORY, torch.ones(1, 500, 3), generator()).user
    torch.testing.assert_close(z, torch.full((1, 500, 3), math.tanh(0.6)))


def test_training_draws_from_the_posterior() -> None:
    z = vae(dropout=0.0, deviation=2.0).encode(HISTORY, torch.ones(1, 40_000, 3), generator()).user[0]
    torch.testing.assert_close(z.mean(0), torch.full((3,), math.tanh(0.6)), atol=0.05, rtol=0)
    torch.testing.assert_close(z.T.cov(), 4 * torch.eye(3), atol=0.1, rtol=0)


def test_kl_is_summed_over_latents_for_each_user() -> None:
    torch.manual_seed(0)
    model = VAE(items(9), embedding_size=4, hidden_size=5, dropout=0.5)
    torch.nn.init.normal_(model.rows.weight)
    torch.nn.init.normal_(model.logvar.weight)
    seen = {}
    for name in ("mu", "logvar"):
        getattr(model, name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    history = plain_history([[0, 3, 5], [1], [2, 4, 6, 7, 8]])
    terms = model.encode(history, history.presence.unsqueeze(1), generator()).terms
    posterior = Independent(Normal(seen["mu"], seen["logvar"].exp().sqrt()), 1)
    per_user = kl_divergence(posterior, Independent(Normal(torch.zeros(4), torch.ones(4)), 1))
    assert per_user.shape == (3, 1) and per_user.std() > 0.1
    assert terms.keys() == {"kl"}
    torch.testing.assert_close(terms["kl"], per_user)


@pytest.mark.parametrize("dropout", [1.0, 1.5, -0.1])
def test_impossible_dropouts_are_refused(dropout: float) -> None:
    with pytest.raises(ValueError, match=rf"vae: dropout must be in \[0, 1\), got {dropout}"):
        VAE(items(3), 2, dropout=dropout)


def test_a_hidden_layer_of_one_is_the_smallest() -> None:
    assert VAE(items(3), 2, hidden_size=1).rows.embedding_dim == 1
    with pytest.raises(ValueError, match="vae: hidden_size must be at least 1, got 0"):
        VAE(items(3), 2, hidden_size=0)


def test_the_start_svd_encodes_as_puresvd_where_tanh_is_straight(toy, tmp_path) -> None:
    model, history = VAE(toy.catalogue, 6, hidden_size=6, start="svd"), histories(toy, [3, 5])
    model.fit(fit_data(toy, tmp_path))
    with torch.no_grad():
        model.rows.weight.mul_(1e-3)
        user = model.encode(history, history.presence.unsqueeze(1)).user[:, 0]
    axes = torch.from_numpy(singular_vectors(toy.histories(toy.train_end + 1), toy.catalogue.n_items, 6, 0.25))
    summed = (axes[history.item] * history.presence.unsqueeze(-1)).sum(1)
    torch.testing.assert_close(functional.normalize(user), functional.normalize(summed), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"hidden_size": 8}, {"latent_size": 8}, {"decoder": "tanh"}, {"start": "warm"}], ids=str
)
def test_a_start_that_cannot_be_is_refused(toy, settings) -> None:
    with pytest.raises(ValueError, match="vae: start"):
        VAE(toy.catalogue, 6, **{"hidden_size": 6, "start": "svd", **settings})


def test_an_item_counts_the_less_the_older_it_is_and_masked_is_removed() -> None:
    model, history = vae(dropout=0.0), plain_history([[0, 1, 2]])
    model.decay = 0.5
    history = replace(history, age=torch.tensor([[3.0, 8.0, 15.0]]))
    presence = torch.tensor([[[1.0, 1.0, 1.0], [0.0, 1.0, 0.5]]])
    weight = presence[0] * torch.tensor([1 / 2, 1 / 3, 1 / 4])
    wanted = (weight / (1 + weight.square().sum(1, keepdim=True)).sqrt() + 0.1).tanh()
    torch.testing.assert_close(model.encode(history, presence).user[0], wanted)
    removed = history.without(torch.tensor([False, True, True]))
    torch.testing.assert_close(
        model.encode(removed, torch.ones(1, 1, 2)).user, model.encode(history, torch.tensor([[[0.0, 1.0, 1.0]]])).user
    )
    with pytest.raises(ValueError, match="vae: decay must be 0 or more"):
        VAE(items(3), 3, decay=-1.0)
