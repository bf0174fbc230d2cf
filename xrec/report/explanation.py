"""Drawings of a single explanation: what speaks for an item and what against it, and how the values add up."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xrec.report.plot import INK, MUTED, SERIES, figure_bytes, settle, style
from xrec.report.render import clean, minus
from xrec.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: blue speaks for, vermilion against: apart for every kind of colour blindness, and the sign says it again
FOR, AGAINST = SERIES[0], SERIES[1]
_LONGEST = 44
_HEIGHT = 0.7
_WIDTH = 6.4
#: what values and ends differ by is drawn from this share of the effect on
_VISIBLE = 1e-3

Named = tuple[str, float]


def bars(named: Sequence[Named], errors: Sequence[float] | None, title: str, quantity: str, n: int) -> Figure:
    """Signed horizontal bars of the n weightiest values, heaviest on top, and one for the sum of the others.

    named: (name, value) per player. errors: standard errors of the values, drawn as whiskers of 1.96 of them.
    """
    order, rest = _weightiest(named, n)
    steps = [_Step(*named[i]) for i in order] + _summed(named, rest)
    widths = [0.0] * len(steps) if errors is None else [1.96 * errors[i] for i in order] + [0.0] * bool(rest)
    whiskers = np.nan_to_num(widths)
    with style():
        figure, axes = _panel(len(steps), title, f"value ({quantity})")
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for row, (step, width) in enumerate(zip(steps, whiskers, strict=True)):
            axes.barh(row, step.value, height=_HEIGHT, color=step.colour)
            if width:
                axes.errorbar(step.value, row, xerr=width, color=INK, linewidth=0.8, capsize=2)
        values = np.array([step.value for step in steps])
        _finish(axes, [s.name for s in steps], np.minimum(values - whiskers, 0), np.maximum(values + whiskers, 0))
        _say(axes, steps, np.maximum(values, 0) + whiskers)
        settle(figure)
    return figure


def waterfall(named: Sequence[Named], ends: tuple[float, float], title: str, quantity: str, n: int) -> Figure:
    """From f(empty) to f(x) = `ends`, one step a player, weightiest first; then the others, and what the values do not
    account for, hatched."""
    order, rest = _weightiest(named, n)
    steps = [_Step(*named[i]) for i in order] + _summed(named, rest)
    missing = ends[1] - ends[0] - sum(value for _, value in named)
    if abs(missing) > _VISIBLE * max(abs(ends[1] - ends[0]), *(abs(value) for _, value in named)):
        steps.append(_Step("not in the values", missing, None))
    reached = ends[0] + np.cumsum([0.0, *(step.value for step in steps)])
    digits = _digits(ends)
    names = [
        f"f(empty) = {_short(ends[0], digits)}",
        *(step.name for step in steps),
        f"f(x) = {_short(ends[1], digits)}",
    ]
    with style():
        figure, axes = _panel(len(names), title, quantity)
        for row, (step, at) in enumerate(zip(steps, reached, strict=False), start=1):
            look: dict[str, Any] = (
                {"facecolor": "none", "edgecolor": MUTED, "hatch": "////"} if step.colour is None else {}
            )
            axes.barh(row, step.value, left=at, height=_HEIGHT, color=step.colour or "none", **look)
        for row, at in enumerate(reached):
            axes.plot([at, at], [row, row + 1], color=MUTED, linewidth=0.7, zorder=0)
        axes.plot(ends, [0, len(names) - 1], linestyle="none", marker="D", markersize=4.5, color=INK)
        _finish(axes, names, reached, reached)
        _say(axes, steps, np.maximum(reached[1:], reached[:-1]), first=1)
        settle(figure)
    return figure


class _Step(NamedTuple):
    """A bar. kind: of one player, of the 'rest' of them, or None: of nobody."""

    name: str
    value: float
    kind: str | None = "player"

    @property
    def colour(self) -> str | None:
        if self.kind != "player":
            return MUTED if self.kind == "rest" else None
        return FOR if self.value >= 0 else AGAINST


def _weightiest(named: Sequence[Named], n: int) -> tuple[list[int], list[int]]:
    """Places of the n values of largest size, of equals the first; and of the others. One other is shown by name."""
    order = sorted(range(len(named)), key=lambda i: -abs(named[i][1]))
    return (order, []) if len(order) <= n + 1 else (order[:n], order[n:])


def _panel(n_rows: int, title: str, quantity: str) -> tuple[Figure, Axes]:
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    words = textwrap.fill(clean(title), 82)
    figure = _shown_figure()((_WIDTH, 0.9 + 0.14 * words.count("\n") + 0.24 * n_rows), ConstrainedLayoutEngine())
    axes = figure.add_subplot()
    figure.suptitle(words, x=0.01, ha="left", fontsize=8.5)
    axes.set_xlabel(quantity)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    return figure, axes


def _shown_figure() -> Any:
    """A class of figures that notebooks show by themselves, without pyplot. Made late: matplotlib is slow to import."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def __init__(self, size: tuple[float, float], layout: Any) -> None:
            super().__init__(figsize=size, layout=layout)

        def _repr_png_(self) -> bytes:
            return figure_bytes(self, "png")

    return Shown


def _finish(axes: Axes, names: Sequence[str], lows: np.ndarray, highs: np.ndarray) -> None:
    """Names at the side, the first row on top, and room for numbers on the right of the bars."""
    axes.set_yticks(range(len(names)), [_cut(clean(name)) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    low, high = float(lows.min()), float(highs.max())
    width = (high - low) or max(abs(high), 1.0)
    axes.set_xlim(low - 0.03 * width, high + 0.14 * width)


def _say(axes: Axes, steps: Sequence[_Step], right: np.ndarray, first: int = 0) -> None:
    """Each value, signed, at the right end of its bar."""
    for row, (step, at) in enumerate(zip(steps, right, strict=True), start=first):
        words = f"{'+' if step.value > 0 else ''}{_short(step.value)}"
        axes.annotate(words, (at, row), (4, 0), textcoords="offset points", va="center", fontsize=7, color=INK)


def _summed(named: Sequence[Named], rest: Sequence[int]) -> list[_Step]:
    """One bar for all the others."""
    total = float(sum(named[i][1] for i in rest))
    return [_Step(f"the other {counted(len(rest), 'player')}", total, "rest")] if rest else []


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _short(value: float, digits: int = 3) -> str:
    return minus(f"{value:.{digits}g}")


def _digits(ends: tuple[float, float]) -> int:
    """As many as show three of what the two differ by."""
    apart, largest = abs(ends[1] - ends[0]), max(abs(ends[0]), abs(ends[1]))
    return min(15, 3 + max(0, math.ceil(math.log10(largest / apart)))) if apart > 0 else 3
