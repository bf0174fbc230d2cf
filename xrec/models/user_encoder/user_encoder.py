"""What a user encoder is: it turns M masked copies of a history into latents."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xrec.models.component import Component, target_features
from xrec.models.history import History
from xrec.models.recommender import Context
from xrec.types import Catalogue


@dataclass(frozen=True)
class Encoded:
    """user [B, M, d] in the space of the item features, and the encoder's own loss terms, unweighted, per masked copy
    [B, M] (empty when scoring)."""

    user: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


class UserEncoder(Component):
    """score = <user, f_i>, with the item encoder's features f [I, embedding_size]."""

    uses_features = True

    def __init__(self, catalogue: Catalogue, embedding_size: int) -> None:
        super().__init__()

    @abstractmethod
    def encode(self, history: History, presence: Tensor, generator: torch.Generator | None = None) -> Encoded:
        """Users for presence [B, M, L]. With a `generator` (training) the posterior is sampled and terms are
        returned; without one its mean is taken."""

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        encoded = self.encode(context.history, context.presence(presence), context.generator)
        if presence is None:
            context.kept[self] = encoded.terms
        return encoded.user @ target_features(context, targets).transpose(-1, -2)

    def terms(self, context: Context, wanted: set[str]) -> dict[str, Tensor]:
        return {name: term.squeeze(1) for name, term in context.kept.get(self, {}).items() if name in wanted}
