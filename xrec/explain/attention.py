"""What the model says of itself: raw attention weights, and its exact additive contributions."""

from __future__ import annotations

import torch

from xrec.explain.explainer import Explainer, Request
from xrec.types import Floats


class RawAttention(Explainer):
    """The attention weight of each history item for the target; never negative, so it cannot oppose."""

    requires = ("attention",)
    signed = False

    def values(self, request: Request) -> Floats:
        value = request.value
        value.forwards += 1
        with torch.no_grad():
            return value.model.attention_weights(value.context, value.targets).squeeze(-1).cpu().numpy()


class AdditiveContributions(Explainer):
    """The summands that history items add to the score, read off the model. Complete when every part that sees the
    history is additive; otherwise the completeness error shows the share of the parts that are not (a VAE)."""

    requires = ("additive",)
    complete = True

    def values(self, request: Request) -> Floats:
        value = request.value
        value.forwards += 1
        with torch.no_grad():
            return value.model.contributions(value.context, value.targets).squeeze(-1).cpu().numpy()
