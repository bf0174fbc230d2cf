"""Likelihoods of the next window's items, on the whole catalogue or on a weighted sample of it.

scores, labels [B, T]; log_weight [B, T] is 0 for a target that stands for itself, log(n) for a sampled one that stands
for n items, and -inf for padding. With all weights 0 the estimates are the exact losses over the T targets.
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
    """-1/|T_u| sum over targets of log softmax(scores) (Liang et al., WWW 2018), per user [B], in nats."""

    def __call__(self, scores: Tensor, labels: Tensor, log_weight: Tensor) -> Tensor:
        log_total = torch.logsumexp(scores + log_weight, dim=-1)
        n_targets = labels.sum(-1).clamp_min(1)
        return log_total - (scores * labels).sum(-1) / n_targets


class Bernoulli:
    """Sum over items of binary cross-entropy, divided by the mean number of targets in the batch, per user [B], in
    nats."""

    def __call__(self, scores: Tensor, labels: Tensor, log_weight: Tensor) -> Tensor:
        summed = (log_weight.exp() * softplus(scores)).sum(-1) - (scores * labels).sum(-1)
        return summed / labels.sum(-1).mean().clamp_min(1)
