"""Likelihoods of the next window's items, on the whole catalogue or on a weighted sample of it.

scores, labels [B, T]; log_weight [B, T] is 0 for a target that stands for itself, log(n) for a sampled one that stands
for n items, and -inf for padding. With all weights 0 the estimates are the exact losses over the T targets. A loss is
the negative log-likelihood of all of a user's targets, in nats: neither the batch nor the number of targets divides it,
so that a weight of 1 on the KL term makes the ELBO.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus


class ReconstructionLoss(Protocol):
    """scores, labels, log_weight [B, T] -> loss per user [B]."""

    def __call__(self, scores: Tensor, labels: Tensor, log_weight: Tensor) -> Tensor: ...


class Multinomial:
    """- sum over targets of log softmax(scores) (Liang et al., WWW 2018, eq. 2), per user [B], in nats.

    On a sample the log of the estimated sum is too small on average (Jensen): by .01 to .5 nats a target where 64 to 16
    of 158 items are drawn. `training.n_negatives=null` takes the whole catalogue.
    """

    def __call__(self, scores: Tensor, labels: Tensor, log_weight: Tensor) -> Tensor:
        log_total = torch.logsumexp(scores + log_weight, dim=-1)
        return labels.sum(-1) * log_total - (scores * labels).sum(-1)


class Bernoulli:
    """Sum over items of binary cross-entropy, per user [B], in nats; unbiased on a sample."""

    def __call__(self, scores: Tensor, labels: Tensor, log_weight: Tensor) -> Tensor:
        return (log_weight.exp() * softplus(scores)).sum(-1) - (scores * labels).sum(-1)
