"""A game that is a sum of weighted means over players, as far as its closed form needs to know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PlayerMeans:
    """A value is linear in R means a case, beside what does not depend on players. Mean r of a coalition S is

        (base_weighted_r + sum_(i in S) weighted_ri) / (base_weight_r + sum_(i in S) weight_ri)

    and 0 where the denominator is. weight, weighted [B, R, P], float64, weights >= 0 up to a factor a mean;
    base_weight, base_weighted [B, R]. value: the game's values [B, P] of values [B, R, P] of the means: averages, sums,
    differences.
    """

    weight: Tensor
    weighted: Tensor
    base_weight: Tensor
    base_weighted: Tensor
    value: Callable[[Tensor], Tensor]
