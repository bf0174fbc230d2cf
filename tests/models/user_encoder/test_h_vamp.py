"""The hierarchy, the gates and the VampPrior, written out and against torch.distributions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from tests.toy_games import bare_catalogue, plain_history
from xrec.models.user_encoder.h_vamp import HVamp

SIZE, N_PSEUDO = 4, 6
HISTORY = plain_history([[0, 3, 5], [1], [2, 4, 6, 7, 8], []])
PRESENCE = HISTORY.presence.unsqueeze(1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def h_vamp(catalogue=None, noise: float = 0.5, **settings) -> HVamp:
    torch.manual_seed(0)
    catalogue = bare_catalogue(9) if catalogue is None else catalogue
    model = HVamp(catalogue, SIZE, **{"hidden_size": 5, "latent_size": 3, "n_pseudo_inputs": N_PSEUDO, **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(noise * torch.randn(parameter.shape))
    return model


def gated(values: Tensor) -> Tensor:
    value, gate = values.chunk(2, -1)
    return value * torch.sigmoid(gate)


def normal(net, hidden: Tensor) -> Normal:
    return Normal(net.mu(hidden), (net.logvar(hidden).clamp(-6, 2) / 2).exp())


def dense(presence: Tensor) -> Tensor:
    """Multi-hot [..., 9], normalised."""
    x = torch.zeros(*presence.shape[:-1], 9).scatter_add(-1, HISTORY.item.unsqueeze(1).expand_as(presence), presence)
    return x / (1 + x.square().sum(-1, keepdim=True)).sqrt()


def q_2(model: HVamp, x: Tensor) -> Normal:
    return normal(model.posterior_2, gated(x @ model.first_2.rows.weight + model.first_2.bias))


def q_1(model: HVamp, x: Tensor, z_2: Tensor) -> Normal:
    of_x = gated(x @ model.first_1.rows.weight + model.first_1.bias)
    hidden = torch.cat([of_x, gated(model.of_2.both(z_2))], -1)
    return normal(model.posterior_1, gated(model.joint.both(hidden)))


def decoded(model: HVamp, z_1: Tensor, z_2: Tensor) -> Tensor:
    hidden = torch.cat([gated(model.decoder_1.both(z_1)), gated(model.decoder_2.both(z_2))], -1)
    return gated(model.decoder.both(hidden))


def vamp(model: HVamp) -> MixtureSameFamily:
    x = model.pseudo_inputs.clamp(0, 1) * model.warm
    components = q_2(model, x / (1 + x.square().sum(-1, keepdim=True)).sqrt())
    return MixtureSameFamily(Categorical(torch.ones(N_PSEUDO)), Independent(components, 1))


def test_scoring_goes_through_the_means() -> None:
    model, presence = h_vamp(dropout=0.9), torch.rand(4, 2, 5, generator=generator()) * PRESENCE
    z_2 = q_2(model, dense(presence)).mean
    z_1 = q_1(model, dense(presence), z_2).mean
    encoded = model.encode(HISTORY, presence)
    torch.testing.assert_close(encoded.user, decoded(model, z_1, z_2))
    assert encoded.terms == {}


def test_training_draws_z2_and_then_z1() -> None:
    model, stream = h_vamp(dropout=0.0), generator()
    encoded = model.encode(HISTORY, PRESENCE, generator())
    x = dense(PRESENCE)
    first = q_2(model, x)
    z_2 = first.mean + first.stddev * torch.randn(4, 1, 3, generator=stream)
    second = q_1(model, x, z_2)
    z_1 = second.mean + second.stddev * torch.randn(4, 1, 3, generator=stream)
    torch.testing.assert_close(encoded.user, decoded(model, z_1, z_2))
    p_1 = normal(model.prior_1[1], gated(model.prior_1[0].both(z_2)))  # type: ignore[operator]
    wanted = first.log_prob(z_2).sum(-1) - vamp(model).log_prob(z_2) + kl_divergence(second, p_1).sum(-1)
    torch.testing.assert_close(encoded.terms["kl"], wanted)


def test_the_prior_is_torch_s_mixture_of_posteriors_of_pseudo_inputs() -> None:
    model, z = h_vamp(), 2 * torch.randn(7, 2, 3, generator=generator())
    torch.testing.assert_close(model.log_prior(z), vamp(model).log_prob(z))
    assert vamp(model).component_distribution.base_dist.mean.std(0).min() > 0.01  # type: ignore[attr-defined]


def test_the_mean_of_kl_is_that_of_z2_in_closed_form_where_the_prior_is_the_posterior() -> None:
    """One pseudo-input of nothing, and the empty history: q(z2) = p(z2), and only z1's KL is left."""
    model = h_vamp(dropout=0.0, n_pseudo_inputs=1)
    with torch.no_grad():
        model.pseudo_inputs.fill_(-1.0)  # below 0 is 0
        model.prior_1[1].mu.weight.zero_()  # type: ignore[union-attr]
    kl = model.encode(HISTORY, PRESENCE, generator()).terms["kl"]
    z_2 = q_2(model, dense(PRESENCE))
    draw = z_2.mean + z_2.stddev * torch.randn(4, 1, 3, generator=generator())
    p_1 = normal(model.prior_1[1], gated(model.prior_1[0].both(draw)))  # type: ignore[operator]
    alone = kl_divergence(q_1(model, dense(PRESENCE), draw), p_1).sum(-1)
    torch.testing.assert_close(kl[3], alone[3])
    assert (kl[:3] - alone[:3]).abs().min() > 1e-3


