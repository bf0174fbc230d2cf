"""A recommender in closed form as a component: fitted apart, and never trained."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from xrec.errors import SettingError
from xrec.models.baselines.item_to_item import ItemToItem
from xrec.models.component import Component
from xrec.models.recommender import Capabilities, Context, FitData
from xrec.types import Catalogue


class Fixed(Component):
    """weight x the score of an item-to-item model (EASE, item_knn, ...), exactly additive.

    It has seen every training target, so that whatever is trained beside it would learn to lean on it: training leaves
    it out, whatever the examples are, and the rest of the model is trained as if it were alone.

    Args:
        model: factory (catalogue) -> the model. weight: chosen on validation, like the model's own settings.
    Raises:
        SettingError: a weight that is not above 0.
    """

    capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True)
    linear = True
    fixed = True
    in_mixture = "evidence"

    def __init__(
        self, catalogue: Catalogue, embedding_size: int, model: Callable[..., ItemToItem], weight: float = 1.0
    ) -> None:
        super().__init__()
        if weight <= 0:
            raise SettingError(f"fixed: weight must be above 0, got {weight}; leave the component out for 0")
        self.weight = weight
        self.model = model(catalogue=catalogue)

    def attach(self, data: FitData) -> None:
        self.model.attach(data)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        if presence is None and targets is None:  # one copy: no [B, L, I] table is needed
            return self.weight * self.model.score(context)
        return context.presence(presence) @ self.contributions(context, targets)

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        return self.weight * self.model.contributions(context, targets)
