"""The figure over several seeds: a dot per seed, the mean and its interval, a panel per headline number."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from xrec.report.arm_cells import Column
from xrec.report.cells import only
from xrec.report.fidelity import fidelity_groups
from xrec.report.labels import in_lines
from xrec.report.metrics import label
from xrec.report.plot import GRID, MUTED, PAGE, SERIES, new_figure, settle, style
from xrec.report.render import clean
from xrec.report.repeats import Estimate
from xrec.report.seeds import ranked_rows, ranking_estimate
from xrec.report.seeds_fidelity import GAIN, fidelity_estimate, measured_in
from xrec.report.tables import PRIMARY, group_words
from xrec.rundir.several import Several
from xrec.words import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: whose removal gain is shown where it was measured (protocol: the named explainer of the one-number summary)
_EXPLAINERS = ("permutation_shap",)
_WIDTH = 7.2
#: inches of a panel: its title, a line per arm, its axis
_TITLE, _LINE, _AXIS = 0.36, 0.24, 0.5


class Panel(NamedTuple):
    """One number of every arm that has it."""

    title: str
    quantity: str
    arms: dict[str, Estimate]


def seeds_figure(several: Several) -> Figure | None:
    """NDCG@10 by group of targets, then the removal gain by group of cases: each seed, their mean, its interval.

    The removal gain is permutation SHAP's, or that of the first explainer by name where it was not measured. None when
    nothing was ranked or explained.
    """
    panels = [*_ranking_panels(several), *_gain_panels(several)]
    if not panels:
        return None
    n_columns = 2 if len(panels) in (2, 4) else min(3, len(panels))
    n_rows = -(-len(panels) // n_columns)
    names = [arm.name for arm in several.arms]
    line = max(_LINE, 0.06 + 0.13 * max(1 + in_lines(name).count("\n") for name in names))
    with style():
        figure = new_figure(_WIDTH, n_rows * (_TITLE + line * len(names) + _AXIS))
        for number, panel in enumerate(panels):
            axes = figure.add_subplot(n_rows, n_columns, number + 1)
            _draw(axes, panel, names)
            first = number % n_columns == 0
            axes.set_yticks(range(len(names)), [in_lines(n) for n in names] if first else [""] * len(names))
            axes.set_ylabel("arm" if first else "")
            axes.set_xlabel(panel.quantity)
        settle(figure)
    return figure


def _ranking_panels(several: Several) -> list[Panel]:
    metric, k = PRIMARY
    rows, groups, _ = ranked_rows(several, [metric], None)
    rows = rows.filter(pl.col("main") & (pl.col("k") == k))
    words, panels = label(several.results.metric(metric), k=k), []
    for group in groups:
        of_group = rows.filter(pl.col("group") == group)
        arms = {}
        for arm in several.arms:
            mine = of_group.filter(pl.col("arm") == arm.name)
            if mine.height:
                arms[arm.name] = ranking_estimate(mine, mine["model"][0], Column(metric, None, k, None, ""))
        panels += [Panel(f"{words}, {group_words(group).lower()}", words, arms)] if arms else []
    return panels


def _gain_panels(several: Several) -> list[Panel]:
    column, panels = Column(GAIN, None, None, None, ""), []
    for cases in fidelity_groups(several.results):
        measured = {name: mine.rows for name, mine in measured_in(several, cases, [GAIN]).items()}
        explained = [rows.filter(pl.col("role") == "explainer") for rows in measured.values()]
        if not explained or (all_rows := pl.concat(explained).sort("explainer")).is_empty():
            continue
        explainer = only(all_rows, "explainer", None, _EXPLAINERS) or ""
        mine = {name: rows.filter(pl.col("explainer") == explainer) for name, rows in measured.items()}
        arms = {name: fidelity_estimate(rows, explainer, column) for name, rows in mine.items() if rows.height}
        gain = several.results.metric(GAIN).label
        panels.append(Panel(f"{gain}, {cases.title}\n{title_of(explainer)}", "share of f(x) − f(empty)", arms))
    return panels


def _draw(axes: Axes, panel: Panel, names: list[str]) -> None:
    """A line per arm: hollow dots for the seeds, a full one with its interval for their mean."""
    for y, name in enumerate(names):
        axes.axhline(y, color=GRID, linewidth=0.4, zorder=0)
        if name not in panel.arms:
            continue
        found, colour = panel.arms[name], SERIES[y % len(SERIES)]
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [y, y], color=colour, linewidth=1.3)
        axes.plot([found.value], [y], marker="o", markersize=4.5, color=colour)
        if len(found.by_repetition) > 1:
            seeds = list(found.by_repetition.values())
            hollow = {"marker": "o", "markersize": 3, "color": MUTED, "markerfacecolor": PAGE, "markeredgewidth": 0.8}
            axes.plot(seeds, [y - 0.27] * len(seeds), linestyle="none", **hollow)
    axes.set_title("\n".join(map(clean, panel.title.split("\n"))), fontsize=7.5)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)
