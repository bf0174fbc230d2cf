"""The one weighted sum of loss terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from xrec.errors import UserError
from xrec.words import did_you_mean, listed


class LossError(UserError):
    """Loss terms and weights that do not match, or a loss that is no longer a number."""


def wanted_terms(weights: Mapping[str, float]) -> set[str]:
    """Names of the terms to compute: those with a weight other than 0."""
    return {name for name, weight in weights.items() if weight != 0}


def check_terms(produced: Iterable[str], weights: Mapping[str, float]) -> None:
    """Raises: LossError, when a term has no weight, or a weight other than 0 no term."""
    names = set(produced)
    if not wanted_terms(weights) <= names <= set(weights):
        raise LossError(_mismatch(names, wanted_terms(weights), set(weights)))


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> tuple[Tensor, dict[str, float]]:
    """The total loss, and what to log: `loss/raw/<term>`, `loss/weighted/<term>`, `loss/off/<term>` = 1 for weight 0.

    Raises:
        LossError: a weight without its term or a term without its weight; a term that is NaN or infinite.
    """
    wanted = wanted_terms(weights)
    if set(terms) != wanted:
        raise LossError(_mismatch(set(terms), wanted, wanted))
    logged: dict[str, float] = {f"loss/off/{name}": 1.0 for name in sorted(set(weights) - wanted)}
    total: Tensor | None = None
    for name in sorted(terms):
        raw = terms[name]
        if not torch.isfinite(raw):
            raise LossError(f"loss term {name!r} is {float(raw.detach())}")
        weighted = weights[name] * raw
        logged[f"loss/raw/{name}"] = float(raw.detach())
        logged[f"loss/weighted/{name}"] = float(weighted.detach())
        total = weighted if total is None else total + weighted
    if total is None:
        raise LossError("every entry of loss.weights is 0, or made so by loss.schedules: there is nothing to train on")
    logged["loss/total"] = float(total.detach())
    return total, logged


def _mismatch(produced: set[str], wanted: set[str], known: set[str]) -> str:
    lines = [
        f"loss.weights.{name} has no term: the model produces {listed(sorted(produced))}{did_you_mean(name, produced)}"
        for name in sorted(wanted - produced)
    ]
    lines += [f"loss term {name!r} has no weight: add loss.weights.{name}" for name in sorted(produced - known)]
    return "; ".join(lines)
