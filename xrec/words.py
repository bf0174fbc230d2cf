"""Words for people: closest spellings, lists, counts, names. Imports nothing of xrec."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

#: as people write them: acronyms, and words that belong together; everything else is written as code writes it
_SPELLED = {
    word.replace("-", " ").lower(): word
    for word in (
        "ACCENT", "BiGAN", "CDCG", "EASE", "iALS", "KL", "kNN", "leave-last-out", "leave-one-out", "LXR", "MRR", "NDCG",
        "SASRec", "SHAP", "SVD", "TIFU", "VAE",
    )
}  # fmt: skip
_NAMED = re.compile(rf"(?<![^\W_])({'|'.join(sorted(_SPELLED, key=len, reverse=True))})(?![^\W_])")


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


def title_of(name: str) -> str:
    """The name of a model, explainer, component, metric or loss term for people: underscores become spaces, 'at 10' a
    cut-off, acronyms and compounds are written as usual: 'permutation SHAP', 'leave-one-out', 'NDCG@10'."""
    text = re.sub(r"_at_(\d+)(?![^\W_])", r"@\1", name).replace("_", " ")
    return _NAMED.sub(lambda found: _SPELLED[found[0]], text)


def sentence(words: str) -> str:
    """With a capital letter in front, and no other changed; a name like iALS stays as it is."""
    return words if words[1:2].isupper() else words[:1].upper() + words[1:]


def counted(number: int, noun: str) -> str:
    """'1 user', '2,002 users'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
