"""The one weighted sum of loss terms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

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


class Totals:
    """The weighted sum of a step's terms, piece by piece, and what to log of it.

    Args:
        weights: of the terms; one of 0 is off.
        n_users: of the step. A term of users counts as its mean over them, however they are cut into pieces.
    """

    def __init__(self, weights: Mapping[str, float], n_users: int) -> None:
        self.weights, self.n_users = weights, n_users
        self.raw: dict[str, float] = {}

    def users(self, terms: Mapping[str, Tensor]) -> Tensor | None:
        """Terms [B] of a piece's users -> what they add to the loss.

        Raises:
            LossError: a term is NaN or infinite, or no loss per user.
        """
        for name, term in terms.items():
            if term.dim() != 1:
                raise LossError(f"loss term {name!r} gave a tensor {tuple(term.shape)}, expected one loss per user [B]")
        return self._add({name: term.sum() / self.n_users for name, term in terms.items()})

    def items(self, terms: Mapping[str, Tensor]) -> Tensor | None:
        """Terms of items, scalars, once a step -> what they add to the loss. Raises: as `users`."""
        for name, term in terms.items():
            if term.dim() != 0:
                raise LossError(f"loss term {name!r} gave a tensor {tuple(term.shape)}, expected a scalar")
        return self._add(terms)

    def _add(self, terms: Mapping[str, Tensor]) -> Tensor | None:
        total: Tensor | None = None
        for name in sorted(terms):
            if name not in self.weights or self.weights[name] == 0:
                raise LossError(_mismatch({name}, set(), wanted_terms(self.weights)))
            value = float(terms[name].detach())
            if not math.isfinite(value):
                raise LossError(f"loss term {name!r} is {value}")
            self.raw[name] = self.raw.get(name, 0.0) + value
            weighted = self.weights[name] * terms[name]
            total = weighted if total is None else total + weighted
        return total

    def logged(self) -> dict[str, float]:
        """`loss/raw/<term>`, `loss/weighted/<term>`, `loss/off/<term>` = 1 for weight 0, `loss/total`.

        Raises:
            LossError: a weight without its term; no term at all.
        """
        wanted = wanted_terms(self.weights)
        if set(self.raw) != wanted:
            raise LossError(_mismatch(set(self.raw), wanted, wanted))
        if not wanted:
            raise LossError(
                "every entry of loss.weights is 0, or made so by loss.schedules: there is nothing to train on"
            )
        rows: dict[str, float] = {f"loss/off/{name}": 1.0 for name in sorted(set(self.weights) - wanted)}
        for name in sorted(self.raw):
            rows[f"loss/raw/{name}"] = self.raw[name]
            rows[f"loss/weighted/{name}"] = self.weights[name] * self.raw[name]
        rows["loss/total"] = sum(rows[f"loss/weighted/{name}"] for name in sorted(self.raw))
        return rows


def _mismatch(produced: set[str], wanted: set[str], known: set[str]) -> str:
    lines = [
        f"loss.weights.{name} has no term: the model produces {listed(sorted(produced))}{did_you_mean(name, produced)}"
        for name in sorted(wanted - produced)
    ]
    lines += [f"loss term {name!r} has no weight: add loss.weights.{name}" for name in sorted(produced - known)]
    return "; ".join(lines)
