"""How true explanations are to their model, in a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from xrec.config.options import built, names, node_of
from xrec.door.explanation import Explanation
from xrec.errors import SettingError
from xrec.fidelity.measuring import DELETION, REMOVAL_GAIN, REMOVAL_GAIN_METRIC, Values, mean_over_draws, measure
from xrec.fidelity.measuring import removal_gain as gain_of
from xrec.fidelity.metric import FidelityMetric
from xrec.fidelity.removal import effect
from xrec.types import Metric

_SCHEMA: dict[str, Any] = {
    "case": pl.Int64, "model": pl.String, "user": pl.String, "item": pl.String, "explainer": pl.String,
    "metric": pl.String, "variant": pl.String, "k": pl.Int64, "step": pl.Float64, "direction": pl.String,
    "value": pl.Float64,
}  # fmt: skip


def fidelity(
    explanations: Explanation | Sequence[Explanation],
    metrics: str | Sequence[str] | None = None,
    *,
    variants: bool = False,
) -> pl.DataFrame:
    """Every metric of every explanation, a row each: case, model, user, item, explainer, metric, k (cut-off), direction
    (which way is better), value. A case that a metric leaves out has no row.

    Explanations of one case (the same history, item, players, masker and output) share its number. A random explainer
    has the mean over its draws; beside an explanation of the same case by the reference (`random`), the others have
    `removal_gain`.

    Args:
        metrics: names of `conf/fidelity`; None: all of them, with the settings there.
        variants: also normalised and discrete variants and the curves, told apart by the columns variant and step.
    Raises:
        SettingError: an unknown name; nothing to measure; explanations that a metric cannot measure.
    """
    given = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    if strange := [e for e in given if not isinstance(e, Explanation)]:
        raise SettingError(f"fidelity: got {type(strange[0]).__name__}, takes explanations, and names of conf/fidelity")
    metrics = [metrics] if isinstance(metrics, str) else metrics
    if not given:
        raise SettingError("fidelity: no explanations; give those that run.explain or model.explain made")
    chosen: list[FidelityMetric] = [
        built(f"fidelity.{name}", node_of("fidelity", name))
        for name in (names("fidelity") if metrics is None else metrics)
    ]
    about = {m.name: m for family in chosen for m in family.metrics} | {REMOVAL_GAIN_METRIC.name: REMOVAL_GAIN_METRIC}
    measured = [_measured(e, chosen) for e in given]
    numbers = _numbered(given)
    _add_gains(given, numbers, measured)
    rows = [row for e, n, found in zip(given, numbers, measured, strict=True) for row in _rows(e, n, found, about)]
    frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    if variants:
        return frame
    return frame.filter(pl.col("variant").is_null() & pl.col("step").is_null()).drop("variant", "step")


def _measured(e: Explanation, metrics: Sequence[FidelityMetric]) -> Values:
    return mean_over_draws([measure(e.game, draw, metrics, e.seed) for draw in e.attributions])


def _numbered(explanations: Sequence[Explanation]) -> list[int]:
    """A number per case, in the order of their first explanations."""
    seen: dict[object, int] = {}
    return [seen.setdefault((id(e.game.model), e.game.about, e.case, e.player_ids), len(seen)) for e in explanations]


def _add_gains(explanations: Sequence[Explanation], numbers: Sequence[int], measured: Sequence[Values]) -> None:
    references = {n: m for e, n, m in zip(explanations, numbers, measured, strict=True) if e.attribution.reference}
    for e, number, found in zip(explanations, numbers, measured, strict=True):
        chance = references.get(number, {})
        if DELETION in chance and DELETION in found and not e.attribution.reference:
            found[REMOVAL_GAIN] = gain_of(found, chance, effect(e.game))


def _rows(e: Explanation, number: int, found: Values, about: dict[str, Metric]) -> list[tuple[Any, ...]]:
    return [
        (number, e.model, e.user, e.item, e.explainer, name, variant, k, step, about[name].direction, float(values[0]))
        for (name, variant, k, step), values in found.items()
        if np.isfinite(values[0])
    ]
