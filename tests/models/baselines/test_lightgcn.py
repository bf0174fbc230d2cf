"""LightGCN against a dense propagation, for whole and for masked histories; its loss against torch's own gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.toys import events_frame, fit_data, histories, toy_dataset
from xrec.models.baselines.lightgcn import Graph, LightGCN
from xrec.models.history import History
from xrec.models.sparse import interactions

#: of frozen layers with propagating again, on the toy
PEARSON = 0.997
SETTINGS = {"n_factors": 6, "n_layers": 3, "epochs": 20, "batch_size": 64, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def known(toy) -> Tensor:
    """[U, I] who has what in training."""
    return torch.from_numpy(interactions(toy.histories(toy.train_end + 1), toy.catalogue.n_items).toarray())


@pytest.fixture(scope="module")
def embeddings(toy, known) -> Tensor:
    return torch.randn(sum(known.shape), 6, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def model(toy, known, embeddings) -> LightGCN:
    model = LightGCN(toy.catalogue, **SETTINGS)
    model.freeze(graph_of(toy), embeddings)
    return model


def graph_of(toy) -> Graph:
    return Graph(interactions(toy.histories(toy.train_end + 1), toy.catalogue.n_items), torch.device("cpu"))


def training_histories(toy, users: list[int]) -> History:
    return History.from_table(toy.histories(toy.train_end + 1), users)


def dense_layers(known: Tensor, embeddings: Tensor, n_layers: int = 3) -> Tensor:
    """[K + 1, U + I, d] by the paper's formula, with the whole normalised adjacency as a matrix."""
    n_users, n_items = known.shape
    adjacency = torch.zeros(n_users + n_items, n_users + n_items)
    adjacency[:n_users, n_users:] = known
    adjacency[n_users:, :n_users] = known.T
    root = adjacency.sum(1).clamp_min(1).rsqrt()
    normalised = root.unsqueeze(1) * adjacency * root
    layers = [embeddings]
    for _ in range(n_layers):
        layers.append(normalised @ layers[-1])
    return torch.stack(layers)


def dense_scores(known: Tensor, embeddings: Tensor) -> Tensor:
    """[U, I], without the users' rows of layer 0 in what they are scored by."""
    n_users, layers = len(known), dense_layers(known, embeddings)
    users = layers[1:, :n_users].sum(0) / len(layers)
    return users @ layers[:, n_users:].mean(0).T


def test_layers_and_scores_of_whole_histories_are_those_of_a_dense_propagation(model, toy, known, embeddings):
    torch.testing.assert_close(model.layers, dense_layers(known, embeddings)[:, len(known) :], atol=1e-5, rtol=1e-5)
    users = list(range(len(known)))
    found = model.score(model.prepare(training_histories(toy, users)))[:, 0]
    torch.testing.assert_close(found, dense_scores(known, embeddings), atol=1e-5, rtol=1e-5)
    assert found.std() > 0.05


def test_frozen_layers_of_items_are_close_to_propagating_again(model, toy, known, embeddings):
    """Half of a user's items are removed from the graph itself, with 40 users: where there are more, each changes the
    others less. By the Pearson correlation of a masked copy's scores of all items."""
    generator, found = torch.Generator().manual_seed(0), []
    for user in (0, 5, 11, 23):
        history = training_histories(toy, [user])
        keep = (torch.rand(3, history.item.shape[1], generator=generator) < 0.5).float()
        frozen = model.score(model.prepare(history), keep.unsqueeze(0))[0]
        for row, kept in enumerate(keep):
            cut = known.clone()
            cut[user] = torch.zeros(known.shape[1]).scatter(0, history.item[0], kept)
            exact = dense_scores(cut, embeddings)[user]
            found.append(np.corrcoef(frozen[row], exact)[0, 1])
    assert np.mean(found) == pytest.approx(PEARSON, abs=0.002) and min(found) > 0.98


def test_masking_is_removing_and_nothing_scores_nothing(model, toy):
    history = histories(toy, [2, 4])
    keep = torch.arange(history.item.shape[1]) % 3 > 0
    masked = model.score(model.prepare(history), keep.float().expand(2, 1, -1))
    for row in range(2):
        removed = model.score(model.prepare(history.rows([row]).without(keep)))
        torch.testing.assert_close(masked[row : row + 1], removed, atol=1e-6, rtol=1e-5)
    assert not model.score(model.prepare(history), torch.zeros(2, 1, len(keep))).any()


def test_presence_counts_to_its_share(model, toy, embeddings):
    """e_u = sum p_j T_j / sqrt(|p|), by a loop over layers and items."""
    history = histories(toy, [3])
    share = torch.rand(history.item.shape[1], generator=torch.Generator().manual_seed(1))
    user = torch.zeros(6)
    for layer in model.layers[:-1]:
        for p, item in zip(share, history.item[0], strict=True):
            user += p * layer[item] * model.inverse_root[item] / share.sum().sqrt() / 4
    found = model.score(model.prepare(history), share[None, None])[0, 0]
    torch.testing.assert_close(found, model.layers.mean(0) @ user, atol=1e-5, rtol=1e-4)


def test_targets_are_columns_and_presence_has_gradients(model, toy):
    history = histories(toy, [0, 3])
    targets, context = torch.tensor([[1, 2], [0, 5]]), model.prepare(history)
    presence = torch.full((2, 2, history.item.shape[1]), 0.5, requires_grad=True)
    found = model.score(context, presence, targets)
    whole = model.score(context, presence)
    torch.testing.assert_close(found, whole.gather(2, targets.unsqueeze(1).expand(-1, 2, -1)))
    (slope,) = torch.autograd.grad(found.sum(), presence)
    for place in ((0, 0, 1), (1, 1, 2)):
        step = torch.zeros_like(presence)
        step[place] = 1e-2
        with torch.no_grad():
            ends = [model.score(context, presence + sign * step, targets).sum() for sign in (1, -1)]
        torch.testing.assert_close(slope[place], (ends[0] - ends[1]) / 2e-2, atol=1e-3, rtol=2e-2)
    nothing = torch.zeros(2, 1, history.item.shape[1], requires_grad=True)
    (slope,) = torch.autograd.grad(model.score(context, nothing).sum(), nothing)
    assert slope.isfinite().all() and slope.any()


