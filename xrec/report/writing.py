"""Tables and figures as files for a paper: LaTeX and Markdown, PDF and PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from xrec.files import write_text, written
from xrec.report.plot import save_figure
from xrec.report.render import to_latex, to_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_all(
    made: Mapping[str, pl.DataFrame | Figure | None],
    out: Path,
    columns: Callable[[pl.DataFrame], Sequence[str]] | None = None,
) -> tuple[list[Path], list[str]]:
    """Write each table or figure into `out` under its name; returns the paths, and the names of what is empty.

    Args:
        columns: which columns of a table are shown; the caption names the others. None: all.

    Raises:
        DiskError: no right to write there, or no room.
    """
    with written(out):
        out.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    absent: list[str] = []
    for name, thing in made.items():
        if thing is None or (isinstance(thing, pl.DataFrame) and thing.is_empty()):
            absent.append(name)
        elif isinstance(thing, pl.DataFrame):
            paths += write_table(thing, out, name, None if columns is None else columns(thing))
        else:
            paths += save_figure(thing, out / name)
    return paths, absent


def write_table(table: pl.DataFrame, out: Path, name: str, columns: Sequence[str] | None = None) -> list[Path]:
    """Write `<name>.tex` and `<name>.md` into a directory that is there."""
    texts = {
        out / f"{name}.tex": to_latex(table, name=name, columns=columns),
        out / f"{name}.md": to_markdown(table, columns=columns),
    }
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)
