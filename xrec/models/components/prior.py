"""The item prior: what an item gets from an empty history."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xrec.models.component import Component
from xrec.models.item_statistics import N_STATISTICS
from xrec.models.recommender import Context
from xrec.types import Catalogue


class Prior(Component):
    """b_i + theta . statistics_i(moment) + level. Its own loss term `item_bias` is the mean of squared biases b;
    shrinking them matters for new items."""

    term_names = ("item_bias",)
    group = "wide"
    constant = True
    in_mixture = "factor"

    def __init__(self, catalogue: Catalogue, embedding_size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(catalogue.n_items))
        self.statistics = nn.Parameter(torch.zeros(N_STATISTICS))
        self.level = nn.Parameter(torch.tensor(-6.0))  # the share of items a user buys is about exp(-6)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        """[1, 1, I], or [B, 1, T] at the targets."""
        prior = self.bias + context.tables["statistics"] @ self.statistics + self.level
        return (prior.unsqueeze(0) if targets is None else prior[targets]).unsqueeze(-2)

    def item_terms(self, generator: torch.Generator, wanted: set[str]) -> dict[str, Tensor]:
        return {"item_bias": self.bias.square().mean()} if "item_bias" in wanted else {}
