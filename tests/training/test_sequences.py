"""Training on sequences: every position from the older items alone, in one pass, without a look ahead."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.toys import events_frame, fit_data, histories, toy_dataset, train
from xrec.losses.reconstruction import Multinomial
from xrec.models.attention.self_attention import SelfAttention
from xrec.models.baselines.ease import EASE
from xrec.models.components.fixed import Fixed
from xrec.models.components.prior import Prior
from xrec.models.composed import Composed
from xrec.models.history import CHANNELS, History, Positions
from xrec.models.item_encoder.embedding import Embedding
from xrec.training.examples import epoch_steps, make_batch, sequences
from xrec.training.shared_targets import NegativeSampler

WEIGHTS = {"reconstruction": 1.0}


def chains(n_users: int = 60, n_items: int = 12) -> list[tuple[str, str, int, float]]:
    """Users walk around a circle of items: the next one is certain from the last."""
    rng = np.random.default_rng(0)
    return [
        (f"{user}", f"{(start + step) % n_items:02d}", step + 1, 1.0)
        for user, start in enumerate(rng.integers(0, n_items, n_users).tolist())
        for step in range(12)
    ]


@pytest.fixture(scope="module")
def circle(tmp_path_factory):
    return toy_dataset(tmp_path_factory.mktemp("circle"), events=events_frame(chains()), n_items=12, core=(0, 0))


def sasrec(dataset, wide: dict | None = None, seed: int = 0, **options) -> Composed:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        attention = partial(SelfAttention, temperature=0.07, dropout=0.1, decay=4.0)
        return Composed(dataset.catalogue, 16, Embedding, {**(wide or {}), "attention": attention}, **options).eval()


def prefix(history: History, row: int, column: int) -> History:
    """What is older than an item, with ages as of its moment."""
    moment = history.age[row, column]
    keep = (history.age[row] > moment) & (history.presence[row] > 0)
    alone = replace(history, **{name: getattr(history, name)[row : row + 1] for name in CHANNELS})
    return replace(alone.without(keep), age=(history.age[row] - moment)[keep][None])


@torch.no_grad()
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_position_is_the_score_of_what_is_older(circle, tmp_path, noise):
    model = sasrec(circle)
    model.fit(fit_data(circle, tmp_path))
    for parameter in model.parameters():
        parameter.add_(noise * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    history, targets = histories(circle, [0, 7]), torch.tensor([3, 1, 8])
    history = replace(history, age=(history.age / 2).ceil())  # with ties: they do not see each other's moment
    rows, columns = torch.nonzero(history.presence, as_tuple=True)
    found = model.score_positions(model.prepare(history), Positions(rows, columns), targets)
    for number, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        alone = model.score(model.prepare(prefix(history, row, column)), None, targets[None])[0, 0]
        torch.testing.assert_close(found[number], alone, rtol=1e-4, atol=1e-4)


def test_examples_are_all_positions_but_the_oldest(circle):
    window, generator = sequences(circle)[0], torch.Generator().manual_seed(0)
    n_items = circle.catalogue.n_items
    negatives = NegativeSampler(np.ones(n_items), np.arange(n_items), 5).draw(generator)
    n_examples = 0
    for step in epoch_steps([window], 16, 2000, 5, n_items, generator):
        for piece in step.pieces:
            batch = make_batch(piece, n_items, np.arange(n_items), negatives, generator, torch.device("cpu"))
            assert batch.positions is not None and batch.targets is not None
            rows, columns = batch.positions.rows, batch.positions.columns
            n_examples += len(rows)
            assert (batch.targets[batch.labels.argmax(1)] == batch.history.item[rows, columns]).all()
            assert (batch.labels.sum(1) == 1).all()
            assert (batch.history.age[rows, columns] < batch.history.age.amax(1)[rows]).all()
    assert n_examples == 60 * (circle.train_end - 1)


def test_it_learns_a_circle(circle, tmp_path):
    losses = []
    model, _ = train(
        circle,
        tmp_path,
        model=sasrec(circle),
        weights=WEIGHTS,
        reconstruction=Multinomial(),
        validate=None,
        examples="sequence",
        n_negatives=20,
        epochs=30,
        learning_rate=0.01,
        log=lambda row: losses.append(row.get("loss/raw/reconstruction")),
    )
    with torch.no_grad():
        history = histories(circle)
        best = model.score(model.prepare(history))[:, 0].argmax(1)
        newest = history.item.gather(1, history.age.masked_fill(history.presence == 0, 1e9).argmin(1, keepdim=True))
        names = np.array([int(name) for name in circle.catalogue.item_ids])
        right = (names[best.numpy()] == (names[newest[:, 0].numpy()] + 1) % 12).mean()
    assert right > 0.9


def test_gradients_reach_all_that_is_used(circle, tmp_path):
    model = sasrec(circle)
    model.fit(fit_data(circle, tmp_path))
    history = histories(circle, [0, 7])
    context = model.training_context(history, torch.tensor([0, 7]), torch.Generator().manual_seed(0))
    rows, columns = torch.nonzero(history.age == 1, as_tuple=True)
    scores = model.score_positions(context, Positions(rows, columns), torch.arange(12))
    (scores.log_softmax(-1)[:, 3]).sum().backward()
    for name, parameter in model.named_parameters():
        if not name.endswith(("kind.weight", "query.bias")):  # one kind; a constant cancels in the softmax
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("combination", ["sum", "mixture", "probabilities"])
def test_beside_what_is_fixed_the_rest_is_trained_as_if_alone(circle, tmp_path, combination):
    beside = sasrec(circle, {"ease": partial(Fixed, model=EASE)}, combination=combination)
    models = {"alone": sasrec(circle), "beside": beside}
    for name, model in models.items():
        train(circle, tmp_path / name, model=model, weights=WEIGHTS, reconstruction=Multinomial(), examples="sequence")
    for name, parameter in models["alone"].named_parameters():
        assert torch.equal(parameter, beside.get_parameter(name)), name
    start = sasrec(circle).item_encoder.features()
    assert not torch.allclose(beside.item_encoder.features(), start)


def test_a_gain_scales_positions_too(circle, tmp_path):
    history, targets = histories(circle, [0, 7]), torch.arange(12)
    rows, columns = torch.nonzero(history.age == 1, as_tuple=True)
    scores = []
    for gain in (1.0, 3.0):
        model = sasrec(circle, gain=gain)
        model.fit(fit_data(circle, tmp_path))
        scores.append(model.score_positions(model.prepare(history), Positions(rows, columns), targets))
    torch.testing.assert_close(scores[1], 3 * scores[0])


def test_what_cannot_be_trained_on_sequences_is_refused(circle, toy, tmp_path):
    with pytest.raises(ValueError, match="users have items again"):
        sequences(toy)
    with pytest.raises(ValueError, match="model.components.prior does not score positions"):
        train(circle, tmp_path, model=sasrec(circle, {"prior": Prior}), examples="sequence")
