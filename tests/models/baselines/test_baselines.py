"""Baselines against slow loops; the additive promise for each of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.toys import events_frame, fit_data, histories, toy_dataset
from xrec.data.split.temporal import TemporalSplit
from xrec.models.baselines.boosted_trees import BoostedTrees
from xrec.models.baselines.content_knn import ContentKNN
from xrec.models.baselines.ease import EASE
from xrec.models.baselines.item_knn import ItemKNN
from xrec.models.baselines.personal_frequency import PersonalFrequency
from xrec.models.baselines.popularity import Popularity
from xrec.models.baselines.repeat_classifier import RepeatClassifier
from xrec.models.cold_map import AlignedColdMap, RidgeColdMap, SimilarColdMap
from xrec.models.history import History

BASELINES = {
    "ease": lambda c: EASE(c, 5.0),
    "recent ease": lambda c: EASE(c, 5.0, history_decay=0.65, gram_decay=0.8, attribute_weight=3.0, diagonal_scale=1.2),
    "ordered ease": lambda c: EASE(c, 5.0, gram_decay=0.8, transition_weight=0.5),
    "slow ease": lambda c: EASE(c, 5.0, half_life=16.0),
    "cold ease": lambda c: EASE(c, 5.0, cold_map=SimilarColdMap()),
    "cold ease aligned": lambda c: EASE(c, 5.0, cold_map=AlignedColdMap()),
    "cold ease by ridge": lambda c: EASE(c, 5.0, cold_map=RidgeColdMap()),
    "item-kNN": lambda c: ItemKNN(c, n_neighbours=4, shrinkage=2.0, history_decay=0.65),
    "content-kNN": ContentKNN,
    "boosted trees": lambda c: BoostedTrees(c, horizon=2, n_windows=2, n_trees=10),
    "repeat classifier": lambda c: RepeatClassifier(c, horizon=2, n_windows=2),
    "popularity": Popularity,
    "recent popularity": lambda c: Popularity(c, periods=2),
    "personal frequency": PersonalFrequency,
    "fast personal frequency": lambda c: PersonalFrequency(c, half_life=1.0, backfill_periods=2),
}


@pytest.fixture(params=sorted(BASELINES))
def model(request, toy, tmp_path):
    model = BASELINES[request.param](toy.catalogue)
    model.fit(fit_data(toy, tmp_path))
    return model


def test_prior_and_contributions_sum_to_the_score(model, toy):
    context = model.prepare(histories(toy))
    score, contributions = model.score(context).squeeze(1), model.contributions(context)
    torch.testing.assert_close(model.prior(context, None) + contributions.sum(1), score, atol=1e-5, rtol=0)


def test_prior_and_contributions_sum_to_the_score_of_given_targets(model, toy):
    context = model.prepare(histories(toy, [0, 3, 5]))
    targets = torch.tensor([[1, 2, 2], [0, 5, 9], [4, 4, 20]])
    total = model.prior(context, targets) + model.contributions(context, targets).sum(1)
    torch.testing.assert_close(total, model.score(context, None, targets).squeeze(1), atol=1e-5, rtol=0)


def test_the_score_of_targets_is_the_catalogue_s(model, toy):
    context, targets = model.prepare(histories(toy, [0, 3])), torch.tensor([[1, 2], [0, 5]])
    presence = torch.rand(2, 3, context.history.item.shape[1]).round()
    for masks in (None, presence):
        whole = model.score(context, masks)
        wanted = whole.gather(2, targets.unsqueeze(1).expand(-1, whole.shape[1], -1))
        torch.testing.assert_close(model.score(context, masks, targets), wanted, atol=1e-5, rtol=1e-6)


def test_masking_is_removing(model, toy):
    history = histories(toy, [2])
    keep = torch.rand(5, history.item.shape[1], generator=torch.Generator().manual_seed(1)) < 0.5
    masked = model.score(model.prepare(history), keep.float().unsqueeze(0))[0]
    for row, kept in enumerate(keep):
        removed = model.score(model.prepare(history.without(kept)))[0, 0]
        torch.testing.assert_close(masked[row], removed, rtol=1e-6, atol=1e-6)


def test_an_empty_history_gives_the_prior(model, toy):
    history = histories(toy, [2, 4])
    context = model.prepare(history)
    nothing = model.score(context, torch.zeros(2, 1, history.item.shape[1]))[:, 0]
    torch.testing.assert_close(nothing, model.prior(context, None).expand_as(nothing))
    removed = history.rows([0]).without(torch.zeros(history.item.shape[1]))
    torch.testing.assert_close(model.score(model.prepare(removed))[0, 0], nothing[0])


def test_padding_never_changes_a_score(model, toy):
    alone, together = histories(toy, [7]), histories(toy, list(range(toy.catalogue.n_users)))
    alone_score = model.score(model.prepare(alone))[0, 0]
    torch.testing.assert_close(model.score(model.prepare(together))[7, 0], alone_score, rtol=1e-6, atol=1e-6)


def test_popularity_counts_distinct_training_users(toy, tmp_path):
    for periods, first in ((None, 1), (3, toy.train_end - 2)):
        model = Popularity(toy.catalogue, periods)
        model.fit(fit_data(toy, tmp_path))
        pairs = {(u, i) for u, i, t in zip(toy.user, toy.item, toy.time, strict=True) if first <= t <= toy.train_end}
        wanted = [len([1 for _, i in pairs if i == item]) for item in range(toy.catalogue.n_items)]
        assert model.score(model.prepare(histories(toy, [0])))[0, 0].tolist() == wanted


def test_personal_frequency_is_decayed_baskets_and_a_sliver_of_popularity(toy, tmp_path):
    model = PersonalFrequency(toy.catalogue, half_life=4.0, backfill_periods=3)
    model.fit(fit_data(toy, tmp_path))
    moment = toy.period("test")[0]
    wanted = np.zeros((toy.catalogue.n_users, toy.catalogue.n_items))
    recent = set()
    for user, item, time, strength in zip(toy.user, toy.item, toy.time, toy.strength, strict=True):
        if time < moment:
            wanted[user, item] += strength * 0.5 ** ((moment - time) / 4)
            if time >= moment - 3:
                recent.add((user, item))
    for _, item in recent:
        wanted[:, item] += 1e-6
    np.testing.assert_allclose(model.score(model.prepare(histories(toy)))[:, 0].numpy(), wanted, atol=1e-6)


def test_anything_ever_bought_beats_the_backfill_at_every_half_life(tmp_path):
    rows = [("0", "0", 1, 1.0)] + [(str(u), "1", t, 1.0) for u in range(1, 30) for t in range(2, 41)]
    dataset = toy_dataset(tmp_path, events=events_frame(rows), core=(1, 1), split=TemporalSplit(30, 35, 40))
    model = PersonalFrequency(dataset.catalogue, half_life=1.0)
    model.fit(fit_data(dataset, tmp_path))
    own, popular = model.score(model.prepare(histories(dataset, [0])))[0, 0]
    assert own > popular


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: PersonalFrequency(c, half_life=3.0), "half_life must be one of .*, got 3.0"),
        (lambda c: Popularity(c, periods=0), "periods must be at least 1 or null, got 0"),
    ],
)
def test_bad_arguments_are_named(toy, make, message):
    with pytest.raises(ValueError, match=message):
        make(toy.catalogue)


def test_a_history_row_holds_the_table_s_channels_and_padding_is_zero(toy):
    table = toy.histories(9)
    history = History.from_table(table, [5, 0])
    for row, user in enumerate([5, 0]):
        entries = slice(table.indptr[user], table.indptr[user + 1])
        n = table.lengths()[user]
        assert history.presence[row].sum() == n and (history.presence[row, :n] == 1).all()
        for name in ("item", "age", "first_age", "strength", "n_periods", "kind", "decayed"):
            channel = getattr(history, name)[row]
            np.testing.assert_array_equal(channel[:n].numpy(), getattr(table, name)[entries])
            assert (channel[n:] == 0).all()


def test_without_keeps_exactly_what_is_asked(toy):
    history = histories(toy, [5])
    keep = torch.zeros(history.item.shape[1])
    keep[[1, 3]] = 1
    assert history.without(keep).item.tolist() == history.item[:, [1, 3]].tolist()
    assert history.without(keep).decayed.shape == (1, 2, 6)


def test_users_without_any_event_have_one_padding_column(toy):
    history = History.from_table(toy.histories(1), [0, 1])
    assert history.presence.tolist() == [[0.0], [0.0]]
