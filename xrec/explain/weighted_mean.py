"""Exact Shapley values of weighted means, such as softmax attention, by a double integral instead of a sum over
coalitions.

With 1/W = integral over t > 0 of exp(-tW) a mean of a coalition is a sum of products over players. Owen's multilinear
extension (Management Science 1972) averages over coalitions by having every other player in with probability q, and
the average of a product of independent players is the product of their averages. With e_k = exp(-t w_k), r_k = 1 - q +
q e_k, R = prod_k r_k and A = n_0 + sum_k q n_k e_k / r_k the Shapley value of player i is the integral over q in [0, 1]
and t > 0 of

    exp(-t w_0) R [(e_i - 1) (A / r_i - q n_i e_i / r_i^2) + n_i e_i / r_i]

The integral over q is by Gauss-Legendre, that over t by the trapezoid rule in log t, which converges exponentially; its
nodes span what the weights span, and its lower tail is added in closed form.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

#: step of the trapezoid rule in log t; its error is about exp(-pi^2 / step)
_STEP = 0.5
#: log t runs from -_BELOW - log(sum of weights), further down by its series, to _ABOVE - log(smallest sum)
_BELOW, _ABOVE = 6.0, 3.5
#: numbers [q, row, t, player] that are held together: what bounds memory
_MAX_ENTRIES = 2**23


def weighted_mean_shapley(weight: Tensor, weighted: Tensor, base_weight: Tensor, base_weighted: Tensor) -> Tensor:
    """Shapley values [R, P] of R games v(S) = (n_0 + sum_S n_i) / (w_0 + sum_S w_i), 0 where the denominator is.

    Within 1e-6 of enumeration, relative to the largest value, for weights that spread over up to 60 nats.

    Args:
        weight: w [R, P] >= 0, float64; a weight that is 0 has no part in the mean. weighted: n [R, P], 0 where w is.
        base_weight, base_weighted: w_0 and n_0 [R].
    """
    values, done = torch.zeros_like(weighted), 0
    nodes = _probabilities(weight)
    while done < len(weight):
        n_t = _n_times(weight[done:], base_weight[done:])
        rows = slice(done, done + max(1, _MAX_ENTRIES // (len(nodes) * n_t * weight.shape[1])))
        values[rows] = _integral(weight[rows], weighted[rows], base_weight[rows], base_weighted[rows], nodes)
        done = rows.stop
    return values


def _probabilities(like: Tensor) -> Tensor:
    """[Q, 2] Gauss-Legendre nodes and weights on [0, 1]. For a given t the integrand is a polynomial in q of degree
    P - 1, for which half as many nodes would be exact; of many players far fewer do."""
    n_players = like.shape[1]
    n = min(n_players // 2 + 1, 8 + math.ceil(1.7 * math.sqrt(n_players)))
    nodes = np.stack(np.polynomial.legendre.leggauss(n), axis=1) / 2 + [0.5, 0.0]
    return torch.from_numpy(nodes).to(like)


def _log_times(weight: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """[R] the first and the last log t."""
    smallest = weight.masked_fill(weight <= 0, torch.inf).amin(1)
    total = weight.sum(1) + base
    least = torch.where(base > 0, base, torch.where(smallest.isfinite(), smallest, 1.0))
    return -_BELOW - torch.where(total > 0, total, 1.0).log(), _ABOVE - least.log()


def _n_times(weight: Tensor, base: Tensor) -> int:
    first, last = _log_times(weight, base)
    return 1 + math.ceil(float((last - first).amax()) / _STEP)


def _integral(w: Tensor, n: Tensor, w_0: Tensor, n_0: Tensor, nodes: Tensor) -> Tensor:
    first, last = _log_times(w, w_0)
    n_t = _n_times(w, w_0)
    step = ((last - first) / (n_t - 1)).unsqueeze(1)  # [R, 1]
    t = (first.unsqueeze(1) + step * torch.arange(n_t, device=w.device)).exp()  # [R, X]
    q, weight_q = (part[:, None, None] for part in nodes.unbind(1))
    e = (-t.unsqueeze(2) * w.unsqueeze(1)).exp()  # [R, X, P]
    less = e - 1
    per_r = 1 / (1 + q.unsqueeze(3) * less)  # [Q, R, X, P]
    product = weight_q * (-t * w_0.unsqueeze(1)).exp() / per_r.prod(-1)  # [Q, R, X]
    kept = e * n.unsqueeze(1)
    average = n_0.unsqueeze(1) + q * torch.einsum("qrxp,rxp->qrx", per_r, kept)
    over_q = torch.stack([product * average, product], dim=-2)  # [Q, R, 2, X]
    of_average, of_one = torch.einsum("qrkx,qrxp->krxp", over_q, per_r)
    of_square = torch.einsum("qrx,qrxp->rxp", product * q, per_r.square_())
    at = less * (of_average - kept * of_square) + kept * of_one  # [R, X, P] the integrand over t
    # below the first node: the integrand is n + t slope, and the nodes would go on for ever
    ratio = (-step).exp()
    slope = (at[:, 0] - n) / t[:, :1]
    tail = n * t[:, :1] * ratio / (1 - ratio) + slope * t[:, :1].square() * ratio.square() / (1 - ratio.square())
    return step * (torch.einsum("rx,rxp->rp", t, at) + tail)
