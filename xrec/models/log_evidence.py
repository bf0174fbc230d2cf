"""Evidence for an item (sums that are 0 where nothing speaks for it) on the scale of log odds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from xrec.models.recommender import Context

#: standard deviation of the weighted evidence at the start
_START = 7.0


class LogEvidence(nn.Module):
    """(a + b p_i) (log(exp(logit_i) + w max(0, evidence_i)) - c), p_i the presence of target i itself in the history.

    b is there because what speaks for an item that was bought before is mostly that it was: with one exponent for both,
    the items bought before, which are likely by far, decide what evidence means for the others. w starts where the
    evidence of training users has a standard deviation of 7, and b at 0. c is the mean of the log then, so that an
    exponent can be learned without shifting all scores, and 0 without exponent; it ranks nothing.

    Args:
        exponent: where a starts; None: it is 1, so that the odds of new items are additive where the evidence is.
    """

    def __init__(self, n_items: int, exponent: float | None = None) -> None:
        super().__init__()
        self.n_items = n_items
        self.log_weight = nn.Parameter(torch.tensor(3.0))
        self.exponent = None if exponent is None else nn.Parameter(torch.tensor(float(exponent)))
        self.own = nn.Parameter(torch.zeros(()))
        self.center: Tensor
        self.register_buffer("center", torch.zeros(()))

    def start(self, evidence: Tensor) -> None:
        """w and c by the evidence [n, I] of some users."""
        deviation = float(evidence.std()) if evidence.numel() > 1 else 0.0
        if deviation > 0:
            self.log_weight.data.fill_(_START / deviation).log_()
            if self.exponent is not None:
                self.center.copy_((evidence.clamp_min(0.0) * (_START / deviation)).log1p().mean())

    def forward(
        self, evidence: Tensor, logits: Tensor | None, context: Context, presence: Tensor | None, targets: Tensor | None
    ) -> Tensor:
        """[B, M, T] of evidence [B, M, T] and logits that broadcast to it (None: 0)."""
        weighted = self.log_weight.exp() * evidence
        value = (weighted.clamp_min(0.0).log1p() if logits is None else log_mixture(logits, weighted)) - self.center
        scaled = value if self.exponent is None else self.exponent * value
        history, present = context.history, context.presence(presence)  # [B, M, L]
        if targets is None:
            item = history.item.unsqueeze(1).expand_as(present)
            return scaled.scatter_add(-1, item, self.own * present * value.gather(-1, item))
        place = context.own_position(targets, self.n_items).unsqueeze(1).expand_as(value)
        return scaled + self.own * pad(present, (1, 0)).gather(2, place) * value


def log_mixture(logits: Tensor, evidence: Tensor) -> Tensor:
    """log(exp(logits) + max(0, evidence)), with finite gradients; what is not above 0 is no evidence."""
    some = evidence > 0
    log = torch.where(some, evidence, 1.0).log()
    return torch.where(some, torch.logaddexp(logits, log), logits)
