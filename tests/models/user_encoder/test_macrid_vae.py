"""MacridVAE's concepts, latents and mixture, written out and on planted categories."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, RelaxedOneHotCategorical, kl_divergence
from torch.nn import functional

from tests.toy_games import bare_catalogue, plain_history
from xrec.models.recommender import Context
from xrec.models.user_encoder.macrid_vae import MacridVAE

N_ITEMS, SIZE, K = 9, 4, 3
HISTORY = plain_history([[0, 3, 5], [1], [2, 4, 6, 7, 8], []])
PRESENCE = HISTORY.presence.unsqueeze(1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def macrid(**settings) -> MacridVAE:
    torch.manual_seed(0)
    model = MacridVAE(
        bare_catalogue(N_ITEMS), SIZE, **{"n_concepts": K, "hidden_size": 5, "temperature": 0.5, **settings}
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


def table() -> Tensor:
    return torch.randn(N_ITEMS, SIZE, generator=generator(7))


def unit(x: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1)


def test_the_score_written_out() -> None:
    model, features = macrid(dropout=0.9), table()
    presence = torch.rand(4, 2, 5, generator=generator())
    scores = model.score(Context(HISTORY, {"features": features}), presence)
    shares = (unit(features) @ unit(model.prototypes).T / 0.5).softmax(-1)
    for user, copy, target in ((0, 0, 3), (0, 1, 1), (2, 1, 8)):
        total = torch.zeros(())
        for k in range(K):
            x = torch.zeros(N_ITEMS)
            for place in range(int(HISTORY.presence[user].sum())):
                item = HISTORY.item[user, place]
                x[item] = presence[user, copy, place] * shares[item, k]
            x = x / (1 + x.square().sum()).sqrt()
            mu = model.mu(torch.tanh(x @ model.first.rows.weight + model.first.bias))
            total += shares[target, k] * torch.exp(unit(mu) @ unit(features[target]) / 0.5)
        assert scores[user, copy, target].item() == pytest.approx(math.log(float(total.detach())), abs=1e-4)


def planted() -> tuple[MacridVAE, Tensor, Tensor]:
    """Three categories, whose items lie around the prototypes."""
    model, category = macrid(temperature=0.1), torch.arange(N_ITEMS) % K
    with torch.no_grad():
        model.prototypes.copy_(3.0 * torch.eye(K, SIZE))
    return model, category, torch.eye(K, SIZE)[category] * 0.2 + 0.01 * table()


def test_planted_categories_are_its_concepts() -> None:
    model, category, features = planted()
    log_concepts = model.log_concepts(features)
    assert torch.equal(log_concepts.argmax(-1), category)
    torch.testing.assert_close(log_concepts.exp(), functional.one_hot(category, K).float(), atol=1e-3, rtol=0)


def test_a_planted_category_s_items_speak_for_it_alone() -> None:
    """Without what was bought of category 1, the user is another in concept 1, and the same in 0 and 2."""
    model, _, features = planted()
    history = plain_history([[0, 3, 1, 4, 7]])
    masks = torch.tensor([[[1.0] * 5, [1.0, 1.0, 0.0, 0.0, 0.0]]])
    z, _ = model.encode(history, masks, model.log_concepts(features).exp()[history.item])
    cosines = (z[0, 0] * z[0, 1]).sum(-1)
    assert cosines[1] < 0.9 and cosines[[0, 2]].min() > 0.999


def test_assignments_in_training_are_torch_s_relaxed_draws() -> None:
    model, features = macrid(), table()
    logits = (unit(features) @ unit(model.prototypes).T / 0.5).detach()
    draws = torch.stack([model.log_concepts(features, generator(s)).exp().detach() for s in range(4000)])
    torch.manual_seed(0)
    wanted: Tensor = RelaxedOneHotCategorical(torch.tensor(0.5), logits=logits).sample(torch.Size([4000]))  # type: ignore[assignment]
    torch.testing.assert_close(draws.mean(0), wanted.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(draws.std(0), wanted.std(0), atol=0.03, rtol=0)
    torch.testing.assert_close(draws.sum(-1), torch.ones(4000, N_ITEMS))
    soft = macrid(assignment="softmax").log_concepts(features, generator()).exp()
    torch.testing.assert_close(soft, logits.softmax(-1))


def test_history_and_targets_have_the_same_draw() -> None:
    model, seen = macrid(), []
    log_concepts = model.log_concepts
    model.log_concepts = lambda *arguments: (seen.append(1), log_concepts(*arguments))[1]  # type: ignore[method-assign]
    model.score(Context(HISTORY, {"features": table()}, generator=generator()))
    assert len(seen) == 1


def posterior(model: MacridVAE, concepts: Tensor, deviation: float) -> Normal:
    x = PRESENCE.unsqueeze(2) * concepts.transpose(1, 2).unsqueeze(1)
    x = (x / (1 + x.square().sum(-1, keepdim=True)).sqrt()).squeeze(1)
    hidden = torch.tanh(model.first(HISTORY, x))
    return Normal(unit(model.mu(hidden)), deviation * (model.logvar(hidden) / 2).exp())


def test_kl_is_torch_s_to_the_narrow_prior_and_leaves_mu_alone() -> None:
    model, deviation = macrid(dropout=0.0, deviation=0.3), 0.3
    concepts = model.log_concepts(table()).exp()[HISTORY.item].detach()
    kl = model.encode(HISTORY, PRESENCE, concepts, generator())[1]
    q = posterior(model, concepts, deviation)
    wanted = kl_divergence(q, Normal(torch.zeros_like(q.mean), deviation)).sum((-1, -2))
    torch.testing.assert_close(kl.squeeze(1), wanted, rtol=1e-4, atol=1e-4)
    gradients = torch.autograd.grad(kl.sum(), [model.logvar.weight, model.mu.weight], allow_unused=True)
    assert gradients[0] is not None and gradients[0].any() and gradients[1] is None


def test_training_draws_from_the_posterior_and_scoring_takes_its_mean() -> None:
    model, n = macrid(dropout=0.0, deviation=0.3), 20_000
    concepts = model.log_concepts(table()).exp()[HISTORY.item].detach()
    drawn, _ = model.encode(HISTORY, PRESENCE.expand(4, n, 5), concepts, generator())
    q = posterior(model, concepts, 0.3)
    torch.manual_seed(0)
    wanted = unit(q.sample(torch.Size([n])))
    torch.testing.assert_close(drawn.mean(1), wanted.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.std(1), wanted.std(0), atol=0.02, rtol=0)
    mean, kl = model.encode(HISTORY, PRESENCE, concepts)
    torch.testing.assert_close(mean.squeeze(1), q.mean, atol=1e-4, rtol=0)
    assert not kl.any()


def test_training_drops_items_of_each_concept_apart() -> None:
    model, n, seen = macrid(dropout=0.25), 4000, []
    model.first.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[1]))
    history = plain_history([[0, 3, 5]])
    model.encode(history, torch.ones(1, n, 3), torch.full((1, 3, K), 0.5), generator())
    x = seen[0].reshape(n, K, 3)
    torch.testing.assert_close(x.unique(), torch.tensor([0.0, 0.5 / 1.75**0.5 / 0.75]))
    assert (x > 0).float().mean().item() == pytest.approx(0.75, abs=0.01)
    assert ((x[:, 0] > 0) != (x[:, 1] > 0)).float().mean().item() == pytest.approx(2 * 0.25 * 0.75, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "macrid_vae: hidden_size must be at least 1, got 0"),
        ({"n_concepts": 0}, "macrid_vae: n_concepts must be at least 1, got 0"),
        ({"dropout": 1.0}, r"macrid_vae: dropout must be in \[0, 1\), got 1.0"),
        ({"temperature": 0.0}, "macrid_vae: temperature must be above 0, got 0.0"),
        ({"deviation": 0.0}, "macrid_vae: deviation must be above 0, got 0.0"),
        ({"assignment": "hard"}, "macrid_vae: assignment must be 'gumbel' or 'softmax', got 'hard'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        macrid(**settings)
