"""The recurrent encoder against torch's own GRU, and what order, presence and positions mean to it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.toy_games import bare_catalogue, plain_history
from tests.toys import events_frame, fit_data, histories, toy_dataset, train
from xrec.losses.reconstruction import Multinomial
from xrec.models.attention.mean import Mean
from xrec.models.components.prior import Prior
from xrec.models.composed import Composed
from xrec.models.history import CHANNELS, History, Positions
from xrec.models.item_encoder.embedding import Embedding
from xrec.models.recommender import Context
from xrec.models.user_encoder import gru as module
from xrec.models.user_encoder.gru import GRU

N_ITEMS, SIZE, HIDDEN = 9, 4, 5
FEATURES = torch.randn(N_ITEMS, SIZE, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([3, 1, 8])


def encoder(dropout: float = 0.0) -> GRU:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return GRU(bare_catalogue(N_ITEMS), SIZE, HIDDEN, dropout).requires_grad_(False)


def aged(items: list[list[int]], ages: list[list[float]]) -> History:
    history = plain_history(items)
    width = history.item.shape[1]
    return replace(history, age=torch.tensor([row + [0.0] * (width - len(row)) for row in ages]))


def score(model: GRU, history: History, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
    return model.score(Context(history, {"features": FEATURES}), presence, targets)


def test_it_is_torch_s_gru_over_the_items_from_the_oldest_on() -> None:
    model, torchs = encoder(), nn.GRU(SIZE, HIDDEN, batch_first=True)
    torchs.load_state_dict({f"{name}_l0": value for name, value in model.cell.state_dict().items()})
    found = score(model, aged([[4, 2, 7, 1], [3, 8]], [[2, 9, 2, 5], [1, 3]]))[:, 0]
    for row, order in enumerate(([2, 1, 4, 7], [8, 3])):  # 4 and 7 are of one age: by id
        _, last = torchs(FEATURES[order][None] * 2)
        torch.testing.assert_close(found[row], FEATURES @ model.out(last[0, 0]) / 2)


def test_items_of_one_age_count_by_id_whatever_their_columns() -> None:
    model = encoder()
    one, other = (score(model, aged([items], [[3, 3, 3, 1]])) for items in ([5, 2, 7, 0], [7, 5, 2, 0]))
    assert torch.equal(one, other)
    assert not torch.allclose(one, score(model, aged([[5, 2, 7, 0]], [[3, 2, 1, 3]])), atol=1e-3)


def test_presence_is_how_much_of_a_step_is_done() -> None:
    model, history = encoder(), aged([[4, 2, 7]], [[1, 9, 5]])
    presence = torch.tensor([0.3, 1.0, 0.6])  # of 4, 2, 7
    state = torch.zeros(HIDDEN)
    for item, share in ((2, 1.0), (7, 0.6), (4, 0.3)):
        state = share * model.cell(FEATURES[item] * 2, state) + (1 - share) * state
    torch.testing.assert_close(score(model, history, presence[None, None])[0, 0], FEATURES @ model.out(state) / 2)
    inside = torch.tensor([[[0.3, 0.9, 0.6]]], dtype=torch.float64, requires_grad=True)
    double = Context(replace(history, presence=history.presence.double()), {"features": FEATURES.double()})
    assert torch.autograd.gradcheck(lambda p: model.double().score(double, p), inside)


def test_masked_copies_are_computed_in_pieces(monkeypatch) -> None:
    model, history = encoder(), aged([[4, 2, 7], [1, 0, 3]], [[1, 9, 5], [2, 2, 4]])
    presence, widths = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(2)), []
    whole = score(model, history, presence)
    states = GRU.states
    monkeypatch.setattr(GRU, "states", lambda *a: (widths.append(a[3].shape[1]), states(*a))[1])
    monkeypatch.setattr(module, "_NUMBERS", 2 * 3 * HIDDEN * 2)
    torch.testing.assert_close(score(model, history, presence), whole)
    assert widths == [2, 2, 1]


def test_a_position_is_the_score_of_what_is_older() -> None:
    model = encoder()
    history = aged([[4, 2, 7, 1, 0], [3, 8, 5]], [[2, 9, 2, 5, 1], [1, 3, 3]])
    rows, columns = torch.nonzero(history.presence, as_tuple=True)
    context = Context(history, {"features": FEATURES})
    found = model.score_positions(context, Positions(rows, columns), TARGETS)
    for number, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        keep = (history.age[row] > history.age[row, column]) & (history.presence[row] > 0)
        alone = replace(history, **{name: getattr(history, name)[row : row + 1] for name in CHANNELS})
        torch.testing.assert_close(found[number], score(model, alone, keep.float()[None, None], TARGETS[None])[0, 0])


def test_dropout_is_of_inputs_and_of_the_state_and_keeps_the_mean() -> None:
    model, history = encoder(0.25), aged([[4, 2]], [[1, 2]])
    with torch.no_grad():
        model.cell.weight_ih.zero_()  # so that the state is that of any items, and the noise the state's
    now = Context(history, {"features": FEATURES}, generator=torch.Generator().manual_seed(0))
    mean = model.score(now, torch.ones(1, 20_000, 2))[0].mean(0)
    torch.testing.assert_close(mean, score(model, history)[0, 0], atol=0.02, rtol=0)
    assert not torch.equal(model.score(now), model.score(now))
    silent = encoder(0.25)
    with torch.no_grad():
        silent.out.weight.zero_()
    assert torch.equal(silent.score(now), silent.score(now))
    silent.out.weight.fill_(1.0)
    state = next(iter(silent.states(now, silent._inputs(now), history.presence.unsqueeze(1))))
    assert not state.any() and not torch.equal(silent._inputs(now), silent._inputs(now))


def walks(n_users: int = 60) -> list[tuple[str, str, int, float]]:
    """Walks on a circle of 12 items, forwards or backwards: which item is next, the order alone tells."""
    rng = np.random.default_rng(0)
    rows = []
    for user, start in enumerate(rng.integers(0, 12, n_users).tolist()):
        way = 1 if user % 2 else -1
        rows += [(f"{user}", f"{(start + way * step) % 12:02d}", step + 1, 1.0) for step in range(12)]
    return rows


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory):
    return toy_dataset(tmp_path_factory.mktemp("circle"), events=events_frame(walks()), n_items=12, core=(0, 0))


def composed(dataset, **beside) -> Composed:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        recurrent = partial(GRU, hidden_size=32, dropout=0.0)
        return Composed(dataset.catalogue, 16, Embedding, {**beside, "user_encoder": recurrent}).eval()


def test_it_learns_from_all_positions_what_only_the_order_tells(circle, tmp_path) -> None:
    model, _ = train(
        circle, tmp_path, model=composed(circle), weights={"reconstruction": 1.0}, reconstruction=Multinomial(),
        validate=None, examples="sequence", n_negatives=20, epochs=30, learning_rate=0.01,
    )  # fmt: skip
    with torch.no_grad():
        history = histories(circle, part="validation")
        best = model.score(model.prepare(history))[:, 0].argmax(1)
    names = np.array([int(name) for name in circle.catalogue.item_ids])
    newest = history.item.gather(1, history.age.masked_fill(history.presence == 0, 1e9).argmin(1, keepdim=True))[:, 0]
    way = np.where(np.array([int(name) for name in circle.catalogue.user_ids]) % 2, 1, -1)
    assert (names[best.numpy()] == (names[newest.numpy()] + way) % 12).mean() > 0.9


def test_only_what_scores_positions_is_trained_on_sequences(circle, tmp_path) -> None:
    for component in (Prior, Mean):
        with pytest.raises(ValueError, match="model.components.beside does not score positions"):
            train(circle, tmp_path, model=composed(circle, beside=component), examples="sequence")
    assert composed(circle).capabilities.names() >= {"gradients", "fractional_presence"}
    model = composed(circle)
    model.fit(fit_data(circle, tmp_path))
    history = histories(circle, [0])
    empty = history.without(torch.zeros_like(history.presence[0]))
    assert model.score(model.prepare(empty)).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "gru: hidden_size must be at least 1, got 0"),
        ({"dropout": 1.0}, r"gru: dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        GRU(bare_catalogue(3), 3, **settings)
