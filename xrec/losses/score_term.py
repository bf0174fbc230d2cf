"""Loss terms that need the whole score, of masked histories too: they are handed the model's score as a callable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Score(Protocol):
    """The model's score of a batch's targets, differentiable."""

    def __call__(self, presence: Tensor | None, components: Sequence[str] | None = None) -> Tensor:
        """presence [B, M, L] -> scores [B, M, T]; None: of the whole history, M = 1. components: of these alone (None:
        the model's score)."""
        ...


class ScoreTerm(Protocol):
    """A node `loss.terms.<name>` of the config, weighted by `loss.weights.<name>`.

    One that asks for the score of some components alone holds their names as `components`; a model without one of them
    is then refused before it is trained.
    """

    def __call__(
        self, score: Score, presence: Tensor, labels: Tensor, log_weight: Tensor, generator: torch.Generator
    ) -> Tensor:
        """An unweighted loss per user [B].

        Args:
            score: of (presence, components); of the whole history by all components it is already there. Every other
                call draws its own noise (dropout, a VAE's latents), and the linear path's score of the whole history
                may come from a table of half precision: a difference of two calls holds both, so compare masked copies
                of one call where that matters.
            presence: [B, L] of the whole history. labels [B, T] and log_weight [B, T] as in `losses.reconstruction`.
        """
        ...
