"""RecVAE's encoder, prior, user-specific beta, and who learns from what."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.nn import LayerNorm, functional

from tests.toy_games import bare_catalogue, plain_history
from tests.toys import MONITOR, train
from xrec.losses.reconstruction import Multinomial
from xrec.models.components.prior import Prior
from xrec.models.composed import Composed
from xrec.models.item_encoder.embedding import Embedding
from xrec.models.recommender import Context
from xrec.models.user_encoder.recvae import RecVAE
from xrec.training.checkpoint import load_tensors, weights_digest

SIZE = 4
HISTORY = plain_history([[0, 3, 5], [1], [2, 4, 6, 7, 8], []])
PRESENCE = HISTORY.presence.unsqueeze(1)


def recvae(noise: float = 0.2, **settings) -> RecVAE:
    torch.manual_seed(0)
    model = RecVAE(bare_catalogue(9), SIZE, **{"hidden_size": 5, **settings})
    with torch.no_grad():
        for parameter in model.parameters():  # the old encoder is another one
            parameter.add_(noise * torch.randn(parameter.shape))
    return model


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context(table: Tensor, seed: int = 0, history=HISTORY) -> Context:
    return Context(history, {"features": table}, users=torch.arange(len(history)), generator=generator(seed))


def table(n: int = 9) -> Tensor:
    return torch.randn(n, SIZE, generator=generator(7)).requires_grad_()


def test_every_layer_sees_all_before_it() -> None:
    model = recvae()
    net, x = model.encoder, torch.rand(1, 1, 3)
    first = x[0, 0] @ net.first.rows.weight[:3] + net.first.bias

    def norm(number: int, value: Tensor) -> Tensor:
        layer = net.norms[number]
        assert isinstance(layer, LayerNorm)
        value = value * torch.sigmoid(value)
        centred = value - value.mean()
        return layer.weight * centred / (centred.square().mean() + 0.1).sqrt() + layer.bias

    h1 = norm(0, first)
    h2 = norm(1, net.layers[0](h1) + h1)
    h3 = norm(2, net.layers[1](h2) + h1 + h2)
    h4 = norm(3, net.layers[2](h3) + h1 + h2 + h3)
    h5 = norm(4, net.layers[3](h4) + h1 + h2 + h3 + h4)
    mu, logvar = net(plain_history([[0, 1, 2]]), x)
    torch.testing.assert_close(mu[0, 0], net.mu(h5))
    torch.testing.assert_close(logvar[0, 0], net.logvar(h5))


def posterior(net, x: Tensor) -> Normal:
    mu, logvar = net(HISTORY, x)
    return Normal(mu, (logvar / 2).exp())


def unit(presence: Tensor) -> Tensor:
    return presence / (1 + presence.square().sum(-1, keepdim=True)).sqrt()


def test_the_prior_is_torch_s_mixture_of_the_standard_the_old_and_the_wide_normal() -> None:
    model = recvae(mixture=(3.0, 4.0, 3.0))
    z = 3 * torch.randn(4, 1, SIZE, generator=generator())
    old = posterior(model.old, unit(PRESENCE))
    means = torch.stack([torch.zeros_like(z), old.mean, torch.zeros_like(z)], -1)
    deviations = torch.stack([torch.ones_like(z), old.stddev, torch.full_like(z, math.exp(5.0))], -1)
    shares = Categorical(torch.tensor([0.3, 0.4, 0.3]).expand(*z.shape, 3))
    wanted = MixtureSameFamily(shares, Normal(means, deviations)).log_prob(z)
    torch.testing.assert_close(model._log_prior(HISTORY, unit(PRESENCE), z), wanted)


def test_kl_is_monte_carlo_s_times_the_items_of_the_history() -> None:
    """The mean over draws, against the integral over each latent on a grid."""
    model, n = recvae(dropout=0.0), 20_000
    draws = model.encode(HISTORY, PRESENCE.expand(4, n, 5), generator()).terms["kl"]
    q = posterior(model.encoder, unit(PRESENCE))
    grid = torch.linspace(-40, 40, 20_001).view(-1, 1).expand(4, -1, SIZE)  # each latent apart, beside the draws
    log_q, log_p = q.log_prob(grid), model._log_prior(HISTORY, unit(PRESENCE), grid)
    integral = (log_q.exp() * (log_q - log_p)).sum(1).mul(80 / 20_000).sum(-1)
    wanted = integral * torch.tensor([3.0, 1.0, 5.0, 0.0])
    torch.testing.assert_close(draws.mean(1), wanted, atol=0.05, rtol=0.02)
    assert wanted[2] > 1 and (draws[3] == 0).all()


def test_the_old_posterior_starts_as_the_encoder_and_rests_where_no_kl_asks_for_it() -> None:
    model = recvae(noise=0.0)
    assert all(torch.equal(a, b) for a, b in zip(model.old.parameters(), model.encoder.parameters(), strict=True))
    (update,) = model.updates()
    assert update.term == "kl" and update.every == 25


def test_the_old_posterior_sees_the_whole_history_whatever_the_encoder_is_shown() -> None:
    model, seen = recvae(dropout=0.9), []
    model.old.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[1]))
    model.encode(HISTORY, PRESENCE, generator())
    model.score(context(table()))
    for x in seen:
        torch.testing.assert_close(x, unit(PRESENCE))
    assert len(seen) == 2


def split_scores(model: RecVAE, n: int = 4000) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Scores [n, 9] of one history in training, which of them train the decoder, and what the encoder was shown."""
    history, seen = plain_history([[0, 3, 5]] * n), []
    model.encoder.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[1]))
    scores = model.score(context(table(), history=history)).squeeze(1)
    draw = torch.rand(n, generator=generator())
    return scores, draw < model.decoder_share, seen


