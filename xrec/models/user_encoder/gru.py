"""GRU4Rec (Hidasi et al., ICLR 2016): a recurrent net over the history in order of age; its last state is the user."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.models.component import Component, target_features
from xrec.models.history import Positions
from xrec.models.recommender import Context
from xrec.models.settings import at_least, from_0_below_1
from xrec.models.user_encoder.layers import dropped
from xrec.types import Catalogue

#: numbers of the gates of masked copies that are computed together: what bounds memory
_NUMBERS = 2**22


class GRU(Component):
    """score(u, i) = <user, f_i> / sqrt(d), user = a linear map of the state after the newest item.

    The inputs are the items' features f, times sqrt(d), the oldest first; of one age in order of their ids, whatever
    their order in the history. A step is torch's gated recurrent unit (Cho et al., EMNLP 2014), and presence p says how
    much of it is done: state = p new + (1 - p) old. So an absent item leaves the state as it is, and a masked history
    is a removed one. An empty history is the linear map's bias. The state after an item does not depend on the moment:
    one pass gives the scores of all positions of a sequence, each from the older items alone, so that those of one age
    do not see each other.

    Args:
        hidden_size: of the state. dropout: of inputs and of the last state, number by number, in training.
    Raises:
        SettingError: a size below 1, or a dropout outside [0, 1).
    """

    uses_features = True
    positions = True

    def __init__(self, catalogue: Catalogue, embedding_size: int, hidden_size: int = 128, dropout: float = 0.2) -> None:
        super().__init__()
        at_least(1, "gru", hidden_size=hidden_size)
        from_0_below_1("gru", dropout=dropout)
        self.dropout, self.scale = dropout, embedding_size**-0.5
        self.cell = nn.GRUCell(embedding_size, hidden_size)
        self.out = nn.Linear(hidden_size, embedding_size)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        present, inputs = context.presence(presence), self._inputs(context)
        size = max(1, _NUMBERS // max(1, len(present) * inputs.shape[-1]))
        pieces = [deque(self.states(context, inputs, piece), maxlen=1)[0] for piece in present.split(size, dim=1)]
        last = torch.cat(pieces, dim=1)
        return self._users(context, last) @ target_features(context, targets).transpose(-1, -2)

    def score_positions(self, context: Context, positions: Positions, targets: Tensor) -> Tensor:
        age = context.history.age
        states = self.states(context, self._inputs(context), context.presence(None))
        by_place = torch.stack(list(states))[:, :, 0]  # [L + 1, B, h]
        n_older = (age[positions.rows] > age[positions.rows, positions.columns].unsqueeze(1)).sum(1)
        return self._users(context, by_place[n_older, positions.rows]) @ target_features(context, targets).T

    def _users(self, context: Context, states: Tensor) -> Tensor:
        """[..., d] of states [..., h]."""
        return self.out(dropped(states, self.dropout, context.generator)) * self.scale

    def _inputs(self, context: Context) -> Tensor:
        """[B, L, 3 h] what the items add to the gates (reset, update, new), in the order of the history."""
        items = context.tables["features"][context.history.item] / self.scale
        return functional.linear(
            dropped(items, self.dropout, context.generator), self.cell.weight_ih, self.cell.bias_ih
        )

    def states(self, context: Context, inputs: Tensor, present: Tensor) -> Iterator[Tensor]:
        """States [B, M, h] before the oldest item and after each, for inputs [B, L, 3 h] and presence [B, M, L]."""
        order = by_age(context)
        inputs = inputs.gather(1, order.unsqueeze(-1).expand_as(inputs)).unsqueeze(1)
        present = present.gather(2, order.unsqueeze(1).expand_as(present)).unsqueeze(-1)
        state = inputs.new_zeros(*present.shape[:2], self.cell.hidden_size)
        yield state
        for place in range(order.shape[1]):
            reset, update, new = inputs[:, :, place].chunk(3, -1)
            of_reset, of_update, of_new = functional.linear(state, self.cell.weight_hh, self.cell.bias_hh).chunk(3, -1)
            kept = torch.sigmoid(update + of_update)
            new = torch.tanh(new + torch.sigmoid(reset + of_reset) * of_new)
            state = torch.lerp(state, new, present[:, :, place] * (1 - kept))
            yield state


def by_age(context: Context) -> Tensor:
    """[B, L] columns of the history, the oldest first and of one age by id; padding, whose age is 0, last."""
    by_id = context.history.item.argsort(dim=1, stable=True)
    return by_id.gather(1, context.history.age.gather(1, by_id).argsort(dim=1, descending=True, stable=True))
