"""Did you mean ...? One spelling help for every message about the config."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None when none is near. A full path is also found by its last part."""
    words = sorted(set(known))
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return close[0]
    tails: dict[str, str] = {}
    for path in words:
        tails.setdefault(path.rsplit(".", 1)[-1], path)
    close = difflib.get_close_matches(word.rsplit(".", 1)[-1], tails, n=1, cutoff=0.75)
    return tails[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'; did you mean ...?', or nothing."""
    found = closest(word, known)
    return "" if found is None else f"; did you mean {found!r}?"


def listed(words: Iterable[str]) -> str:
    """'a, b, c' of the allowed words, or 'nothing'."""
    return ", ".join(words) or "nothing"
