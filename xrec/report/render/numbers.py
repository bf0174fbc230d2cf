"""How a number is written, the same in every face of a table."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from xrec.report.render.grid import clean

ABSENT = "–"
#: From here on a float has no digits left to show; written out, they would be invented.
_LARGE = 1e15


class Words(NamedTuple):
    """A cell in words: number or text, the mark beside it, the interval below it ('' where there is none)."""

    main: str
    mark: str = ""
    interval: str = ""


def cell_words(cell: dict[str, Any] | None) -> Words:
    """What a cell of `CELL_SCHEMA` shows; a dash where there is nothing."""
    if cell is None:
        return Words(ABSENT)
    if cell["text"] is not None:
        return Words(clean(cell["text"]))
    if cell["value"] is None:
        return Words(ABSENT)
    if cell["form"] == "p":
        return Words(p_words(cell["value"]))
    form = cell["form"] or ".4g"
    interval = ""
    if cell["low"] is not None and cell["high"] is not None:
        interval = f"[{number_words(cell['low'], form)}, {number_words(cell['high'], form)}]"
    return Words(number_words(cell["value"], form), cell["mark"] or "", interval)


def number_words(value: float, form: str) -> str:
    """A number by its format spec: thousands apart, no sign before a zero, shares without the zero before the point."""
    if abs(value) >= _LARGE:
        return format(value, ".6g")
    # A count of 2321 beside one of 1,056,247 reads as another kind of number.
    text = format(value, form if "," in form else re.sub(r"(\.\d+)?[a-zA-Z%]?$", r",\g<0>", form, count=1))
    if form.endswith("f") and "," not in form and abs(value) < 1:
        # ".0755", as the protocol writes shares: the zero before the point says nothing and costs a column.
        text = text.replace("0.", ".", 1)
    # A rounded zero has no sign: "-0.000" reads as a finding.
    return text if re.search(r"[1-9]", text) else text.lstrip("+-")


def p_words(p: float) -> str:
    """'< .001', '.012': p values are below one, so the leading zero says nothing."""
    if p < 0.001:
        return "< .001"
    return "1" if round(p, 3) >= 1 else f"{p:.3f}".removeprefix("0")


def minus(text: str) -> str:
    """Hyphens before digits as minus signs, for faces that are typeset."""
    return re.sub(r"(?<![\w.])-(?=[\d.])", "−", text)
