"""What every user encoder under conf/ must do, the moment its yaml exists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from tests.contracts.conftest import CONF
from tests.toy_games import bare_catalogue, plain_history
from xrec.config.instantiate import instantiate
from xrec.losses.reconstruction import Multinomial
from xrec.models.component import Component
from xrec.models.history import History
from xrec.models.recommender import Context

N_ITEMS, SIZE = 13, 6
FILES = {path.stem: yaml.safe_load(path.read_text()) for path in (CONF / "model" / "user_encoder").glob("*.yaml")}
NODES: dict[str, Any] = {name: node for name, node in sorted(FILES.items()) if node}
ROWS = [[0, 3, 5], [1], [2, 4, 6, 7, 8], []]


def made(name: str, seed: int = 0) -> Component:
    """Untrained, but with noise on every parameter, so that nothing is 0 by chance of its start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        node = NODES[name]["model"]["components"]["user_encoder"]
        encoder = instantiate(node)(catalogue=bare_catalogue(N_ITEMS), embedding_size=SIZE)
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return encoder


def weights_of(name: str) -> dict[str, float]:
    """Of its own loss terms; a yaml of one without terms has no `loss`."""
    return NODES[name].get("loss", {}).get("weights", {})


def features() -> Tensor:
    return torch.randn(N_ITEMS, SIZE, generator=torch.Generator().manual_seed(5))


def context(history: History, table: Tensor | None = None, seed: int | None = None) -> Context:
    """Of scoring, or with a seed of training."""
    found = Context(history, {"features": features() if table is None else table})
    if seed is not None:
        found.generator, found.users = torch.Generator().manual_seed(seed), torch.arange(len(history))
    return found


