"""Loss terms that need the whole score, of masked histories too: they are handed the model's score as a callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class ScoreTerm(Protocol):
    """A node `loss.terms.<name>` of the config, weighted by `loss.weights.<name>`."""

    def __call__(
        self,
        score: Callable[[Tensor | None], Tensor],
        presence: Tensor,
        labels: Tensor,
        log_weight: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """An unweighted scalar, the mean over the users of the batch.

        Args:
            score: presence [B, M, L] -> scores [B, M, T] of the batch's sampled targets, differentiable; None: of the
                whole history, M = 1, already there. Every other call draws its own noise (dropout, a VAE's latents),
                and the linear path's score of the whole history comes from a table of half precision: a difference of
                two calls holds both, so compare masked copies of one call where that matters.
            presence: [B, L] of the whole history. labels [B, T] and log_weight [B, T] as in `losses.reconstruction`.
        """
        ...
