"""How well what is generated matches what is there."""

from __future__ import annotations

import torch
from torch import Tensor

#: levels of fewer items are not counted as missed
LEAST_SHARE = 0.01


def mmd(one: Tensor, other: Tensor) -> float:
    """Squared maximum mean discrepancy of two samples [N, d], unbiased, Gaussian kernel of variance d (Gretton et al.,
    JMLR 2012, equation 3): 0 in expectation when they are of one distribution. 0 for samples of one."""
    if min(len(one), len(other)) < 2:
        return 0.0

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-torch.cdist(a, b).square() / (2 * a.shape[1])).exp()

    def within(a: Tensor) -> Tensor:
        return (kernel(a, a).sum() - len(a)) / (len(a) * (len(a) - 1))

    return float(within(one) + within(other) - 2 * kernel(one, other).mean())


def coverage(real: Tensor, generated: Tensor, counted: Tensor) -> float:
    """Share of the levels of at least LEAST_SHARE, among `counted` ones, that are generated within a factor of 2 of
    their share; all [n_columns]. 1 where there is no such level."""
    levels = counted & (real >= LEAST_SHARE)
    ratio = generated[levels] / real[levels]
    within = (ratio >= 0.5) & (ratio <= 2.0)
    return float(within.float().mean()) if len(within) else 1.0


def neighbour_coverage(real: Tensor, generated: Tensor, n_neighbours: int = 5) -> float:
    """Share of the real samples [N, d] that have a generated one [M, d] no further away than their own n-th nearest
    real neighbour (Naeem et al., ICML 2020, equation 4). With as many generated ones of the same distribution
    1 - 2^-n in expectation. 1 where there are no n neighbours."""
    if len(real) <= n_neighbours:
        return 1.0
    radius = torch.cdist(real, real).kthvalue(n_neighbours + 1, dim=1).values
    return float((torch.cdist(real, generated).min(1).values <= radius).float().mean())
