"""What a user encoder is: it turns M masked copies of a history into latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from xrec.models.history import History


@dataclass(frozen=True)
class Encoded:
    """z [B, M, d] and the encoder's own loss terms, unweighted (empty when scoring)."""

    z: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


class UserEncoder(nn.Module, ABC):
    @abstractmethod
    def encode(self, history: History, presence: Tensor, generator: torch.Generator | None = None) -> Encoded:
        """Latents for presence [B, M, L]. With a `generator` (training) the posterior is sampled and terms are
        returned; without one z is its mean."""
