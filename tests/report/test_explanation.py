"""Drawings of an explanation: what is on them, in which order, and that nothing is cut."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from xrec.door.explanation import Explanation
from xrec.errors import SettingError
from xrec.report.explanation import AGAINST, FOR, bars, waterfall
from xrec.report.plot import MUTED, figure_bytes

NAMED = [("small", 0.1), ("large", 2.0), ("against", -1.0), ("other", 0.3), ("tiny", -0.2)]


def labels(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.axes[0].get_yticklabels()]


def numbers(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.axes[0].texts]


def boxes(figure: Figure) -> list[tuple[float, float]]:
    """Where each bar begins, and how far it goes."""
    return [(round(p.get_x(), 9), round(p.get_width(), 9)) for p in figure.axes[0].patches]


def colours(figure: Figure) -> list[str]:
    from matplotlib.colors import to_hex

    return [to_hex(p.get_facecolor()) for p in figure.axes[0].patches]


def test_bars_are_signed_heaviest_on_top_and_the_rest_is_summed() -> None:
    figure = bars(NAMED, None, "Why", "logit", 3)
    assert labels(figure) == ["large", "against", "other", "the other 2 players"]
    assert boxes(figure) == [(0, 2.0), (0, -1.0), (0, 0.3), (0, -0.1)]
    assert colours(figure) == [FOR, AGAINST, FOR, MUTED]
    assert numbers(figure) == ["+2", "−1", "+0.3", "−0.1"]
    low, high = figure.axes[0].get_ylim()
    assert low > high, "the first row is on top"
    assert figure.axes[0].get_xlabel() == "value (logit)" and figure.get_suptitle() == "Why"


def test_one_player_more_than_asked_for_is_shown_by_name() -> None:
    assert labels(bars(NAMED, None, "", "", 4)) == ["large", "against", "other", "tiny", "small"]


def test_errors_are_whiskers_of_two_standard_errors() -> None:
    figure = bars(NAMED, [0.1, 0.5, 0.0, 0.2, float("nan")], "", "", 2)
    lines = [line.get_segments()[0] for line in figure.axes[0].collections]
    assert [(round(float(a[0]), 3), round(float(b[0]), 3)) for a, b in lines] == [(2 - 0.98, 2 + 0.98)]
    assert figure.axes[0].get_xlim()[1] > 2.98


def test_waterfall_goes_from_the_empty_to_the_whole_history() -> None:
    figure = waterfall(NAMED, (1.0, 2.2), "Why", "logit", 10)
    assert labels(figure) == ["f(empty) = 1", "large", "against", "other", "tiny", "small", "f(x) = 2.2"]
    assert boxes(figure) == [(1, 2), (3, -1), (2, 0.3), (2.3, -0.2), (2.1, 0.1)]
    ends = figure.axes[0].lines[-1]
    assert ends.get_xdata().tolist() == [1.0, 2.2]  # type: ignore[union-attr]
    low, high = figure.axes[0].get_xlim()
    assert low < 1 and high > 3, "no bar is cut"


def test_waterfall_shows_what_the_values_do_not_account_for() -> None:
    figure = waterfall(NAMED, (1.0, 5.0), "", "", 1)
    assert labels(figure)[1:-1] == ["large", "the other 4 players", "not in the values"]
    start, width = boxes(figure)[-1]
    assert (start, round(width, 6)) == (2.2, 2.8)
    assert figure.axes[0].patches[-1].get_hatch()
    complete = waterfall(NAMED, (1.0, 2.2 + 1e-5), "", "", 9)
    assert "not in the values" not in labels(complete), "rounding is no finding"


def test_hostile_and_long_names_are_text() -> None:
    figure = bars([("<b>$x$\n\u202e", 1.0), ("long " * 30, -1.0), ("", 0.0)], None, "T" * 300, "", 5)
    assert labels(figure)[0].startswith("<b>$x$") and len(labels(figure)[1]) == 44 and labels(figure)[1][-1] == "…"
    assert figure_bytes(figure, "png")[:4] == b"\x89PNG"
    assert "\n" in figure.get_suptitle()


def test_a_notebook_can_show_a_figure_without_pyplot() -> None:
    assert bars(NAMED, None, "", "", 3)._repr_png_()[:4] == b"\x89PNG"  # type: ignore[attr-defined]


def test_all_zero_values_are_drawn() -> None:
    zero = [("a", 0.0), ("b", 0.0)]
    assert boxes(bars(zero, None, "", "", 3)) == [(0, 0), (0, 0)]
    assert labels(waterfall(zero, (0.0, 0.0), "", "", 3)) == ["f(empty) = 0", "a", "b", "f(x) = 0"]


def test_kinds_are_checked() -> None:
    with pytest.raises(SettingError, match=r"kind is 'bar', takes bars, waterfall; did you mean 'bars'"):
        Explanation.plot(object(), "bar")  # type: ignore[arg-type]
