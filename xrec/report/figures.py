"""The figures of a run and of a study, drawn from saved results; `xrec.report.plot` says how they look."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from xrec.report.cells import summarise
from xrec.report.errors import ReportError
from xrec.report.fidelity import BLOCKS, CaseGroup, fidelity_setting, fidelity_table
from xrec.report.labels import Ends, label_ends, label_points, seen, tied, wrapped
from xrec.report.metrics import label
from xrec.report.plot import GRID, MUTED, PAGE, SERIES, arrange, looks, new_figure, padded, settle, style
from xrec.report.render import clean
from xrec.rundir.study import Study
from xrec.rundir.table import Results
from xrec.words import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

_PROMISES = {"higher": "higher is better", "lower": "lower is better"}
#: how dark the bands of curves that tie are together
_BAND = 0.2
#: side by side
_FOREST_PANELS = 4


def removal_curves(results: Results, cases: CaseGroup, **setting: str | None) -> Figure | None:
    """Deletion and insertion curves of every explainer with 95 % bootstrap bands over users; None without such rows.

    x: share of the history that is removed (or kept), most supportive first; y: the score, normalised per case by
    f(x) - f(empty). The setting (part, model, masker, players, output) is `fidelity_setting`'s. Explainers whose curves
    cannot be told apart share a label.
    """
    rows, _ = fidelity_setting(results, cases, **setting)
    curves = rows.filter((pl.col("variant") == "curve") & pl.col("explainer").is_not_null())
    if curves.is_empty():
        return None
    found = summarise(curves, ["metric", "explainer", "step"])
    styles = looks(dict(curves.select("explainer", "role").unique().iter_rows()))
    shown = results.order(found["metric"].to_list())
    n_rows = -(-len(shown) // 2)
    # Room for every explainer's words at the side, should no two of them tie.
    n_lines = sum(1 + wrapped([name]).count("\n") for name in styles)
    with style():
        figure = new_figure(7.2, max(2.6, 0.145 * n_lines + 0.8) * n_rows, between=0.07)
        drawn = []
        for number, name in enumerate(shown, start=1):
            axes = figure.add_subplot(n_rows, 2, number)
            metric = results.metric(name)
            drawn.append((axes, *_removal_panel(axes, found.filter(pl.col("metric") == name), styles)))
            axes.set_title(f"{metric.label} ({_PROMISES[metric.direction]})" if metric.direction else metric.label)
            # What should fall is measured while items go, what should rise while they come.
            axes.set_xlabel(f"share of the history {'removed' if metric.direction == 'lower' else 'kept'}")
            axes.set_ylabel("score, normalised\n0: empty history, 1: whole")
        arrange(figure)
        panels = [Ends(axes, means, tied(means, seen(axes))) for axes, means, _ in drawn]
        for panel, (_, _, bands) in zip(panels, drawn, strict=True):
            _lighten(panel, bands)
        label_ends(figure, panels, styles)
        settle(figure)
    return figure


def fidelity_forest(results: Results, cases: CaseGroup, **setting: str | None) -> Figure | None:
    """Mean and 95 % interval of every explainer, a panel per normalised score, the reference as a broken line; None
    without rows."""
    table = fidelity_table(results, cases, variants=("normalised",), cost=False, **setting)
    if table.is_empty():
        return None
    columns = table["column"].unique(maintain_order=True).to_list()
    names = table["name"].unique(maintain_order=True).to_list()
    words = [wrapped([name]) for name in names]
    across = min(_FOREST_PANELS, len(columns))
    down = -(-len(columns) // across)
    row_height = 0.06 + 0.13 * max(1 + word.count("\n") for word in words)
    with style():
        figure = new_figure(7.2, (0.75 + row_height * len(names)) * down)
        for number, column in enumerate(columns):
            axes = figure.add_subplot(down, across, number + 1)
            _forest_panel(axes, results, table.filter(pl.col("column") == column), names)
            first = number % across == 0
            axes.set_yticks(range(len(names)), words if first else [""] * len(names))
            axes.set_ylabel("explainer" if first else "")
            axes.set_xlabel("share of f(x) − f(empty)")
        settle(figure)
    return figure


def accuracy_fidelity_front(study: Study) -> Figure:
    """Every finished trial by its first two objectives; the front in colour, joined, its trials numbered.

    Raises:
        ReportError: the study has fewer than two objectives, so there is no front.
    """
    if len(study.objectives) < 2:
        raise ReportError(
            f"study {study.name} has the single objective {study.objectives[0]!r}: there is no front to draw"
        )
    across, up = study.objectives[:2]
    on_front = {int(trial["number"]): trial["values"] for trial in study.front}
    front = sorted(
        ((float(v[across]), float(v[up]), number) for number, v in on_front.items()), key=lambda point: point[:2]
    )
    rest = [(v[across], v[up]) for number, v in study.trials.items() if number not in on_front]
    with style():
        figure = new_figure(4.4, 3.2)
        axes = figure.add_subplot()
        axes.grid(visible=True, axis="both")
        if rest:
            axes.scatter(*zip(*rest, strict=True), s=18, facecolors="none", edgecolors=MUTED, linewidths=0.9)
        # Stairs, not chords: between two trials nothing better than the worse of them has been reached.
        stairs = "steps-post" if study.directions[0] == "minimize" else "steps-pre"
        reached = {"color": SERIES[0], "linewidth": 1.0, "marker": "o", "markersize": 5}
        axes.plot([x for x, _, _ in front], [y for _, y, _ in front], drawstyle=stairs, **reached)
        axes.set_xlabel(_objective_words(study, 0))
        axes.set_ylabel(_objective_words(study, 1))
        axes.set_title(f"{len(front)} on the front (numbered), {len(rest)} other trials")
        axes.set_xlim(*padded([x for x, _, _ in front] + [x for x, _ in rest]))
        axes.set_ylim(*padded([y for _, y, _ in front] + [y for _, y in rest], 0.09))
        axes.locator_params(nbins=6)
        arrange(figure)
        label_points(axes, [(x, y, str(number)) for x, y, number in front], SERIES[0])
        settle(figure)
    return figure


def _removal_panel(
    axes: Axes, found: pl.DataFrame, styles: dict[str, dict[str, Any]]
) -> tuple[dict[str, np.ndarray], dict[str, PolyCollection]]:
    """Draw curves and bands, limits final; the means, and the bands."""
    means, bands = {}, {}
    for name in sorted(found["explainer"].unique().to_list()):
        curve = found.filter(pl.col("explainer") == name).sort("step")
        x, means[name] = curve["step"].to_numpy(), curve["value"].to_numpy()
        low, high = (curve[end].fill_null(curve["value"]).to_numpy() for end in ("low", "high"))
        bands[name] = axes.fill_between(x, low, high, color=styles[name]["color"], alpha=_BAND, linewidth=0)
        axes.plot(x, means[name], **styles[name])
    steps = found["step"]
    axes.set_xlim(float(steps.min()), float(steps.max()))  # pyright: ignore[reportArgumentType]
    axes.set_ylim(*axes.get_ylim())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xticks([0.1, 0.3, 0.5, 0.7, 0.9])
    axes.locator_params(axis="y", nbins=6)  # a number that does not change while the panels are laid out
    return means, bands


def _lighten(panel: Ends, bands: dict[str, PolyCollection]) -> None:
    """Bands that lie upon each other are together as dark as one alone."""
    for group in panel.groups:
        for name in group:
            bands[name].set_alpha(1 - (1 - _BAND) ** (1 / len(group)))


def _forest_panel(axes: Axes, results: Results, cells: pl.DataFrame, names: list[str]) -> None:
    metric = results.metric(cells["metric"][0])
    for cell in cells.iter_rows(named=True):
        y = names.index(cell["name"])
        control = cell["block"] != BLOCKS["explainer"]
        colour = MUTED if control else SERIES[0]
        if cell["low"] is not None:
            axes.plot([cell["low"], cell["high"]], [y, y], color=colour, linewidth=1.3)
        axes.plot(
            [cell["value"]], [y], marker="o", markersize=4, color=colour, markerfacecolor=PAGE if control else colour
        )
        if cell["name"] == results.reference:
            axes.axvline(cell["value"], color=MUTED, linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    arrow = {"higher": " ↑", "lower": " ↓"}.get(metric.direction or "", "")
    column = [cells[name][0] for name in ("variant", "k", "step")]
    axes.set_title(label(metric, *column).replace(", normalised", "\n(normalised)") + arrow)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    for y in range(len(names)):
        axes.axhline(y, color=GRID, linewidth=0.4, zorder=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)


def _objective_words(study: Study, index: int) -> str:
    arrow = {"maximize": "higher is better", "minimize": "lower is better"}.get(study.directions[index], "")
    words = title_of(study.objectives[index])
    return textwrap.fill(clean(f"{words} ({arrow})" if arrow else words), 42)
