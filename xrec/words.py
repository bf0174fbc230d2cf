"""Words for people: closest spellings, lists, counts. Imports nothing of xrec."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(word: object, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known word most like `word` by difflib's ratio, None when none reaches `cutoff`.

    A dotted path is also found by its last part alone, which must be closer (.75).
    """
    if not isinstance(word, str):
        return None
    words = sorted(set(known))
    close = difflib.get_close_matches(word, words, n=1, cutoff=cutoff)
    if close:
        return close[0]
    tails: dict[str, str] = {}
    for path in words:
        tails.setdefault(path.rsplit(".", 1)[-1], path)
    close = difflib.get_close_matches(word.rsplit(".", 1)[-1], tails, n=1, cutoff=max(cutoff, 0.75))
    return tails[close[0]] if close else None


def did_you_mean(word: object, known: Iterable[str], cutoff: float = 0.5) -> str:
    """'; did you mean ...?', or nothing; see `closest`."""
    found = closest(word, known, cutoff)
    return "" if found is None else f"; did you mean {found!r}?"


def listed(words: Iterable[str]) -> str:
    """'a, b, c' of the allowed words, or 'nothing'."""
    return ", ".join(words) or "nothing"


def counted(number: int, noun: str) -> str:
    """'1 user', '2,002 users'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
