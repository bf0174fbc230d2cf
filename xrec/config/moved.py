"""Old spellings, and what is written instead; asked wherever a key or a target is not known."""

from __future__ import annotations

import re
from collections.abc import Iterable

from xrec.words import did_you_mean

_WIDE = "model/wide=[...], where {} is named or left out"
#: pattern of an old path -> the new one
_KEYS = {
    r"model\.linear_path": _WIDE.format("linear"),
    r"model\.repeat_features": _WIDE.format("repeat"),
    r"model\.regularization": "model.components.linear.regularization",
    r"model\.(attention|user_encoder)(\..+)?": r"model.components.\1\2",
    r"loss\.anneal(\..+)?": r"loss.schedules\1",
    r"training\.decay": "training.learning_rate_schedule",
    r"training\.learning_rate_scale\.discriminator": "model.item_encoder.discriminator_learning_rate",
    r"model\.item_encoder\.discriminator_learning_rate_scale": "model.item_encoder.discriminator_learning_rate",
    r"explainer\.[^.]+\.requires": "said by the explainer's class (requires = ...)",
}
_TARGETS = {r"xrec\.masking\.(.+)": r"xrec.games.\1"}


def key_hint(key: str, known: Iterable[str]) -> str:
    """'; it is now ...' for a key that was moved, else '; did you mean ...?' of the known ones, or nothing."""
    return _moved(key, _KEYS) or did_you_mean(key, known)


def target_hint(target: str) -> str:
    """'; it is now ...' for a class that was moved, or nothing."""
    return _moved(target, _TARGETS)


def _moved(old: str, table: dict[str, str]) -> str:
    found = ((re.fullmatch(pattern, old), new) for pattern, new in table.items())
    return next((f"; it is now {match.expand(new)}" for match, new in found if match), "")
