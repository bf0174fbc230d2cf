"""How figures look and how they are written: one style, colours that colour-blind readers can tell apart, fixed bytes.

Figures are drawn in named colours; on paper they print as they are, in the report they become CSS variables, so that
the same drawing reads on light and dark screens.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xrec.files import write_bytes

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAGE = "#1a1a1b", "#6b6b6c", "#dcdcdd", "#fffffe"
#: Okabe and Ito's palette without its yellow (invisible on white) and black (the ink).
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
CSS = {INK: "currentColor", MUTED: "var(--muted)", GRID: "var(--grid)", PAGE: "var(--page)"} | {
    c: f"var(--series-{i})" for i, c in enumerate(SERIES, 1)
}
_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "text.color": INK,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "xrec",
    "savefig.dpi": 200,
    "text.parse_math": False,
    "figure.constrained_layout.use": False,
    "path.simplify": True,
    "axes.unicode_minus": True,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """matplotlib with this module's style, whatever the user's own matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        parameters: Any = matplotlib.rcParams
        parameters.update(_STYLE)
        yield


def new_figure(width: float, height: float, between: float = 0.02) -> Figure:
    """An empty figure, inches; no pyplot, hence no global state and no window. Its panels make room for their words.

    Args:
        between: what is left free between panels, as a share of their mean size.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(hspace=between, wspace=between))


def arrange(figure: Figure) -> None:
    """Lay the panels out as they are now, so that places and sizes can be asked for."""
    engine = figure.get_layout_engine()
    assert engine is not None  # of `new_figure`; drawing it all, as matplotlib would have it, takes twice as long
    engine.execute(figure)


def settle(figure: Figure) -> None:
    """Lay the panels out for good: whoever writes the figure finds everything where it is."""
    arrange(figure)
    figure.set_layout_engine("none")


# The creation date would change every file; the other entries would change with matplotlib's version.
_FIXED: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": "xrec", "Producer": "xrec"},
    "png": {"Software": None},
}


def figure_bytes(figure: Figure, kind: Literal["pdf", "png"]) -> bytes:
    """The figure as PDF (vector) or PNG (200 dpi). The same figure gives the same bytes: no date, no version."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(
            buffer, format=kind, metadata=_FIXED[kind], facecolor="white", bbox_inches="tight", pad_inches=0.03
        )
    return buffer.getvalue()


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write `<stem>.pdf` and `<stem>.png`, each to a temporary name first; returns both paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    kinds: tuple[Literal["pdf", "png"], ...] = ("pdf", "png")
    paths = []
    for kind in kinds:
        paths.append(stem.with_name(f"{stem.name}.{kind}"))
        write_bytes(paths[-1], figure_bytes(figure, kind))
    return paths


def figure_svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as inline `<svg>`: text stays text, colours are CSS variables, ids start with `name`."""
    from markupsafe import Markup, escape

    buffer = io.StringIO()
    with style():
        figure.savefig(
            buffer,
            format="svg",
            metadata={"Date": None, "Creator": None},
            transparent=True,
            bbox_inches="tight",
            pad_inches=0.03,
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for colour, variable in CSS.items():
        svg = svg.replace(colour, variable)
    # Several drawings share one page: their ids must not meet.
    svg = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(
        r'<svg ([^>]*?)width="([\d.]+)pt" height="[\d.]+pt"',
        r'<svg \1style="width: \2pt"',
        svg.replace("\n", " ", 1),
        count=1,
    )
    label = escape(description)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))


def looks(roles: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Line style of each explainer by its role: controls grey and broken, the others by colour in alphabetical order,
    then dash."""
    controls = [name for name in sorted(roles) if roles[name] == "control"]
    others = [name for name in sorted(roles) if name not in controls]
    dashes = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
    styles: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(others):
        styles[name] = {"color": SERIES[i % len(SERIES)], "linestyle": dashes[i // len(SERIES) % len(dashes)]}
    for i, name in enumerate(controls):
        styles[name] = {"color": MUTED, "linestyle": (dashes[1], dashes[2], "-")[i % 3]}
    return styles


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """Axis limits around values, with a margin; never of zero height."""
    low, high = float(np.min(values)), float(np.max(values))
    margin = (high - low) * share or max(abs(high), 1.0) * share
    return low - margin, high + margin
