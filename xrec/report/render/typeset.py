r"""Text as LaTeX prints it: escaped, and how wide in the type of a table (\footnotesize of an article at 10 pt)."""

from __future__ import annotations

import re

from xrec.report.render.grid import clean
from xrec.report.render.numbers import minus

_ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", '"': "''", "†": r"\textdagger{}", "\u00a0": "~",
    "–": r"\textendash{}", "—": r"\textemdash{}", "−": "$-$", "≤": r"$\leq$", "≥": r"$\geq$", "∞": r"$\infty$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    # Bare, these would be arguments of the line break that ends the row before.
    "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
#: What pdflatex prints without further packages, beside ASCII: most letters of Latin-1 and Latin Extended-A, and signs.
_PRINTED = {
    chr(code) for code in range(0xA1, 0x180) if chr(code) not in "«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ"
} | set("‘’“”…•€™→←")  # fmt: skip
#: Widths in \footnotesize (Computer Modern, 8 pt), in thousandths of 8 pt.
_WIDTHS = {
    character: width * 8 / 1000
    for characters, width in {
        "il.,:;[]!'": 296, "fjI-t()rs": 420, "cez?": 503, "`\"0123456789ago/*$Jkqvxy †–↑↓": 562, "bdhnpuS{}|": 591,
        "ZLFEP": 724, "BwCTRAHNUVXYD~^": 812, "KOQ+=@&G_\\−<>": 835, "m%#M": 974,
    }.items()
    for character in characters
}  # fmt: skip
_WIDEST = 8.8
#: How much wider bold digits are.
BOLD = 1.17


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands; a character that it cannot print as its code point, 'U+4E2D'."""
    printed = "".join(_ESCAPED.get(character, _printed(character)) for character in clean(text))
    # Two hyphens in a row would be set as a dash.
    return re.sub(r"(?<=-)(?=-)", "{}", printed)


def points(text: str) -> float:
    """The width of a text in points; a little more rather than less."""
    return sum(
        _WIDTHS.get(character, _WIDEST) if _printed(character) == character else _WIDEST * len(_printed(character))
        for character in text
    )


def number_points(text: str) -> float:
    """The width of a number as it is typeset."""
    return points(minus(text))


def interval_points(text: str) -> float:
    r"""The width of an interval in \tiny."""
    return 0.85 * points(minus(text))


def _printed(character: str) -> str:
    r"""The character, or how it is named where pdflatex stops at it."""
    if character.isascii() or character in _ESCAPED or character in _PRINTED:
        return character
    return f"U+{ord(character):04X}"
