"""Figures: the same bytes twice, the numbers they are given, nothing where there is nothing."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from tests.report import synthetic
from xrec.report.errors import ReportError
from xrec.report.fidelity import CaseGroup, fidelity_table
from xrec.report.figures import accuracy_fidelity_front, fidelity_forest, removal_curves
from xrec.report.plot import CSS, SERIES, figure_svg, looks, new_figure, save_figure, style
from xrec.rundir.study import Study, read_study
from xrec.rundir.table import Results
from xrec.words import title_of

NEW = CaseGroup("new")


def test_removal_curves_draw_the_means(results: Results) -> None:
    figure = removal_curves(results, NEW)
    assert figure is not None
    deletion = figure.axes[0]
    curves = [line.get_ydata() for line in deletion.lines if len(np.asarray(line.get_xdata())) == 9]
    assert len(curves) == len(synthetic.EXPLAINERS)
    rows = results.frame.filter(
        (pl.col("metric") == "deletion") & (pl.col("variant") == "curve") & (pl.col("group") == "new")
    )
    for name, curve in zip(sorted(synthetic.EXPLAINERS), curves, strict=True):
        means = rows.filter(pl.col("explainer") == name).group_by("step").agg(pl.col("value").mean()).sort("step")
        np.testing.assert_allclose(np.asarray(curve), means["value"].to_numpy())
    words = ", ".join(text.get_text().replace("\n", " ") for text in deletion.texts)
    assert sorted(words.split(", ")) == sorted(title_of(name) for name in synthetic.EXPLAINERS)
    assert len(deletion.collections) == len(synthetic.EXPLAINERS), "a band for each"


def test_forest_puts_intervals_where_the_table_has_them(results: Results) -> None:
    figure = fidelity_forest(results, NEW)
    assert figure is not None
    table = fidelity_table(results, NEW, variants=("normalised",), cost=False)
    for axes, name in zip(figure.axes, ("deletion", "insertion"), strict=True):
        bars = [line for line in axes.lines if len(np.asarray(line.get_xdata())) == 2 and line.get_linewidth() == 1.3]
        own = table.filter(pl.col("metric") == name).select("low", "high").to_numpy()
        np.testing.assert_allclose([np.asarray(b.get_xdata()) for b in bars], own)


def test_front(study_directory: Path) -> None:
    figure = accuracy_fidelity_front(read_study(study_directory))
    axes = figure.axes[0]
    (line,) = axes.lines
    assert np.asarray(line.get_xdata()).tolist() == [0.060, 0.065, 0.070]
    assert np.asarray(line.get_ydata()).tolist() == [0.40, 0.35, 0.20]
    assert line.get_drawstyle() == "steps-pre"
    assert [text.get_text() for text in axes.texts] == ["1", "4", "3"]
    assert len(axes.collections[0].get_offsets()) == 2  # pyright: ignore[reportArgumentType]
    assert axes.get_xlabel() == "validation NDCG@10 new (higher is better)"


def test_front_needs_two_objectives() -> None:
    study = Study("s", ["a"], ["maximize"], [], {0: {"a": 1.0}}, [])
    with pytest.raises(ReportError, match="single objective 'a'"):
        accuracy_fidelity_front(study)


@pytest.mark.slow
def test_same_input_same_bytes(results: Results, tmp_path: Path) -> None:
    written = []
    for folder in ("one", "two"):
        figure = removal_curves(results, NEW)
        assert figure is not None
        written.append(save_figure(figure, tmp_path / folder / "removal"))
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()
    pdf, png = written[0]
    assert (pdf.name, png.name) == ("removal.pdf", "removal.png")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert b"CreationDate" not in pdf.read_bytes()
    assert sorted(path.name for path in pdf.parent.iterdir()) == ["removal.pdf", "removal.png"]
    from PIL import Image

    with Image.open(png) as image:
        assert image.info["dpi"][0] == pytest.approx(200, abs=0.1)


def test_a_users_matplotlibrc_changes_nothing(results: Results, tmp_path: Path) -> None:
    import matplotlib

    plain, odd = (fidelity_forest(results, NEW), None)
    assert plain is not None
    first = save_figure(plain, tmp_path / "plain")[1].read_bytes()
    with matplotlib.rc_context({"font.size": 20.0, "axes.facecolor": "red", "lines.linewidth": 9.0}):
        odd = fidelity_forest(results, NEW)
        assert odd is not None
        second = save_figure(odd, tmp_path / "odd")[1].read_bytes()
        assert matplotlib.rcParams["font.size"] == 20.0
    assert first == second


def test_svg_is_safe_themed_and_unique(results: Results) -> None:
    names = {"attention": synthetic.SCRIPT, "additive": "$\\frac{x$"}
    hostile = Results(results.frame.with_columns(pl.col("explainer").replace(names)), results.metrics)
    figure = removal_curves(hostile, NEW)
    assert figure is not None
    svg = str(figure_svg(figure, "removal", 'a "quoted" <label>'))
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'a "quoted" <label>'
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    texts = ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")]
    assert synthetic.SCRIPT in texts
    assert [text for text in texts if text.startswith("$\\frac{x$")]
    ids = re.findall(r'\sid="([^"]*)"', svg)
    assert ids
    assert len(set(ids)) == len(ids)
    assert all(name.startswith("removal-") for name in ids)
    references = set(re.findall(r"url\(#([^)]*)\)", svg)) | set(re.findall(r'href="#([^"]*)"', svg))
    assert references <= set(ids)
    for colour, variable in CSS.items():
        assert colour not in svg, variable
    assert "var(--series-1)" in svg


def test_nothing_to_draw() -> None:
    empty = synthetic.results_of([])
    assert removal_curves(empty, NEW) is None
    assert fidelity_forest(empty, NEW) is None


def test_explainers_look_different() -> None:
    names = [*synthetic.EXPLAINERS, *(f"more_{i}" for i in range(8))]
    styles = looks({name: synthetic.ROLES.get(name, "explainer") for name in names})
    assert len({(look["color"], str(look["linestyle"])) for look in styles.values()}) == len(names)
    assert styles["random"]["color"] not in SERIES


def test_no_global_state() -> None:
    import matplotlib

    # The backend is chosen lazily, by the first look at it.
    before = {name: value for name, value in matplotlib.rcParams.copy().items() if name != "backend"}
    with style():
        new_figure(1, 1)
    after = {name: value for name, value in matplotlib.rcParams.items() if name != "backend"}
    assert after == before
