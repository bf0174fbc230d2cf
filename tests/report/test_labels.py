"""Words in figures: beside what they name, never upon each other, never outside; one for curves that tie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.geometry import assert_words_have_room, words_of
from tests.report.synthetic import SCRIPT, explained, results_of, row
from xrec.report.fidelity import CaseGroup
from xrec.report.figures import accuracy_fidelity_front, fidelity_forest, removal_curves
from xrec.report.labels import spread, tied, wrapped
from xrec.rundir.study import Study
from xrec.rundir.table import Results

NEW = CaseGroup("new")
STEPS = [step / 10 for step in range(1, 10)]


def curves(**values: list[float] | float) -> Results:
    """Results with a deletion and an insertion curve of every explainer, and normalised scores."""
    rows = []
    for name, value in values.items():
        for metric in ("deletion", "insertion"):
            about = explained("fidelity", "new", name, metric=metric, user="u", item="i")
            curve = value if isinstance(value, list) else [value] * len(STEPS)
            rows += [row(**about, variant="curve", step=s, value=v) for s, v in zip(STEPS, curve, strict=True)]
            rows.append(row(**about, variant="normalised", value=curve[0]))
    return results_of(rows)


def labels(results: Results) -> list[str]:
    """The labels of the first panel, from below."""
    figure = removal_curves(results, NEW)
    assert figure is not None
    ordered = sorted(figure.axes[0].texts, key=lambda text: text.get_position()[1])
    return [text.get_text().replace("\n", " ") for text in ordered]


class TestTies:
    def test_curves_that_tie_share_a_label(self) -> None:
        results = curves(random=1.0, kernel_shap=0.101, permutation_shap=0.1, leave_one_out=0.102, attention=0.6)
        assert labels(results) == ["kernel SHAP, leave-one-out, permutation SHAP", "attention", "random"]

    def test_curves_that_only_end_together_do_not(self) -> None:
        falling, flat = list(np.linspace(1, 0.1, 9)), [0.1] * 9
        assert labels(curves(random=1.0, a=falling, b=flat)) == ["a", "b", "random"]

    def test_all_alike(self) -> None:
        assert labels(curves(a=0.5, b=0.5, c=0.5)) == ["a, b, c"]

    def test_each_is_close_to_each(self) -> None:
        """A chain of small steps is no tie of its ends."""
        chain = {f"e{i}": np.full(9, 0.1 * i) for i in range(4)}
        assert tied(chain, close=0.15) == [["e0", "e1"], ["e2", "e3"]]
        assert tied(chain, close=0.05) == [["e0"], ["e1"], ["e2"], ["e3"]]
        assert tied(chain, close=1.0) == [["e0", "e1", "e2", "e3"]]

    def test_curves_of_other_steps_never_tie(self) -> None:
        assert tied({"a": np.zeros(9), "b": np.zeros(5)}, close=1.0) == [["a"], ["b"]]

    def test_bands_of_curves_that_tie_are_as_dark_as_one(self) -> None:
        figure = removal_curves(curves(a=0.5, b=0.5, c=2.0), NEW)
        assert figure is not None
        one, other, alone = (band.get_alpha() for band in figure.axes[0].collections)
        assert 1 - (1 - one) * (1 - other) == pytest.approx(alone)


class TestRoom:
    @pytest.mark.parametrize("n", [1, 2, 9, 25])
    def test_removal_curves_of_many_explainers(self, n: int) -> None:
        rng = np.random.default_rng(n)
        names = [f"explainer_{'x' * (i % 7)}_no_{i}" for i in range(n)]
        results = curves(**{name: list(np.cumsum(rng.normal(0, 1, 9))) for name in names})
        figure = removal_curves(results, NEW)
        assert figure is not None
        assert_words_have_room(figure)
        assert len(figure.axes[0].texts) == n

    def test_long_and_hostile_names(self) -> None:
        names = (SCRIPT, "x" * 70, "one_two_three_four_five_six_seven_eight_nine_ten", "\x1b[31m", "$\\frac{x$", "_")
        results = curves(**{name: 0.3 * i for i, name in enumerate(names)}, tie_a=0.9, tie_b=0.9001)
        for figure in (removal_curves(results, NEW), fidelity_forest(results, NEW)):
            assert figure is not None
            assert_words_have_room(figure)

    @pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
    def test_at_any_scale(self, scale: float) -> None:
        results = curves(a=[scale * i for i in range(9)], b=[-scale * i for i in range(9)], c=0.0)
        for figure in (removal_curves(results, NEW), fidelity_forest(results, NEW)):
            assert figure is not None
            assert_words_have_room(figure)

    def test_one_metric_alone_and_three(self) -> None:
        both = curves(a=0.1, b=0.2)
        third = both.frame.with_columns(metric=both.frame["metric"].replace({"deletion": "sufficiency"}))
        import polars as pl

        alone = both.where(pl.col("metric") == "deletion")
        three = Results(pl.concat([both.frame, third.unique(maintain_order=True)]), both.metrics)
        for results, n in ((alone, 1), (three, 3)):
            figure = removal_curves(results, NEW)
            assert figure is not None
            assert len(figure.axes) == n
            assert_words_have_room(figure)

    @pytest.mark.parametrize("n", [1, 3, 40])
    def test_the_front(self, n: int) -> None:
        """Trials that lie upon each other, and at the edges."""
        names = ["validation_ndcg_at_10_new", "validation_removal_gain_integrated_gradients"]
        spots = [(0.1 + 0.001 * (i // 4), 0.5 - 0.001 * (i // 4)) for i in range(n)]
        values = {i: dict(zip(names, spot, strict=True)) for i, spot in enumerate(spots)}
        front = [{"number": i, "values": v} for i, v in values.items()]
        figure = accuracy_fidelity_front(Study("s", names, ["maximize", "maximize"], front, values, []))
        assert_words_have_room(figure)
        shown = [text.get_text() for text in figure.axes[0].texts]
        assert shown[:3] == [str(i) for i in range(min(n, 3))]
        assert len(set(shown)) == len(shown) >= min(n, 20)
        assert figure.axes[0].get_ylabel().replace("\n", " ") == (
            "validation removal gain integrated gradients (higher is better)"
        )


def test_the_label_stands_beside_its_curve() -> None:
    figure = removal_curves(curves(a=0.0, b=1.0, c=0.2), NEW)
    assert figure is not None
    axes = figure.axes[0]
    ends = {"a": 0.0, "b": 1.0, "c": 0.2}
    for text, box in words_of(figure):
        if text in ends and box.y0 < axes.get_window_extent().y1 and box.x0 < figure.axes[1].get_window_extent().x0:
            middle = axes.transData.transform((0, ends[text]))[1]
            assert abs((box.y0 + box.y1) / 2 - middle) < 4


def test_names_are_wrapped_between_and_within() -> None:
    assert wrapped(["permutation_shap"]) == "permutation SHAP"
    assert wrapped(["a", "b", "c"]) == "a, b, c"
    assert wrapped(["permutation_shap", "kernel_shap"]) == "permutation SHAP,\nkernel SHAP"
    assert wrapped(["one two three four five six seven"]) == "one two three four five\nsix seven"
    assert max(map(len, wrapped(["y" * 100]).split("\n"))) == 32


class TestSpread:
    def test_labels_move_apart_no_further_than_needed(self) -> None:
        even = [1.0] * 3
        assert spread([], [], 0, 1) == []
        assert spread([0.0, 5.0, 9.0], even, -1, 10) == [0.0, 5.0, 9.0]
        np.testing.assert_allclose(spread([5.0, 5.0, 5.0], even, 0, 10), [4.0, 5.0, 6.0])
        np.testing.assert_allclose(spread([9.9, 9.8], even[:2], 0, 10), [9.5, 8.5])
        np.testing.assert_allclose(spread([0.0, 0.1], even[:2], 0, 10), [0.5, 1.5])
        np.testing.assert_allclose(spread([5.0, 5.0], [3.0, 1.0], 0, 10), [4.0, 6.0])

    @given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 2)), min_size=1, max_size=8))
    def test_none_overlap_and_all_are_within(self, given: list[tuple[float, float]]) -> None:
        positions, heights = (list(values) for values in zip(*given, strict=True))
        high = max(10.0, sum(heights))
        placed = sorted(zip(spread(positions, heights, 0, high), heights, strict=True))
        edges = [edge for centre, height in placed for edge in (centre - height / 2, centre + height / 2)]
        assert min(np.diff(edges)) >= -1e-9
        assert edges[0] >= -1e-9 and edges[-1] <= high + 1e-9
