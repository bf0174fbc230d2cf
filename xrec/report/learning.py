"""The figure of a training: losses by step, validation by epoch, the chosen epoch marked."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xrec.report.plot import INK, PAGE, SERIES, new_figure, settle, style
from xrec.report.render import clean
from xrec.words import sentence, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: (step, epoch where it was logged, value)
Points = list[tuple[int, int | None, float]]
_COLUMNS = 3


class Panel(NamedTuple):
    """One curve: what it is of, its quantity, and its points."""

    title: str
    quantity: str
    points: Points


def learning_curves(log: list[dict[str, Any]], best_epoch: int | None = None) -> Figure | None:
    """Weighted loss terms, their total and the discriminator's own loss against the step; validation metrics against
    the epoch that they were measured after.

    One small panel each, for their scales differ by orders. Losses: thin as logged, thick the mean of each epoch.

    Args:
        log: the lines of metrics.jsonl.
        best_epoch: the one whose weights were kept: a ring with its value in words.

    Returns:
        The figure; None when nothing was logged.
    """
    losses, validation = _loss_panels(log), _validation_panels(log)
    n_panels = len(losses) + len(validation)
    if not n_panels:
        return None
    n_columns = min(_COLUMNS, n_panels)
    n_rows = -(-n_panels // n_columns)
    with style():
        figure = new_figure(2.4 * n_columns, 1.8 * n_rows, between=0.07)
        for number, panel in enumerate(losses + validation, start=1):
            axes = figure.add_subplot(n_rows, n_columns, number)
            axes.set_title(clean(sentence(panel.title)))
            axes.set_ylabel(clean(panel.quantity))
            if number <= len(losses):
                _loss_curve(axes, panel.points)
            else:
                _validation_curve(axes, panel.points, best_epoch)
        settle(figure)
    return figure


def switched_off(log: list[dict[str, Any]]) -> list[str]:
    """Loss terms that had weight 0 and were not computed."""
    off = "loss/off/"
    return sorted(
        {key.removeprefix(off) for entry in log for key, value in entry.items() if key.startswith(off) and value}
    )


def _points(log: list[dict[str, Any]], key: str) -> Points:
    """(step, epoch, value) wherever the key was logged as a finite number."""
    return [
        (entry["step"], entry.get("epoch"), float(entry[key]))
        for entry in log
        if isinstance(entry.get(key), int | float) and np.isfinite(entry[key])
    ]


def _keys(log: list[dict[str, Any]], prefix: str) -> list[str]:
    return list(dict.fromkeys(key for entry in log for key in entry if key.startswith(prefix)))


def _loss_panels(log: list[dict[str, Any]]) -> list[Panel]:
    off, weighted = set(switched_off(log)), "loss/weighted/"
    named = [("loss/total", "all terms")]
    named += [(key, term) for key in _keys(log, weighted) if (term := key.removeprefix(weighted)) not in off]
    panels = [Panel(title_of(title), "loss, weighted", _points(log, key)) for key, title in named]
    panels.append(Panel("discriminator's own loss", "loss", _points(log, "discriminator_loss")))
    return [panel for panel in panels if panel.points]


def _validation_panels(log: list[dict[str, Any]]) -> list[Panel]:
    """A panel per validation metric and group, for the groups' levels differ too."""
    panels = []
    for key in _keys(log, "validation/"):
        metric, *group = key.split("/")[1:]
        title = ", ".join(["validation", *map(title_of, group)])
        panels.append(Panel(title, title_of(metric), _points(log, key)))
    return [panel for panel in panels if panel.points]


def _loss_curve(axes: Axes, points: Points) -> None:
    means = _epoch_means(points)
    if len(means) < len(points):
        axes.plot([p[0] for p in points], [p[2] for p in points], color=SERIES[0], linewidth=0.6, alpha=0.4)
    axes.plot([p[0] for p in means], [p[1] for p in means], **_dotted(len(means)))
    axes.set_xlabel("training step")
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


def _validation_curve(axes: Axes, points: Points, best_epoch: int | None) -> None:
    """Against the epoch; against the step where no epoch was logged."""
    by_epoch = {epoch: value for _, epoch, value in points if epoch is not None}
    if len(by_epoch) == len(points):
        axes.plot(list(by_epoch), list(by_epoch.values()), **_dotted(len(by_epoch)))
        axes.set_xlabel("epoch")
    else:
        axes.plot([step for step, _, _ in points], [value for _, _, value in points], **_dotted(len(points)))
        axes.set_xlabel("training step")
    axes.margins(x=0.08, y=0.12)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.locator_params(axis="y", nbins=5)
    if best_epoch in by_epoch:
        _mark_best(axes, best_epoch, by_epoch[best_epoch])


def _mark_best(axes: Axes, epoch: int, value: float) -> None:
    """A ring around the chosen epoch, and its value above it, within the panel."""
    axes.plot([epoch], [value], marker="o", markersize=7.5, markerfacecolor="none", color=SERIES[1])
    low, high = axes.get_ylim()
    axes.set_ylim(low, max(high, value + 0.28 * (high - low)))
    left, right = axes.get_xlim()
    place = (epoch - left) / (right - left)
    axes.annotate(
        f"kept: epoch {epoch}, {value:.4f}",
        (epoch, value),
        xytext=(0, 6.5),
        textcoords="offset points",
        # The words begin, end or are centred at the ring, whichever keeps them within the panel.
        ha="left" if place < 0.35 else "right" if place > 0.65 else "center",
        va="bottom",
        fontsize=7.5,
        color=INK,
        bbox={"facecolor": PAGE, "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
    )


def _dotted(n_points: int) -> dict[str, Any]:
    """A line with its points, unless they are too many to be told apart."""
    return {"color": SERIES[0], "marker": "o" if n_points <= 40 else "", "markersize": 2.6}
