"""TF-IDF attributes against scikit-learn's, and what says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer

from xrec.models.tfidf import similarity_block, tfidf_attributes
from xrec.types import Catalogue, Field


def catalogue(*fields: Field, n: int = 5) -> Catalogue:
    ids = tuple(str(i) for i in range(n))
    return Catalogue(ids, ids, fields, ("u",))


def field(kind: str, codes: list[list[int]], weights: list[list[float]], n_levels: int) -> Field:
    levels = ("(missing)", "(rare)", *(f"l{i}" for i in range(n_levels - 2)))
    return Field("f", kind, levels, np.array(codes, dtype=np.int32), np.array(weights, dtype=np.float32))


#: two values, one value, missing, rare, one value
CATEGORY = field(
    "categorical", [[2, 3], [2, 0], [0, 0], [1, 0], [4, 0]], [[0.5, 0.5], [1, 0], [1, 0], [1, 0], [1, 0]], 5
)


def test_vectors_are_those_of_scikit_learn_without_its_smoothing():
    found = tfidf_attributes(catalogue(CATEGORY), "test").toarray()
    counts = np.zeros((5, 5))
    counts[[0, 0, 1, 4], [2, 3, 2, 4]] = 1.0
    theirs = TfidfTransformer(norm=None, smooth_idf=False).fit_transform(counts[:, 2:]).toarray()
    wanted = np.zeros((5, 5))
    wanted[:, 2:] = theirs - counts[:, 2:]  # scikit-learn adds 1 to the logarithm
    length = np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted / np.where(length > 0, length, 1), atol=1e-6)


def test_similarities_are_cosines_and_an_item_without_levels_has_none():
    attributes = tfidf_attributes(catalogue(CATEGORY), "test")
    found = similarity_block(attributes, slice(0, 5))
    np.testing.assert_allclose(np.diag(found), [1, 1, 0, 0, 1], atol=1e-6)
    two, one = np.log(5 / 2), np.log(5 / 1)
    np.testing.assert_allclose(found[0, 1], two / np.hypot(two, one), atol=1e-6)
    np.testing.assert_array_equal(found[2], 0.0)
    np.testing.assert_allclose(similarity_block(attributes, np.array([1, 0])), found[[1, 0]])


def test_words_count_their_share_and_numbers_nothing():
    text = field("text", [[2, 3], [2, 0], [3, 0], [0, 0], [3, 0]], [[0.75, 0.25], [1, 0], [1, 0], [1, 0], [1, 0]], 4)
    number = field("numeric", [[1]] * 5, [[2.0]] * 5, 2)
    found = tfidf_attributes(catalogue(text, number), "test").toarray()
    assert found.shape == (5, 4)
    wanted = np.array([0.75 * np.log(5 / 2), 0.25 * np.log(5 / 3)])
    np.testing.assert_allclose(found[0, 2:], wanted / np.linalg.norm(wanted), atol=1e-6)
    assert (found[3] == 0).all()


def test_a_catalogue_without_attributes_is_refused():
    with pytest.raises(ValueError, match="content_knn needs item attributes, categories or texts"):
        tfidf_attributes(catalogue(), "content_knn")
