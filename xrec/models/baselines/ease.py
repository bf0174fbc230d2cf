"""EASE (Steck, WWW 2019): score(u, i) = sum over history items j of B[j, i]; with recency, attributes and cold items as
options. Items without an event of a kind that is to be predicted (seen, not bought) are no part of either."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from xrec.models.baselines.item_to_item import ItemToItem
from xrec.models.closed_form import fitted_weights
from xrec.models.cold_map import ColdMap
from xrec.models.gram import Gram
from xrec.models.recommender import FitData
from xrec.models.settings import above_0
from xrec.types import Catalogue


class EASE(ItemToItem):
    """Exactly additive whatever is chosen.

    Args:
        regularization: lambda of the ridge; larger shrinks more.
        history_decay, half_life: recency of the history that is scored, see `ItemToItem`.
        gram_decay: two items of a user, bought g periods apart, count gram_decay^g in the Gram matrix; null: 1.
        attribute_weight: so much times the cosine similarity of TF-IDF attributes is added to the Gram matrix.
        diagonal_scale: factor of the Gram matrix's diagonal, before lambda is added.
        transition_weight: of what users took after what, over what they took beside what; see `xrec.models.gram`.
        cold_map: gives items without a training event columns of their own, from their attributes; null: none.
    Raises:
        SettingError: settings out of range.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        regularization: float = 500.0,
        history_decay: float | None = None,
        half_life: float | None = None,
        gram_decay: float | None = None,
        attribute_weight: float = 0.0,
        diagonal_scale: float = 1.0,
        transition_weight: float = 0.0,
        cold_map: ColdMap | None = None,
    ) -> None:
        super().__init__(catalogue, history_decay, half_life)
        above_0("ease", regularization=regularization)
        self.regularization = regularization
        decay = 1.0 if gram_decay is None else gram_decay
        self.gram = Gram(decay, attribute_weight, diagonal_scale, transition_weight)
        self.cold_map = cold_map
        self.capabilities = replace(self.capabilities, cold_items=cold_map is not None or attribute_weight > 0)

    def fitted(self, data: FitData) -> Tensor:
        return fitted_weights(data, self.regularization, data.dataset.train_end + 1, self.gram, self.cold_map)
