"""The text's formulas, written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tests.toy_games import bare_catalogue, plain_history
from xrec.models.recommender import Context
from xrec.models.user_encoder.article_vae import ArticleVAE

HISTORY = plain_history([[0, 3, 5], [1], [2, 4, 6, 7, 8], []])
PRESENCE = HISTORY.presence.unsqueeze(1)


def article(dropout: float = 0.0) -> ArticleVAE:
    torch.manual_seed(0)
    model = ArticleVAE(bare_catalogue(9), 4, hidden_size=5, dropout=dropout)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape))
    return model


def multi_hot() -> torch.Tensor:
    x = torch.zeros(4, 9)
    for row in range(4):
        x[row, HISTORY.item[row][HISTORY.presence[row] > 0]] = 1.0
    return x


def posterior(model: ArticleVAE) -> tuple[torch.Tensor, torch.Tensor]:
    x = multi_hot()
    hidden = torch.tanh(x / (1 + x.sum(1, keepdim=True)).sqrt() @ model.first.rows.weight + model.first.bias)
    return model.mu(hidden), (model.logvar(hidden).clamp(-6, 2) / 2).exp()


def test_the_user_is_sigma_times_x_of_z_plus_mu_of_z() -> None:
    mu, sigma = posterior(article())
    for draws in (False, True):
        model = article()
        noise = torch.randn(4, 1, 4, generator=torch.Generator().manual_seed(0)).squeeze(1) if draws else 0.0
        z = mu + sigma * noise
        found = model.encode(HISTORY, PRESENCE, torch.Generator().manual_seed(0) if draws else None)
        torch.testing.assert_close(found.user.squeeze(1), sigma * model.scaled(z) + model.shift(z))
        assert found.terms == {}


def test_the_encoding_loss_is_torch_s_cross_entropy_over_the_catalogue_whatever_is_dropped() -> None:
    model, features = article(dropout=0.9), torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    context = Context(HISTORY, {"features": features}, generator=torch.Generator().manual_seed(0))
    model.score(context, None, torch.zeros(4, 2, dtype=torch.long))
    logits = posterior(model)[0] @ features.T
    wanted = functional.binary_cross_entropy_with_logits(logits, multi_hot(), reduction="none").sum(1)
    torch.testing.assert_close(model.terms(context, {"encoding"})["encoding"], wanted)


def test_a_sure_encoder_and_a_huge_sigma_stay_finite() -> None:
    model, features = article(), 1e4 * torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.logvar.bias.fill_(1e4)
    context = Context(HISTORY, {"features": features}, generator=torch.Generator().manual_seed(0))
    scores = model.score(context)
    assert torch.isfinite(scores).all() and torch.isfinite(model.terms(context, {"encoding"})["encoding"]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "article_vae: hidden_size must be at least 1, got 0"),
        ({"dropout": 1.0}, r"article_vae: dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        ArticleVAE(bare_catalogue(9), 4, **settings)