def test_the_loss_and_its_gradient_are_those_of_the_dense_graph(model, toy, known, embeddings):
    graph, edges, free = graph_of(toy), torch.arange(0, 200, 3), embeddings.clone().requires_grad_()
    model.regularization = 0.01
    found = model.loss(graph, free, edges, torch.Generator().manual_seed(5))
    (slope,) = torch.autograd.grad(found, free)
    drawn = torch.randint(30, (len(edges),), generator=torch.Generator().manual_seed(5)).tolist()
    n_users, total = len(known), torch.zeros(())
    final = dense_layers(known, free).mean(0)
    for user, item, other in zip(graph.user[edges].tolist(), graph.item[edges].tolist(), drawn, strict=True):
        if known[user, other]:
            continue
        margin = final[user] @ (final[n_users + item] - final[n_users + other])
        norms = sum(free[node].square().sum() for node in (user, n_users + item, n_users + other))
        total = total - margin.sigmoid().log() + 0.01 * norms / 2
    wanted = total / len(edges)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(slope, torch.autograd.grad(wanted, free)[0], rtol=1e-4, atol=1e-6)
    assert 0 < sum(known[u, o] for u, o in zip(graph.user[edges].tolist(), drawn, strict=True)) < len(edges)


def test_two_planted_communities_are_found(tmp_path):
    """Users of each half take 7 of its 12 items, and two of the other half; the other 5 rank above what is left."""
    rng, rows = np.random.default_rng(0), []
    for user in range(60):
        own = rng.permutation(12) + 12 * (user % 2)
        times = [1, 2, 3, 4, 5, 6, 7, 9, 9, 11, 11, 11]
        rows += [(f"{user}", f"{item:02d}", time, 1.0) for time, item in zip(times, own, strict=True)]
        rows += [(f"{user}", f"{item:02d}", 8, 1.0) for item in rng.permutation(12)[:2] + 12 * (1 - user % 2)]
    dataset = toy_dataset(tmp_path, events=events_frame(rows), n_users=60, n_items=24, core=(0, 0))
    history = training_histories(dataset, list(range(60)))
    half = torch.tensor([int(name) >= 12 for name in dataset.catalogue.item_ids])
    own = torch.tensor([int(name) % 2 for name in dataset.catalogue.user_ids]).bool().unsqueeze(1)

    def right(model: LightGCN) -> float:
        scores = model.score(model.prepare(history))[:, 0].scatter(1, history.item, -math.inf)
        return (half[scores.topk(5).indices] == own).float().mean().item()

    model = LightGCN(dataset.catalogue, **SETTINGS)
    model.freeze(graph_of(dataset), torch.randn(84, 6, generator=torch.Generator().manual_seed(0)))
    assert right(model) < 0.85
    model.fit(fit_data(dataset, tmp_path))
    assert right(model) > 0.95


def test_a_fit_is_of_the_generator_alone_and_a_saved_one_is_loaded_without(toy, tmp_path):
    def fitted(seed: int, steps: list[int]) -> LightGCN:
        model = LightGCN(toy.catalogue, **{**SETTINGS, "epochs": 2})
        data = fit_data(toy, tmp_path, seed)
        object.__setattr__(data, "progress", lambda items, **_: (steps.append(1) or i for i in items))
        model.fit(data)
        return model

    steps: list[int] = []
    state = torch.get_rng_state()
    first, again, other = fitted(0, steps), fitted(0, []), fitted(1, [])
    assert torch.equal(first.layers, again.layers) and not torch.equal(first.layers, other.layers)
    assert torch.equal(torch.get_rng_state(), state) and len(steps) == 2
    loaded = LightGCN(toy.catalogue, **SETTINGS)
    loaded.load_state_dict(first.state_dict())
    loaded.attach(fit_data(toy, tmp_path))
    history = histories(toy, [1])
    assert torch.equal(loaded.score(loaded.prepare(history)), first.score(first.prepare(history)))


def test_what_was_only_seen_is_not_in_the_history_and_items_without_users_say_nothing(toy, known, embeddings):
    model, cut = LightGCN(toy.catalogue, **SETTINGS), known.clone()
    cut[:, 7] = 0.0
    from scipy.sparse import csr_matrix

    model.freeze(Graph(csr_matrix(cut.numpy()), torch.device("cpu")), embeddings)
    history = histories(toy, [0])
    alone = history.without(history.item[0] == 7)
    assert alone.item.tolist() == [[7]] and not model.score(model.prepare(alone)).any()
    assert (model.score(model.prepare(history))[0, 0] == 0).nonzero().flatten().tolist() == [7]
    history.positive[0, :3] = 0.0
    seen = model.score(model.prepare(history))
    keep = torch.arange(history.item.shape[1]) > 2
    torch.testing.assert_close(seen, model.score(model.prepare(history.without(keep))), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_factors": 0}, "n_factors must be at least 1, got 0"),
        ({"n_layers": 0}, "n_layers must be at least 1, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"regularization": -1.0}, "regularization must be at least 0, got -1.0"),
    ],
)
def test_bad_arguments_are_named(toy, settings, message):
    with pytest.raises(ValueError, match=f"lightgcn: {message}"):
        LightGCN(toy.catalogue, **settings)
