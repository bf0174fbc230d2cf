"""Which columns stand side by side in a given room, and how wide: numbers stay whole, texts wrap, the rest goes below.

Widths are in the unit of a face (characters, points, pixels), which measures text with its `Ruler`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from xrec.report.render.grid import Column, Grid
from xrec.report.render.numbers import cell_words

Measure = Callable[[str], float]
_NUMBER = re.compile(r"[+\-−]?[\d.,]*\d%?")
_ATOM = re.compile(rf"{_NUMBER.pattern}|.", re.DOTALL)


class Ruler(NamedTuple):
    """How wide a face sets things: text, numbers, intervals; the room of a mark, the gap between columns.

    narrow: how wide a text column may always be; `bold`: how much wider bold numbers are; `below`: the room of a mark
    that an interval keeps free; `indent`: what stands before a row name below a heading.
    """

    text: Measure
    number: Measure
    interval: Measure
    mark: float
    gap: float
    narrow: float
    bold: float = 1
    below: float = 0
    indent: float = 0


class Need(NamedTuple):
    """The room of a column: at least (texts wrapped, numbers whole), and at most (nothing wrapped)."""

    least: float
    most: float


class Block(NamedTuple):
    """Columns that stand side by side, by number; the width of the row names and of each of them."""

    columns: list[int]
    names: float
    widths: list[float]


def fit(laid_out: Grid, ruler: Ruler, room: float) -> list[Block]:
    """Blocks of columns that fit `room` beside the row names, in order; a column wider than that stands alone."""
    names = _widest(
        _text_need(row, min(ruler.narrow, room / 3), ruler.text) for _, rows in laid_out.blocks for row, _ in rows
    )
    indent = ruler.indent if any(block for block, _ in laid_out.blocks) else 0
    # Half of the room is for what the table is about, however long the names are.
    names = Need(min(names.least + indent, room / 2), names.most + indent)
    needs = [_column_need(laid_out, number, ruler) for number in range(len(laid_out.columns))]
    blocks = []
    for columns in _packed(laid_out.columns, needs, room - names.least, ruler.gap):
        widths = _spread([names, *(needs[i] for i in columns)], room - ruler.gap * len(columns))
        blocks.append(Block(columns, widths[0], widths[1:]))
    return blocks


def wrap(text: str, room: float, measure: Measure) -> list[str]:
    """Lines of at most `room`: broken at spaces, a word too long for a line anywhere but within a number."""
    lines = [""]
    for word in text.split(" "):
        for number, piece in enumerate(pieces(word, room, measure)):
            joined = f"{lines[-1]} {piece}" if lines[-1] and number == 0 else piece
            if measure(joined) <= room and number == 0:
                lines[-1] = joined
            else:
                lines.append(piece)
    return lines if lines[0] or len(lines) == 1 else lines[1:]


def pieces(word: str, room: float, measure: Measure) -> list[str]:
    """A word in pieces of at most `room`, none ending within a number unless the number alone is wider."""
    if measure(word) <= room:
        return [word]
    found = [""]
    for atom in _ATOM.findall(word):
        for part in [atom] if measure(atom) <= room else atom:
            if found[-1] and measure(found[-1] + part) > room:
                found.append("")
            found[-1] += part
    return found


def _widest(needs: Iterable[Need]) -> Need:
    found = [*needs, Need(0, 0)]
    return Need(max(need.least for need in found), max(need.most for need in found))


def _text_need(text: str, narrow: float, measure: Measure) -> Need:
    """Text may wrap to `narrow`, but for the numbers in it."""
    most = measure(text)
    if most <= narrow:
        return Need(most, most)
    numbers = max((measure(number) for number in _NUMBER.findall(text)), default=0)
    return Need(max(narrow, numbers), most)


def _column_need(laid_out: Grid, number: int, ruler: Ruler) -> Need:
    column = laid_out.columns[number]
    needs = [_text_need(word, ruler.narrow, ruler.text) for word in column.heading.split(" ")]
    mark, below = (ruler.mark, ruler.below) if column.marked else (0, 0)
    for cell in (cells[number] for _, rows in laid_out.blocks for _, cells in rows):
        words = cell_words(cell)
        if cell is not None and cell["text"] is not None:
            needs.append(_text_need(words.main, ruler.narrow, ruler.text))
        else:
            number_width = ruler.number(words.main) * (ruler.bold if cell is not None and cell["best"] else 1)
            width = max(number_width + mark, ruler.interval(words.interval) + below)
            needs.append(Need(width, width))
    return _widest(needs)


def _packed(columns: list[Column], needs: list[Need], room: float, gap: float) -> list[list[int]]:
    """Numbers of columns that go side by side, as many as fit each time; a tied one stays beside the one before."""
    units: list[list[int]] = []
    for number, column in enumerate(columns):
        if column.tied and units:
            units[-1].append(number)
        else:
            units.append([number])
    found: list[list[int]] = []
    used = 0.0
    for unit in units:
        apart = sum(needs[i].least + gap for i in unit) > room
        for part in [[i] for i in unit] if apart else [unit]:
            width = sum(needs[i].least + gap for i in part)
            if not found or used + width > room:
                found.append([])
                used = 0.0
            found[-1] += part
            used += width
    return found


def _spread(needs: list[Need], room: float) -> list[float]:
    """Widths that sum to at most `room`: what every column needs, and the rest to those that would use it."""
    widths = [need.least for need in needs]
    spare = room - sum(widths)
    if spare < 0:
        # A column on its own, wider than the room: its cells wrap.
        return [*widths[:-1], max(widths[-1] + spare, 1)]
    wanting = sorted(range(len(needs)), key=lambda i: needs[i].most - needs[i].least)
    for left, i in zip(range(len(wanting), 0, -1), wanting, strict=True):
        more = min(needs[i].most - needs[i].least, spare / left)
        widths[i] += more
        spare -= more
    return widths
