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

from xrec.errors import SettingError


class ReconstructionLoss(Protocol):
    """scores, labels, log_weight [B, T] -> loss per user [B].

    A class whose `of_logits` is False does not make logits of the scores: no likelihood is to be read off them.
    """

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


class Gaussian:
    """Sum over items of c / 2 (label - score)^2, per user [B]: minus the log-likelihood but for its constant (Liang et
    al., WWW 2018, eq. 3); unbiased on a sample.

    Args:
        target_confidence: c of a target. other_confidence: c of every other item; Liang et al. take it below the
            targets'.
    Raises:
        SettingError: a confidence of 0 or less.
    """

    of_logits = False

    def __init__(self, target_confidence: float = 10.0, other_confidence: float = 1.0) -> None:
        if min(target_confidence, other_confidence) <= 0:
            raise SettingError(
                f"loss.reconstruction: confidences must be above 0, got target_confidence={target_confidence}, "
                f"other_confidence={other_confidence}"
            )
        self.target_confidence, self.other_confidence = target_confidence, other_confidence

    def __call__(self, scores: Tensor, labels: Tensor, log_weight: Tensor) -> Tensor:
        confidence = self.other_confidence + (self.target_confidence - self.other_confidence) * labels
        return 0.5 * (log_weight.exp() * confidence * (labels - scores).square()).sum(-1)


class SampledSoftmax:
    """- sum over targets t of log softmax of t among itself and the items that are no targets, per user [B], in nats
    (Bengio and Senecal 2008; Jean et al., ACL 2015): exp(s_t) / (exp(s_t) + sum_n w_n exp(s_n)), w_n = exp(log weight)
    the number of items that n stands for, as log-q correction has it.

    It differs from `Multinomial` in that a user's targets do not compete with one another, on the whole catalogue too;
    with one target an example, as in sequences, the two are the same. On a sample both take the same weights, and are
    too small on average for the same reason.
    """

    def __call__(self, scores: Tensor, labels: Tensor, log_weight: Tensor) -> Tensor:
        competing = (labels == 0) & (log_weight > -torch.inf)
        others = torch.where(competing, scores + log_weight, -torch.inf).logsumexp(-1, keepdim=True)
        return (labels * softplus(others - scores)).sum(-1)


class BPR:
    """- sum over targets t of the mean over other items n of log sigmoid(s_t - s_n), per user [B], in nats (Rendle et
    al., UAI 2009, with all pairs in place of drawn ones); unbiased on a sample, whose items count for those they stand
    for. Memory: [B, largest number of targets, T], which `training.max_pairs` bounds where targets are history items.
    """

    of_logits = False

    def __call__(self, scores: Tensor, labels: Tensor, log_weight: Tensor) -> Tensor:
        weight = log_weight.exp() * (labels == 0)
        weight = weight / weight.sum(-1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
        is_target, place = labels.topk(max(1, int(labels.sum(-1).max())), dim=-1)
        difference = scores.gather(-1, place).unsqueeze(-1) - scores.unsqueeze(-2)
        of_target = (weight.unsqueeze(-2) * softplus(-difference)).sum(-1)
        return (is_target * of_target).sum(-1)
