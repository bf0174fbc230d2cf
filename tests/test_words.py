"""Names for people."""

from __future__ import annotations

import pytest

from xrec.words import sentence, title_of


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("permutation_shap", "permutation SHAP"),
        ("leave_one_out", "leave-one-out"),
        ("random_best_of_10", "random best of 10"),
        ("ease", "EASE"),
        ("tifu_knn", "TIFU kNN"),
        ("personal_frequency", "personal frequency"),
        ("kl", "KL"),
        ("ndcg_at_10", "NDCG@10"),
        ("validation_ndcg_at_10_new", "validation NDCG@10 new"),
        ("please_release", "please release"),
        ("look_at_10things", "look at 10things"),
        ("<script>alert('item')</script>", "<script>alert('item')</script>"),
        ("", ""),
    ],
)
def test_a_name_for_people(name: str, words: str) -> None:
    assert title_of(name) == words
    assert title_of(words) == words, "said twice it is the same"


def test_a_sentence_begins_with_a_capital_and_keeps_the_others() -> None:
    assert [sentence(words) for words in ("kernel SHAP", "iALS", "")] == ["Kernel SHAP", "iALS", ""]
