"""Item encoders: attributes in, features out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.models.item_encoder.attributed import dense, generator, rich_catalogue
from tests.toys import toy_composed, toy_raw
from xrec.models.item_encoder.attribute_codes import LARGEST, AttributeCodes, AttributeSum
from xrec.models.item_encoder.attributes import Attributes
from xrec.models.item_encoder.embedding import Embedding
from xrec.models.item_encoder.embedding_attributes import EmbeddingAttributes
from xrec.models.item_encoder.item_encoder import FreeRows


def test_codes_of_different_fields_share_no_column(toy):
    codes = AttributeCodes(toy.catalogue)
    start = 0
    for index, field in enumerate(toy.catalogue.item_fields):
        assert (codes.columns[:, index].numpy() == field.codes[:, 0] + start).all()
        start += len(field.levels)
    assert codes.n_columns == start


def test_the_attribute_sum_is_a_linear_layer_on_one_hots(toy):
    codes, layer = AttributeCodes(toy.catalogue), AttributeSum(AttributeCodes(toy.catalogue).n_columns, 5)
    dense = torch.zeros(toy.catalogue.n_items, codes.n_columns).scatter_(1, codes.columns, 1.0)
    torch.testing.assert_close(layer(codes.columns, codes.weights), layer.dense(dense))


def test_items_with_the_same_attributes_share_their_feature(toy):
    encoder = Attributes(toy.catalogue, 4, 8)
    features, columns = encoder.features(), encoder.codes.columns
    same = (columns.unsqueeze(0) == columns.unsqueeze(1)).all(-1)
    close = (features.unsqueeze(0) - features.unsqueeze(1)).abs().amax(-1) < 1e-6
    assert (same & ~close).sum() == 0 and (same.sum() > len(same))


def test_an_item_without_attributes_is_legal(toy):
    item = toy.catalogue.item_ids.index(str(toy_raw().items.height))
    assert all(f.levels[f.codes[item, 0]] == "(missing)" for f in toy.catalogue.item_fields)
    assert torch.isfinite(toy_composed(toy).item_encoder.features()[item]).all()


@pytest.mark.parametrize("variant", ["bigan", "attributes", "embedding_attributes"])
def test_a_dataset_without_attributes_is_refused_with_a_way_out(toy, variant):
    bare = replace(toy, catalogue=replace(toy.catalogue, item_fields=()))
    way_out = f"item_encoder={variant} needs item attributes.*use model/item_encoder=embedding"
    with pytest.raises(ValueError, match=way_out):
        toy_composed(bare, item_encoder=variant)
    toy_composed(bare, item_encoder="embedding")


def test_weights_multiply_the_rows_of_several_values_and_numbers(toy):
    codes = AttributeCodes(rich_catalogue(toy.catalogue))
    x = dense(codes)
    start = codes.offsets[-3]
    torch.testing.assert_close(x[:, :start].sum(1), torch.full((len(x),), 3.0))
    torch.testing.assert_close(x[:, start : start + 6].sum(1), torch.ones(len(x)))
    assert x[1, codes.offsets[-2] + 1] == LARGEST  # cut off
    layer = AttributeSum(codes.n_columns, 5)
    torch.testing.assert_close(layer(codes.columns, codes.weights), layer.dense(x))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
@torch.no_grad()
def test_free_rows_are_dropped_whole_and_their_mean_is_what_scoring_uses(toy, share):
    rows = FreeRows(toy.catalogue, 4, "x", share)
    whole, total, dropped = rows(), torch.zeros_like(rows()), []
    torch.testing.assert_close(whole, rows.table.weight)
    for seed in range(400):
        found = rows(generator(seed))
        gone = (found == 0).all(1)
        torch.testing.assert_close(found, torch.where(gone.unsqueeze(1), 0, whole / (1 - share)))
        dropped.append(gone.double().mean())
        total += found / 400
    assert torch.stack(dropped).mean().item() == pytest.approx(share, abs=0.03 if share else 0.0)
    assert (total - whole).norm() <= 0.15 * whole.norm() * (share > 0) + 1e-5


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_an_impossible_dropout_is_refused(toy, share):
    with pytest.raises(ValueError, match="mine: free_dropout must be in"):
        FreeRows(toy.catalogue, 8, "mine", share)


def test_rows_of_cold_items_are_zero(toy):
    cold = np.array([1, 4], dtype=np.int32)
    catalogue = replace(toy.catalogue, cold=cold)
    for rows in (FreeRows(catalogue, 8, "x", 0.1).table.weight, Embedding(catalogue, 8).table.weight):
        assert (rows[cold] == 0).all() and (rows.abs().sum(1) > 0).sum() == catalogue.n_items - 2


@torch.no_grad()
def test_embedding_attributes_are_the_scaled_sum_of_level_rows_and_a_free_row(toy):
    """By loops, with fields of several values and a number."""
    catalogue = replace(rich_catalogue(toy.catalogue), cold=np.array([3], dtype=np.int32))
    encoder = EmbeddingAttributes(catalogue, 5, free_dropout=0.5)
    rows, features = encoder.levels.weight, encoder.features()
    for item in range(catalogue.n_items):
        wanted, start = torch.zeros(5), 0
        for field in catalogue.item_fields:
            for code, weight in zip(field.codes[item], field.weights[item], strict=True):
                wanted += rows[start + int(code)] * float(np.clip(weight, -LARGEST, LARGEST))
            start += len(field.levels)
        wanted = wanted / len(catalogue.item_fields) ** 0.5 + encoder.free.table.weight[item]
        torch.testing.assert_close(features[item], wanted)
    torch.testing.assert_close(features[3], encoder.of_attributes()[3])  # a cold item's
    drawn = torch.stack([encoder.features(generator(seed)) for seed in range(300)]).mean(0)
    torch.testing.assert_close(drawn, features, atol=0.04, rtol=0)


def test_embedding_attributes_learn_a_target_of_level_and_item(toy):
    """Overfits a toy, and what it learns of levels it says of an item without a row."""
    torch.manual_seed(0)
    catalogue = replace(toy.catalogue, cold=np.array([2], dtype=np.int32))
    encoder = EmbeddingAttributes(catalogue, 3, free_dropout=0.2)
    field = catalogue.item_fields[0]
    target = torch.randn(len(field.levels), 3)[torch.from_numpy(field.codes[:, 0].astype(np.int64))]
    warm = np.setdiff1d(np.arange(catalogue.n_items), catalogue.cold)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.02)
    for step in range(400):
        optimiser.zero_grad()
        (encoder.features(generator(step)) - target)[warm].square().sum(1).mean().backward()
        optimiser.step()
    missed = (encoder.features() - target).square().sum(1).detach()
    assert missed[warm].mean() < 0.03 * target.square().sum(1).mean()
    assert missed[2] < 0.2 * target[2].square().sum()
    assert (encoder.free.table.weight[2] == 0).all()