def test_log_variances_stay_within_bounds() -> None:
    model = h_vamp()
    for level, wanted in ((50.0, 2.0), (-50.0, -6.0), (0.5, 0.5)):
        with torch.no_grad():
            model.posterior_1.logvar.weight.zero_()
            model.posterior_1.logvar.bias.fill_(level)
        assert (model.posterior_1(torch.zeros(5))[1] == wanted).all()


def test_pseudo_inputs_start_near_nothing_and_hold_no_cold_item() -> None:
    model = h_vamp(noise=0.0, n_pseudo_inputs=2000)
    assert model.pseudo_inputs.mean().item() == pytest.approx(0.05, abs=1e-3)
    assert model.pseudo_inputs.std().item() == pytest.approx(0.01, abs=1e-3)
    cold = replace(bare_catalogue(9), cold=torch.tensor([4, 8]).numpy())
    model, z = h_vamp(cold), torch.zeros(1, 3)
    (gradient,) = torch.autograd.grad(model.log_prior(z).sum(), model.first_2.rows.weight)
    assert (gradient.abs().sum(1) > 0).tolist() == [i not in (4, 8) for i in range(9)]
    before = model.log_prior(z)
    with torch.no_grad():
        model.pseudo_inputs[:, [4, 8]] = 1.0
    assert torch.equal(model.log_prior(z), before)
    assert "warm" not in model.state_dict()


def test_training_drops_its_share_and_pseudo_inputs_are_whole() -> None:
    model, seen = h_vamp(dropout=0.25), []
    for layer in (model.first_1, model.first_2):
        layer.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[1]))
    history = plain_history([[0, 3, 5]])
    model.encode(history, torch.ones(1, 4000, 3), generator())
    x = seen[0]
    assert len(seen) == 2 and torch.equal(x, seen[1])  # the same noise for z2 and z1
    torch.testing.assert_close(x.unique(), torch.tensor([0.0, 0.5 / 0.75]))
    assert (x > 0).float().mean().item() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "h_vamp: hidden_size must be at least 1, got 0"),
        ({"latent_size": 0}, "h_vamp: latent_size must be at least 1, got 0"),
        ({"n_pseudo_inputs": 0}, "h_vamp: n_pseudo_inputs must be at least 1, got 0"),
        ({"dropout": 1.0}, r"h_vamp: dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        h_vamp(**settings)
