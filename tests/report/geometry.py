"""Where the words of a figure stand."""

from __future__ import annotations

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def words_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, with its box."""
    figure.draw_without_rendering()
    texts: list[Text] = [*figure.texts]
    for axes in figure.axes:
        texts += [*axes.texts, axes.title, axes._left_title, axes._right_title, axes.xaxis.label, axes.yaxis.label]
        texts += _tick_labels(axes)
    return [(t.get_text(), t.get_window_extent()) for t in texts if t.get_visible() and t.get_text().strip()]


def _tick_labels(axes: Axes) -> list[Text]:
    ticks = [tick for axis in (axes.xaxis, axes.yaxis) for tick in axis._update_ticks()]
    return [label for tick in ticks for label in (tick.label1, tick.label2)]


def assert_words_have_room(figure: Figure) -> None:
    """No text upon another, none beyond the edge, no axis without words."""
    words = words_of(figure)
    page = figure.bbox.padded(1)
    for text, box in words:
        assert page.containsx(box.x0) and page.containsx(box.x1), (text, box, figure.bbox)
        assert page.containsy(box.y0) and page.containsy(box.y1), (text, box, figure.bbox)
    for (one, first), (other, second) in combinations(words, 2):
        assert not first.padded(-0.5).overlaps(second.padded(-0.5)), (one, first, other, second)
    for axes in figure.axes:
        assert axes.get_xlabel()
        beside = axes.get_subplotspec()
        assert axes.get_ylabel() or (beside is not None and not beside.is_first_col())
