"""The figures of a run and of a study, drawn from saved results; `xrec.report.plot` says how they look."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from xrec.report.cells import summarise
from xrec.report.errors import ReportError
from xrec.report.fidelity import BLOCKS, CaseGroup, fidelity_setting, fidelity_table
from xrec.report.metrics import label, title_of
from xrec.report.plot import GRID, MUTED, PAGE, SERIES, label_ends, looks, new_figure, padded, style
from xrec.report.render import clean
from xrec.rundir.study import Study
from xrec.rundir.table import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PROMISES = {"higher": "higher is better", "lower": "lower is better"}


def learning_curves(metrics: list[dict[str, Any]]) -> Figure | None:
    """Weighted loss terms, their total, the discriminator's own loss and the validation metrics against the step.

    One small panel each, for their scales differ by orders. Thin: as logged; thick: mean of each epoch.

    Args:
        metrics: the entries of metrics.jsonl (`read_metrics`).

    Returns:
        The figure; None when nothing was logged.
    """
    panels = _loss_panels(metrics) + _validation_panels(metrics)
    if not panels:
        return None
    n_columns = min(3, len(panels))
    n_rows = -(-len(panels) // n_columns)
    with style():
        figure = new_figure(7.2, 1.75 * n_rows + 0.25)
        for number, (title, points) in enumerate(panels):
            axes = figure.add_subplot(n_rows, n_columns, number + 1)
            _curve_panel(axes, title, points)
            if number >= len(panels) - n_columns:
                axes.set_xlabel("training step")
        figure.subplots_adjust(
            left=0.08, right=0.99, top=1 - 0.3 / (1.75 * n_rows), bottom=0.45 / (1.75 * n_rows), wspace=0.34, hspace=0.5
        )
    return figure


def switched_off(metrics: list[dict[str, Any]]) -> list[str]:
    """Loss terms that had weight 0 and were not computed."""
    return sorted(
        {
            key.removeprefix("loss/off/")
            for entry in metrics
            for key, value in entry.items()
            if key.startswith("loss/off/") and value
        }
    )


def removal_curves(results: Results, cases: CaseGroup, **setting: str | None) -> Figure | None:
    """Deletion and insertion curves of every explainer with 95 % bootstrap bands over users; None without such rows.

    x: share of the history that is removed (or kept), most supportive first; y: the score, normalised per case by
    f(x) - f(empty). The setting (part, model, masker, players, output) is `fidelity_setting`'s.
    """
    rows, _ = fidelity_setting(results, cases, **setting)
    curves = rows.filter((pl.col("variant") == "curve") & pl.col("explainer").is_not_null())
    if curves.is_empty():
        return None
    found = summarise(curves, ["metric", "explainer", "step"])
    roles = dict(curves.select("explainer", "role").unique().iter_rows())
    styles = looks(roles)
    shown = results.order(found["metric"].to_list())
    with style():
        figure = new_figure(7.2, 2.9)
        figure.subplots_adjust(left=0.075, right=0.845, top=0.9, bottom=0.16, wspace=0.78)
        for number, name in enumerate(shown):
            metric = results.metric(name)
            axes = figure.add_subplot(1, max(2, len(shown)), number + 1)
            _removal_panel(axes, found.filter(pl.col("metric") == name), styles)
            axes.set_title(f"{metric.label} ({_PROMISES[metric.direction]})" if metric.direction else metric.label)
            # What should fall is measured while items go, what should rise while they come.
            axes.set_xlabel(f"share of the history {'removed' if metric.direction == 'lower' else 'kept'}")
            if number == 0:
                axes.set_ylabel("normalised score")
    return figure


def fidelity_forest(results: Results, cases: CaseGroup, **setting: str | None) -> Figure | None:
    """Mean and 95 % interval of every explainer, a panel per normalised score, random as a broken line; None without
    rows."""
    table = fidelity_table(results, cases, variants=("normalised",), cost=False, **setting)
    if table.is_empty():
        return None
    columns = table["column"].unique(maintain_order=True).to_list()
    rows = table["row"].unique(maintain_order=True).to_list()
    with style():
        figure = new_figure(7.2, 0.75 + 0.19 * len(rows))
        figure.subplots_adjust(
            left=0.17, right=0.99, top=1 - 0.3 / figure.get_figheight(), bottom=0.3 / figure.get_figheight(), wspace=0.1
        )
        for number, column in enumerate(columns):
            axes = figure.add_subplot(1, len(columns), number + 1)
            _forest_panel(axes, results, table.filter(pl.col("column") == column), rows)
            axes.set_yticks(
                range(len(rows)), [clean(title_of(row)) for row in rows] if number == 0 else [""] * len(rows)
            )
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
        figure.subplots_adjust(left=0.16, right=0.97, top=0.9, bottom=0.15)
        axes.grid(visible=True, axis="both")
        if rest:
            axes.scatter(*zip(*rest, strict=True), s=18, facecolors="none", edgecolors=MUTED, linewidths=0.9)
        # Stairs, not chords: between two trials nothing better than the worse of them has been reached.
        stairs = "steps-post" if study.directions[0] == "minimize" else "steps-pre"
        reached = {"color": SERIES[0], "linewidth": 1.0, "marker": "o", "markersize": 5}
        axes.plot([x for x, _, _ in front], [y for _, y, _ in front], drawstyle=stairs, **reached)
        for x, y, number in front:
            axes.annotate(str(number), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7.5, color=SERIES[0])
        axes.set_xlabel(_objective_words(study, 0))
        axes.set_ylabel(_objective_words(study, 1))
        axes.set_title(f"{len(front)} on the front (numbered), {len(rest)} other trials")
        axes.set_xlim(*padded([x for x, _, _ in front] + [x for x, _ in rest]))
        axes.set_ylim(*padded([y for _, y, _ in front] + [y for _, y in rest], 0.09))
        axes.locator_params(nbins=6)
    return figure


#: (step, epoch where it was logged, value)
Points = list[tuple[int, int | None, float]]


def _points(metrics: list[dict[str, Any]], key: str) -> Points:
    """(step, epoch, value) wherever the key was logged as a finite number."""
    return [
        (entry["step"], entry.get("epoch"), float(entry[key]))
        for entry in metrics
        if isinstance(entry.get(key), int | float) and np.isfinite(entry[key])
    ]


def _keys(metrics: list[dict[str, Any]], prefix: str) -> list[str]:
    return list(dict.fromkeys(key for entry in metrics for key in entry if key.startswith(prefix)))


def _loss_panels(metrics: list[dict[str, Any]]) -> list[tuple[str, Points]]:
    off = set(switched_off(metrics))
    named = [("loss/total", "loss, total")]
    named += [
        (key, f"loss, {title_of(term)} (weighted)")
        for key in _keys(metrics, "loss/weighted/")
        if (term := key.removeprefix("loss/weighted/")) not in off
    ]
    named.append(("discriminator_loss", "discriminator's own loss"))
    return [(title, points) for key, title in named if (points := _points(metrics, key))]


def _validation_panels(metrics: list[dict[str, Any]]) -> list[tuple[str, Points]]:
    """A panel per validation metric and group, for the groups' levels differ too."""
    keys = _keys(metrics, "validation/")
    return [(_metric_words(key), points) for key in keys if (points := _points(metrics, key))]


