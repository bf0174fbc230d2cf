"""Headings: a metric at its cut-off, in its variant."""

from __future__ import annotations

from xrec.types import Metric
from xrec.words import counted

#: what a variant adds to a metric's label
_VARIANTS = {"normalised": ", normalised", "discrete_normalised": ", normalised"}
_DISCRETE = ("discrete", "discrete_normalised")


def label(metric: Metric, variant: str | None = None, k: int | None = None, step: float | None = None) -> str:
    """Heading of a metric at a cut-off k or, if discrete, number of players: 'NDCG@10', 'Deletion, 3 players'."""
    text = metric.label + _VARIANTS.get(variant or "", "")
    if k is not None:
        text += f"@{k}"
    if step is not None:
        text += f", {counted(int(step), 'player')}" if variant in _DISCRETE else f" at {step:g}"
    return text
