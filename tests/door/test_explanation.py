"""An explanation by itself: what its table, its check and its faces say, against values computed by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

import xrec
from xrec.door import Explanation, ExternalModel
from xrec.errors import SettingError
from xrec.explain.explainer import Answer, Explainer

IDS = ["a", "b", "c", "t", "s"]
#: what each item adds to the score of t; a and b replace each other: together they add no more than the larger
OWN = {"a": 2.0, "b": 1.5, "c": -1.0}


def scores(histories: list[list[str]]) -> np.ndarray:
    rows = []
    for history in histories:
        both = max((OWN[i] for i in history if i in ("a", "b")), default=0.0)
        rows.append([0.0, 0.0, 0.0, 0.5 + both + OWN["c"] * ("c" in history), 1.0])
    return np.array(rows)


@pytest.fixture
def model() -> ExternalModel:
    return xrec.external(scores, IDS, item_names={"a": "  ", "b": "<script>alert(1)</script>", "c": "$c$ & co"})


class Given(Explainer):
    """Values as given, with errors and a set."""

    def __init__(self, values: Sequence[float], errors: Sequence[float] | None = None, chosen=None) -> None:
        self.given, self.errors, self.chosen = values, errors, chosen

    def values(self, game, random):
        row = [np.array([x]) if x is not None else None for x in (self.given, self.errors, self.chosen)]
        return Answer(*row)


def test_table_is_sorted_by_support_and_holds_what_the_explainer_knows(model: ExternalModel) -> None:
    e = model.explain(["c", "a", "b"], "t", Given([-1, 2, 1.5], [0.1, 0.2, 0.3], [0, 1, 0]))
    table = e.table()
    assert table["player"].to_list() == ["a", "b", "c"]
    assert table["name"].to_list() == ["a", "<script>alert(1)</script>", "$c$ & co"]
    assert table["value"].to_list() == [2, 1.5, -1]
    assert table["standard_error"].to_list() == [0.2, 0.3, 0.1]
    assert table["selected"].to_list() == [True, False, False]
    assert table["age"].to_list() == [2, 1, 3]
    assert e.standard_errors is not None and e.standard_errors.tolist() == [0.1, 0.2, 0.3]
    assert e.selected is not None and e.selected.tolist() == [False, True, False]
    assert (e.f_x, e.f_empty, e.user[:7], e.item, e.explainer) == (1.5, 0.5, "history", "t", "Given")
    assert e.outcome is None
    left = model.explain(["c", "a", "b"], "t", "leave_one_out_set", k=1)
    assert left.outcome in ("smallest", "found", "stays", "not_found") and left.selected is not None
    bare = model.explain(["c", "a", "b"], "t", Given([1, 2, 3]))
    assert bare.standard_errors is None and bare.selected is None
    assert bare.table()["standard_error"].null_count() == bare.table()["selected"].null_count() == 3


def test_check_holds_predictions_against_what_the_model_says(model: ExternalModel) -> None:
    """f(x) = .5 + 2 - 1 = 1.5; without a: b is left, 1.0; without a and b: -.5; without all: .5. Item s scores 1."""
    e = model.explain(["a", "b", "c"], "t", Given([2, 1.5, -1]))
    assert e.check().rows() == [
        ("a", "a", 2.0, 0.5, 1, 2.0, 0.5, 1),
        ("b", "<script>alert(1)</script>", 1.5, 0.0, 1, 3.5, 2.0, 2),
        ("c", "$c$ & co", -1.0, -1.0, 1, 2.5, 1.0, 2),
    ]
    assert e.check(1).height == 1
    for call in (lambda: e.check(0), lambda: e.plot(n=0)):
        with pytest.raises(SettingError, match="n must be a whole number of at least 1, got 0"):
            call()


def test_shapley_values_and_effects_differ_where_items_replace_each_other(model: ExternalModel) -> None:
    e = model.explain(["a", "b", "c"], "t", "kernel_shap", budget=64)
    np.testing.assert_allclose(e.values, [1.25, 0.75, -1.0], atol=1e-9)  # half of b's 1.5 each, and .5 for a alone
    check = e.check(2)
    np.testing.assert_allclose(check["predicted_together"], [1.25, 2.0], atol=1e-9)
    np.testing.assert_allclose(check["real_together"], [0.5, 2.0], atol=1e-9)


def test_notebooks_and_terminals_are_shown_what_names_hold_as_text(model: ExternalModel) -> None:
    e = model.explain(["a", "b", "c"], "t", "leave_one_out", versus="s")
    html = e._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert html.count("data:image/png;base64,") == 2, "bars and waterfall"
    assert e.title == "Why t and not s for this history? Leave-one-out"
    assert "f(x) 0.5, f(empty) -0.5" in repr(e)


def test_fidelity_numbers_cases_and_keeps_explanations_apart(model: ExternalModel) -> None:
    one = model.explain(["a", "b", "c"], "t", "leave_one_out")
    two = model.explain(["a", "c"], "t", "leave_one_out")
    three = model.explain(["a", "b", "c"], "t", "permutation_shap")
    frame = xrec.fidelity([one, two, three], ["score", "removal"])
    assert frame.columns == ["case", "model", "user", "item", "explainer", "metric", "k", "direction", "value"]
    assert frame.select("case", "explainer").unique(maintain_order=True).rows() == [
        (0, "leave_one_out"), (1, "leave_one_out"), (0, "permutation_shap"),
    ]  # fmt: skip
    assert set(frame["metric"]) == {"deletion", "insertion", "cdcg", "pos_at_k", "neg_at_k"}
    assert sorted(frame.filter(pl.col("metric") == "pos_at_k")["k"].unique()) == [1, 5, 10, 20, 50, 100]
    # leave-one-out: a .5, b 0, c -1. Without a: 1.0; without a and b: -.5. Their mean, over 10 ... 90 %: sizes 1 and 2
    deletion = frame.filter((pl.col("metric") == "deletion") & (pl.col("case") == 0))
    assert deletion["value"].to_list() == [0.25, 0.25]
    # case 1: without a it is -.5
    assert frame.filter((pl.col("metric") == "deletion") & (pl.col("case") == 1))["value"].to_list() == [-0.5]
    assert xrec.fidelity(one)["explainer"].unique().to_list() == ["leave_one_out"]
    assert frame["model"].unique().to_list() == ["scores"]


def test_a_reference_beside_others_gives_their_removal_gain(model: ExternalModel) -> None:
    chance = model.explain(["a", "b", "c"], "t", "random", n_draws=200)
    one = model.explain(["a", "b", "c"], "t", "leave_one_out")
    frame = xrec.fidelity([chance, one])
    deletion = dict(frame.filter(pl.col("metric") == "deletion").select("explainer", "value").iter_rows())
    gain = frame.filter(pl.col("metric") == "removal_gain")
    assert gain["explainer"].to_list() == ["leave_one_out"] and gain["direction"].to_list() == ["higher"]
    assert gain["value"][0] == pytest.approx((deletion["random"] - deletion["leave_one_out"]) / 1.0)
    # all orders of three alike: without 1: (1, 1.5, 2.5) / 3; without 2: (-.5, 2.5, 2) / 3
    assert deletion["random"] == pytest.approx((5 / 3 + 4 / 3) / 2, abs=0.15)


def test_fidelity_says_what_it_takes(model: ExternalModel) -> None:
    e = model.explain(["a"], "t", "leave_one_out")
    assert isinstance(e, Explanation)
    with pytest.raises(SettingError, match="no explanations"):
        xrec.fidelity([])
    with pytest.raises(SettingError, match="fidelity: got str, takes explanations"):
        xrec.fidelity([e, "x"])  # type: ignore[list-item]
    assert set(xrec.fidelity(e, "axiomatic")["metric"]) <= {"sparsity", "completeness_error"}
    with pytest.raises(ValueError, match=r"fidelity: got 'scores', takes axiomatic, .*did you mean 'score'"):
        xrec.fidelity([e], ["scores"])