@pytest.fixture(params=NODES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_masked_is_removed_and_padding_is_nothing(name: str) -> None:
    encoder, history = made(name), plain_history(ROWS)
    whole = encoder.score(context(history))
    assert whole.shape == (4, 1, N_ITEMS)
    for row, items in enumerate(ROWS):
        alone = plain_history([items]) if items else history.rows([row])
        torch.testing.assert_close(encoder.score(context(alone)), whole[row : row + 1], atol=1e-5, rtol=1e-5)
    masks = torch.tensor([[1.0, 0, 1, 0, 1], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]).expand(4, 3, 5)
    masked = encoder.score(context(history), masks)
    for row, items in enumerate(ROWS):
        for copy in range(2):
            kept = [item for item, there in zip(items, masks[row, copy].tolist(), strict=False) if there]
            removed = encoder.score(context(plain_history([kept or [0]]) if kept else history.rows([3])))
            torch.testing.assert_close(masked[row, copy], removed[0, 0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(masked[row, 2], masked[3, 2], atol=1e-5, rtol=1e-5)


def test_targets_are_columns_of_the_catalogue(name: str) -> None:
    encoder, history = made(name), plain_history(ROWS)
    targets = torch.tensor([[3, 11], [0, 0], [7, 2], [1, 4]])
    masks = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(2))
    wanted = encoder.score(context(history), masks).gather(2, targets.unsqueeze(1).expand(4, 3, 2))
    torch.testing.assert_close(encoder.score(context(history), masks, targets), wanted)


@pytest.mark.parametrize("seed", [None, 0])
def test_presence_between_0_and_1_counts_and_gradients_are_finite_even_at_the_empty_history(name, seed) -> None:
    encoder, history = made(name), plain_history(ROWS)
    for level in (0.0, 0.5, 1.0):
        presence = torch.full((4, 1, 5), level, requires_grad=True)
        scores = encoder.score(context(history, seed=seed), presence)
        (gradient,) = torch.autograd.grad(scores.sum(), presence)
        assert torch.isfinite(scores).all() and torch.isfinite(gradient).all() and gradient.abs().max() < 1e4
        assert level == 0.0 or gradient[:3].abs().sum() > 0
        assert not gradient[3].any()
    halves, wholes = (encoder.score(context(history), torch.full((4, 1, 5), level)) for level in (0.5, 1.0))
    assert (halves - wholes)[:3].abs().amax(-1).min() > 1e-4


def test_a_training_draw_is_of_the_given_generator_and_scoring_draws_nothing(name: str) -> None:
    encoder, history = made(name).train(), plain_history(ROWS)
    state = torch.get_rng_state()
    first, again, other = (encoder.score(context(history, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(encoder.score(context(history)), encoder.score(context(history)))
    assert torch.equal(torch.get_rng_state(), state)


def test_terms_are_per_user_of_the_whole_history_and_only_the_wanted(name: str) -> None:
    encoder, history = made(name), plain_history(ROWS)
    now = context(history, seed=0)
    encoder.score(now)
    found = encoder.terms(now, set(encoder.term_names))
    encoder.score(now, torch.zeros(4, 3, 5))  # of masked copies, later
    again = encoder.terms(now, set(encoder.term_names))
    assert all(torch.equal(found[key], again[key]) for key in again) and found.keys() == again.keys()
    assert all(term.shape == (4,) and torch.isfinite(term).all() for term in found.values())
    items = encoder.item_terms(torch.Generator(), set(encoder.term_names))
    assert found.keys() | items.keys() == set(encoder.term_names)
    assert encoder.terms(now, set()) == {} and encoder.item_terms(torch.Generator(), set()) == {}
    weights = weights_of(name)
    assert set(weights) == set(encoder.term_names)


def trained(encoder: Component, table: Tensor, history: History, labels: Tensor, steps: int, name: str) -> Tensor:
    """Multinomial and the yaml's weights; the updates before each step. Mean loss of the targets when scoring."""
    updates = encoder.updates()
    owned = {id(p) for update in updates for p in update.parameters}
    own = [p for p in encoder.parameters() if id(p) not in owned]
    optimiser = torch.optim.Adam([*own, table], 0.01)
    others = [(u, u.optimiser(u.parameters, 0.01) if u.optimiser else torch.optim.Adam(u.parameters)) for u in updates]
    generator, weights = torch.Generator().manual_seed(0), weights_of(name)
    nothing = torch.zeros_like(labels)
    for step in range(steps):
        for update, their in others:
            if step % update.every == 0:
                their.zero_grad()
                update.loss(generator).backward()
                their.step()
        now = replace(context(history, table), generator=generator, users=torch.arange(len(history)))
        loss = Multinomial()(encoder.score(now).squeeze(1), labels, nothing).mean()
        terms = encoder.terms(now, set(weights)) | encoder.item_terms(generator, set(weights))
        loss = loss + sum(weights[key] * term.mean() for key, term in terms.items())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return Multinomial()(encoder.score(context(history, table)).squeeze(1), labels, nothing) / labels.sum(1)


def test_it_learns_who_likes_what(name: str) -> None:
    """Users of two tastes, items 0 to 5 or 6 to 11: who has three of one is told the other three."""
    halves = [list(range(6)), list(range(6, 12))]
    rows = [[half[i] for i in shown] for half in halves for shown in ((0, 1, 2), (3, 4, 5), (0, 2, 4), (1, 3, 5))]
    labels = torch.zeros(8, N_ITEMS)
    for row, items in enumerate(rows):
        half = halves[items[0] >= 6]
        labels[row, [item for item in half if item not in items]] = 1.0
    table = (0.1 * features()).requires_grad_()
    loss = trained(made(name), table, plain_history(rows), labels, 400, name)
    assert loss.mean() < 1.75  # log 13 = 2.56 knows nothing, log 6 = 1.79 the taste, log 3 = 1.10 the items too


def test_all_that_should_learn_has_a_gradient_and_nothing_else(name: str) -> None:
    encoder, history, table = made(name), plain_history(ROWS * 8), features().requires_grad_()
    now = context(history, table, seed=0)
    total = encoder.score(now).square().sum() + sum(
        t.sum() for t in encoder.terms(now, set(encoder.term_names)).values()
    )
    total.backward()
    owned = {id(p) for update in encoder.updates() for p in update.parameters}
    for key, parameter in encoder.named_parameters():
        moved = parameter.grad is not None and bool((parameter.grad != 0).any())
        assert moved == (id(parameter) not in owned), key
    assert table.grad is not None and (table.grad != 0).all()


def test_cold_items_have_no_gradient(name: str) -> None:
    """An item that is in no training history; what is drawn or learned of all items leaves it out."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        node = NODES[name]["model"]["components"]["user_encoder"]
        catalogue = replace(bare_catalogue(N_ITEMS), cold=torch.tensor([11, 12]).numpy())
        encoder = instantiate(node)(catalogue=catalogue, embedding_size=SIZE)
    table = features().requires_grad_()
    now = context(plain_history(ROWS), table, seed=0)
    total = encoder.score(now, None, torch.arange(11).expand(4, 11)).square().sum()
    (total + sum(t.sum() for t in encoder.terms(now, set(encoder.term_names)).values())).backward()
    for key, parameter in encoder.named_parameters():
        if N_ITEMS in parameter.shape and parameter.grad is not None:
            gradient = parameter.grad if parameter.shape[0] == N_ITEMS else parameter.grad.T
            assert gradient[:11].any() and not gradient[11:].any(), key
    assert table.grad is not None and table.grad[:11].any() and not table.grad[11:].any()
