"""The one error of this package: it names the place and the fix."""

import difflib
from collections.abc import Iterable


class DataError(ValueError):
    """Data that cannot be used as it is. The message says which source or setting, what was found, and what to do."""


def did_you_mean(word: object, known: Iterable[str], cutoff: float = 0.5) -> str:
    """'; did you mean ...?' for a text whose closest in `known` has difflib's ratio `cutoff` or more, or nothing."""
    close = difflib.get_close_matches(word, sorted(set(known)), 1, cutoff) if isinstance(word, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""