def _metric_words(key: str) -> str:
    """'validation/ndcg_at_10/new' and 'validation_ndcg_at_10_new' both become 'validation NDCG@10 new'."""
    return re.sub(r"(?i)\bndcg\b", "NDCG", title_of(key.replace("/", " ").replace("_at_", "@"))).replace(
        "NDCG at ", "NDCG@"
    )


def _curve_panel(axes: Axes, title: str, points: Points) -> None:
    means = _epoch_means(points)
    if len(means) < len(points):
        axes.plot([p[0] for p in points], [p[2] for p in points], color=SERIES[0], linewidth=0.6, alpha=0.4)
    marker = "o" if len(means) <= 40 else ""
    axes.plot([p[0] for p in means], [p[1] for p in means], color=SERIES[0], marker=marker, markersize=2.6)
    axes.set_title(clean(title))
    axes.margins(x=0.03)
    axes.locator_params(nbins=5)


def _epoch_means(points: Points) -> list[tuple[float, float]]:
    """(mean step, mean value) of every epoch; the points themselves where no epoch was logged."""
    if any(epoch is None for _, epoch, _ in points):
        return [(step, value) for step, _, value in points]
    means = []
    for _, grouped in groupby(points, key=lambda point: point[1]):
        group = list(grouped)
        means.append((float(np.mean([p[0] for p in group])), float(np.mean([p[2] for p in group]))))
    return means


def _removal_panel(axes: Axes, found: pl.DataFrame, styles: dict[str, dict[str, Any]]) -> None:
    ends = {}
    for name in sorted(found["explainer"].unique().to_list()):
        curve = found.filter(pl.col("explainer") == name).sort("step")
        x, mean = curve["step"].to_numpy(), curve["value"].to_numpy()
        low, high = (curve[end].fill_null(curve["value"]).to_numpy() for end in ("low", "high"))
        axes.fill_between(x, low, high, color=styles[name]["color"], alpha=0.13, linewidth=0)
        axes.plot(x, mean, **styles[name])
        ends[name] = float(mean[-1])
    steps = found["step"]
    axes.set_xlim(float(steps.min()), float(steps.max()))  # pyright: ignore[reportArgumentType]
    axes.set_ylim(*axes.get_ylim())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xticks([0.1, 0.3, 0.5, 0.7, 0.9])
    label_ends(axes, ends, float(steps.max()), styles)  # pyright: ignore[reportArgumentType]


def _forest_panel(axes: Axes, results: Results, cells: pl.DataFrame, rows: list[str]) -> None:
    metric = results.metric(cells["metric"][0])
    for cell in cells.iter_rows(named=True):
        y = rows.index(cell["row"])
        control = cell["block"] != BLOCKS["explainer"]
        colour = MUTED if control else SERIES[0]
        if cell["low"] is not None:
            axes.plot([cell["low"], cell["high"]], [y, y], color=colour, linewidth=1.3)
        axes.plot(
            [cell["value"]], [y], marker="o", markersize=4, color=colour, markerfacecolor=PAGE if control else colour
        )
        if cell["row"] == results.reference:
            axes.axvline(cell["value"], color=MUTED, linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    arrow = {"higher": " ↑", "lower": " ↓"}.get(metric.direction or "", "")
    column = [cells[name][0] for name in ("variant", "k", "step")]
    axes.set_title(label(metric, *column).replace(", normalised", "\n(normalised)") + arrow)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    for y in range(len(rows)):
        axes.axhline(y, color=GRID, linewidth=0.4, zorder=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)


def _objective_words(study: Study, index: int) -> str:
    arrow = {"maximize": "higher is better", "minimize": "lower is better"}.get(study.directions[index], "")
    words = _metric_words(study.objectives[index])
    return clean(f"{words} ({arrow})" if arrow else words)