def test_examples_of_the_decoder_are_not_noised_and_are_its_share() -> None:
    _, of_decoder, (x,) = split_scores(recvae(dropout=0.5, decoder_share=0.25))
    assert of_decoder.float().mean().item() == pytest.approx(0.25, abs=0.02)
    whole = (x.squeeze(1) > 0).all(1)
    torch.testing.assert_close(x.squeeze(1)[of_decoder], torch.full((int(of_decoder.sum()), 3), 0.5))
    assert whole[~of_decoder].float().mean().item() == pytest.approx(1 / 8, abs=0.02)


@pytest.mark.parametrize("of", ["encoder", "decoder"])
def test_an_example_trains_the_encoder_or_the_items_features(of: str) -> None:
    model, features = recvae(decoder_share=0.5), table()
    now = context(features, history=plain_history([[0, 3, 5]] * 20))
    scores = model.score(now)
    chosen = torch.rand(20, generator=generator()) < 0.5
    chosen = chosen if of == "decoder" else ~chosen
    assert 0 < chosen.sum() < 20
    total = scores[chosen].square().sum() + model.terms(now, {"kl"})["kl"][chosen].sum()
    gradients = torch.autograd.grad(
        total, [*model.encoder.parameters(), features], allow_unused=True, retain_graph=True
    )
    of_encoder, of_features = gradients[:-1], gradients[-1]
    if of == "decoder":
        assert of_features is not None and of_features.any()
        assert all(g is None or not g.any() for g in of_encoder)
        return
    assert of_features is None or not of_features.any()
    assert all(g is not None and g.any() for g in of_encoder)


def test_all_examples_train_both_where_the_decoder_has_no_share_of_its_own() -> None:
    model, features = recvae(decoder_share=0.0), table()
    scores = model.score(context(features))
    gradients = torch.autograd.grad(
        scores[0].square().sum(), [*model.encoder.parameters(), features], allow_unused=True
    )
    assert all(g is not None and g.any() for g in gradients)
    found = model.encode(HISTORY, PRESENCE, generator()).user @ features.T
    torch.testing.assert_close(scores, found)


def test_values_are_those_of_the_draw_whoever_learns_from_them() -> None:
    model, seen = recvae(decoder_share=0.5, dropout=0.0), {}
    for key in ("mu", "logvar"):
        getattr(model.encoder, key).register_forward_hook(lambda _m, _i, out, key=key: seen.update({key: out}))
    features, stream = table(), generator()
    scores = model.score(context(features))
    torch.rand(4, 1, 1, generator=stream)
    z = seen["mu"] + (seen["logvar"] / 2).exp() * torch.randn(4, 1, SIZE, generator=stream)
    torch.testing.assert_close(scores, functional.linear(z, features))


def composed(dataset, **settings) -> Composed:
    torch.manual_seed(0)
    encoder = partial(RecVAE, **{"hidden_size": 6, "old_every": 2, **settings})
    return Composed(dataset.catalogue, SIZE, Embedding, {"prior": Prior, "user_encoder": encoder}).train()


WEIGHTS = {"reconstruction": 1.0, "item_bias": 0.01, "kl": 0.01}


def trained(toy, folder, epochs: int, **changes):
    score = iter(range(100))
    options = {"weights": WEIGHTS, "reconstruction": Multinomial(), "epochs": epochs, "learning_rate": 0.01}
    return train(
        toy, folder, model=composed(toy), validate=lambda m: {MONITOR: float(next(score))}, **(options | changes)
    )[0]


def test_the_old_posterior_is_the_encoder_of_up_to_so_many_steps_ago_whatever_the_rate(
    toy, tmp_path, monkeypatch
) -> None:
    encoder, old = [], []

    def once_a_step(self, generator, wanted):
        encoder.append([p.clone() for p in self.encoder.parameters()])
        old.append([p.clone() for p in self.old.parameters()])
        return {}

    monkeypatch.setattr(RecVAE, "item_terms", once_a_step)
    trained(toy, tmp_path, 2, learning_rate_scale={"neural": 0.5}, learning_rate_schedule=lambda step, progress: 0.5)
    assert len(encoder) > 4
    for step, copy in enumerate(old):
        assert all(torch.equal(a, b) for a, b in zip(copy, encoder[step - step % 2], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(encoder[0], encoder[2], strict=True))


def test_a_resumed_run_has_the_same_old_posterior(toy, tmp_path) -> None:
    whole = trained(toy, tmp_path / "whole", 3)
    trained(toy, tmp_path / "cut", 1)
    state = load_tensors(tmp_path / "cut" / "checkpoint" / "last" / "state.safetensors")
    assert any(name.startswith("model/components.user_encoder.old.") for name in state)
    assert weights_digest(trained(toy, tmp_path / "cut", 3)) == weights_digest(whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "recvae: hidden_size must be at least 1, got 0"),
        ({"old_every": 0}, "recvae: old_every must be at least 1, got 0"),
        ({"dropout": -0.1}, r"recvae: dropout must be in \[0, 1\), got -0.1"),
        ({"decoder_share": 1.0}, r"recvae: decoder_share must be in \[0, 1\), got 1.0"),
        ({"mixture": (0.5, 0.5)}, r"recvae: mixture must be three shares above 0, got \[0.5, 0.5\]"),
        ({"mixture": (0.5, 0.5, 0.0)}, "recvae: mixture must be three shares above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        recvae(**settings)
