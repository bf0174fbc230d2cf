"""Words beside curves and points: no two at one place, none outside the figure, one for curves that look the same."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xrec.report.plot import INK, MUTED, arrange
from xrec.report.render import clean
from xrec.words import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

#: one explainer's values, a step each
Curves = Mapping[str, np.ndarray]
#: points of paper within which two lines cannot be told apart: twice their width
_SEEN = 3.0
_SIZE = 7.5
#: characters of a line; a single word may be longer
_LINE, _WORD = 24, 32
#: where lines to the words end and the words begin, in widths of a panel
_LEADER, _WORDS = 1.05, 1.065


class Ends(NamedTuple):
    """What is to be labelled in one panel whose limits are final: its curves, those that tie together."""

    axes: Axes
    curves: Curves
    groups: list[list[str]]


class _Label(NamedTuple):
    """A text, what it stands for, and where that ends."""

    text: Text
    names: list[str]
    ends: list[float]


def wrapped(names: Sequence[str]) -> str:
    """Names for people, separated by commas, in lines that are not too long."""
    lines: list[str] = []
    for name in [*(f"{clean(title_of(name))}," for name in names[:-1]), clean(title_of(names[-1]))]:
        if lines and len(lines[-1]) + 1 + len(name) <= _LINE:
            lines[-1] += f" {name}"
        else:
            lines += in_lines(name).split("\n")
    return "\n".join(lines)


def in_lines(words: str) -> str:
    """Words in lines that are not too long."""
    lines = textwrap.wrap(clean(words), _LINE, break_long_words=False)
    return "\n".join("\n".join(textwrap.wrap(line, _WORD)) for line in lines)


def tied(curves: Curves, close: float) -> list[list[str]]:
    """Names of curves that are nowhere further than `close` from any other of theirs, by where they end."""
    groups: list[list[str]] = []
    for name in sorted(curves, key=lambda name: (float(curves[name][-1]), name)):
        same = (g for g in groups if all(_apart(curves[name], curves[other]) <= close for other in g))
        group = next(same, None)
        if group is None:
            groups.append([name])
        else:
            group.append(name)
    return [sorted(group) for group in groups]


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max()) if one.shape == other.shape else np.inf


def seen(axes: Axes) -> float:
    """The difference that can be seen in a panel that is laid out, in units of its y axis."""
    low, high = axes.get_ylim()
    return (high - low) * _SEEN / (axes.get_window_extent().height / axes.figure.dpi * 72)


def label_ends(figure: Figure, panels: Sequence[Ends], styles: Mapping[str, dict[str, Any]]) -> None:
    """Write the names of curves beside their right ends, moved apart where they would overlap, a line to each end; one
    label for a group."""
    labels = [_write(panel) for panel in panels]
    arrange(figure)  # the panels become narrower, to make room for the words
    for panel, written in zip(panels, labels, strict=True):
        _place(panel.axes, written, styles)


def _write(panel: Ends) -> list[_Label]:
    """The labels of one panel, halfway up, where no panel has to become lower for them."""
    labels = []
    # Words in ink: the lighter colours carry a line, but not small letters.
    look = {"color": INK, "fontsize": _SIZE, "va": "center", "ha": "left", "clip_on": False}
    for names in panel.groups:
        text = panel.axes.text(_WORDS, float(np.mean(panel.axes.get_ylim())), wrapped(names), **look)
        text.set_transform(panel.axes.get_yaxis_transform())
        labels.append(_Label(text, names, [float(panel.curves[name][-1]) for name in names]))
    return labels


def _place(axes: Axes, labels: list[_Label], styles: Mapping[str, dict[str, Any]]) -> None:
    low, high = axes.get_ylim()
    unit = (high - low) / axes.get_window_extent().height
    heights = [unit * (label.text.get_window_extent().height + 2) for label in labels]
    places = spread([float(np.mean(label.ends)) for label in labels], heights, low, high)
    beside = {"transform": axes.get_yaxis_transform(), "clip_on": False}
    for label, place, height in zip(labels, places, heights, strict=True):
        label.text.set_y(place)
        look = styles[label.names[0]] if len(label.names) == 1 else {"color": MUTED, "linestyle": "-"}
        axes.plot([1.0, _LEADER], [float(np.mean(label.ends)), place], **look, linewidth=0.9, **beside)
        if len(label.names) > 1:
            ends = [place - 0.45 * height, place + 0.45 * height]
            axes.plot([_LEADER, _LEADER], ends, **look, linewidth=0.9, **beside)
    axes.set_ylim(low, high)


def spread(positions: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Centres of labels of these heights, moved apart until none overlap, as little as it takes, within [low, high] if
    they fit.

    Returns:
        Centres in the order given.
    """
    from scipy.optimize import isotonic_regression

    if not positions:
        return []
    order = np.argsort(positions, kind="stable")
    height = np.asarray(heights, dtype=np.float64)[order]
    # Without the heights of those below, labels may meet but not pass: the nearest such places are isotonic.
    below = np.cumsum(height) - height / 2
    starts = isotonic_regression(np.asarray(positions, dtype=np.float64)[order] - below).x
    starts = np.clip(starts, low, max(low, high - float(height.sum())))
    answer = np.empty(len(order))
    answer[order] = starts + below
    return answer.tolist()


def label_points(axes: Axes, points: Sequence[tuple[float, float, str]], color: str) -> None:
    """Write words beside points of a panel that is laid out, each as near as there is room; those that have none are
    left out."""
    room = axes.get_window_extent()
    taken: list[Bbox] = []
    look = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": _SIZE, "color": color}
    for x, y, words in points:
        for offset in _OFFSETS:
            text = axes.annotate(words, (x, y), xytext=offset, **look)
            box = text.get_window_extent()
            within = room.contains(box.x0, box.y0) and room.contains(box.x1, box.y1)
            if within and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


#: in points of paper: to the upper right first, then around, then further away
_OFFSETS = [
    (radius * np.cos(np.radians(angle)), radius * np.sin(np.radians(angle)))
    for radius, angle in product((8, 13, 19, 26, 34), (45, 135, -45, -135, 90, 0, 180, -90))
]
