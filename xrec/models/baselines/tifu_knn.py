"""TIFU-KNN (Hu et al., SIGIR 2020): what a user buys often and lately, mixed with what the most similar users do."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.models.history import History, summed_at_items
from xrec.models.recommender import Capabilities, Context, FitData, Recommender
from xrec.types import HALF_LIVES, Catalogue

#: histories whose neighbours are looked up together
_ROWS = 256


class TIFUKNN(Recommender):
    """score(u, .) = alpha v_u + (1 - alpha) mean of v_n over the k neighbours n; v: a user's events of each item,
    halved every `half_life` periods (the paper's two decays, within groups of baskets and between them, as one).

    Neighbours are the users of the training periods with the largest cosine of log(1 + v); those that tie for the last
    places share them, so an empty history gets the mean of all users. They are looked up anew from the items that are
    there: a masked history is a shorter one, and the score is not additive. The user's own training periods are among
    the neighbours.

    Args:
        half_life: in periods, one of `xrec.types.HALF_LIVES`.
        n_neighbours: k. alpha: the share of the user's own vector.
    Raises:
        SettingError: settings out of range.
    """

    capabilities = Capabilities(fractional_presence=True)

    def __init__(
        self, catalogue: Catalogue, half_life: float = 8.0, n_neighbours: int = 100, alpha: float = 0.7
    ) -> None:
        super().__init__()
        if half_life not in HALF_LIVES:
            raise SettingError(f"tifu_knn: half_life must be one of {HALF_LIVES}, got {half_life}")
        if n_neighbours < 1:
            raise SettingError(f"tifu_knn: n_neighbours must be at least 1, got {n_neighbours}")
        if not 0 <= alpha <= 1:
            raise SettingError(f"tifu_knn: alpha must be from 0 to 1, got {alpha}")
        self.n_items = catalogue.n_items
        self.channel = HALF_LIVES.index(half_life)
        self.n_neighbours, self.alpha = n_neighbours, alpha
        self.vectors: Tensor  # V' [I, U] sparse
        self.directions: Tensor  # rows of log(1 + V) of length 1 [U, I] sparse

    def attach(self, data: FitData) -> None:
        """The users' vectors at the end of training: the data's own, so that nothing of them is saved."""
        table = data.dataset.histories(data.dataset.train_end + 1)
        there = table.positive > 0
        value = torch.from_numpy(table.decayed[there, self.channel].astype(np.float64))
        user = torch.from_numpy(table.user()[there])
        item = torch.from_numpy(table.item[there])
        self.n_neighbours = min(self.n_neighbours, table.n_users)
        length = torch.zeros(table.n_users, dtype=torch.float64).index_add_(0, user, value.log1p().square()).sqrt()
        cosine = value.log1p() / length[user]
        vectors = _sparse(item, user, value, (self.n_items, table.n_users))
        directions = _sparse(user, item, cosine, (table.n_users, self.n_items))
        self.register_buffer("vectors", vectors.to(data.device), persistent=False)
        self.register_buffer("directions", directions.to(data.device), persistent=False)

    def prepare(self, history: History) -> Context:
        return Context(history)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        history = context.history
        present = context.presence(presence) * history.positive.unsqueeze(1)
        n_copies = present.shape[1]
        amount = (present * history.decayed[..., self.channel].unsqueeze(1)).flatten(0, 1).double()  # [N, L]
        item = history.item.repeat_interleave(n_copies, 0)
        wanted = None if targets is None else targets.repeat_interleave(n_copies, 0)
        pieces = []
        for start in range(0, len(item), _ROWS):
            rows = slice(start, start + _ROWS)
            own = summed_at_items(item[rows], amount[rows], self.n_items)
            near = (self.vectors @ self.neighbours(own).T).T
            mixed = (self.alpha * own + (1 - self.alpha) * near).float()
            pieces.append(mixed if wanted is None else mixed.gather(1, wanted[rows]))
        return torch.cat(pieces).unflatten(0, (len(history), n_copies))

    def neighbours(self, own: Tensor) -> Tensor:
        """[N, U] weights of the neighbours of users with vectors [N, I]; they sum to 1."""
        similar = (self.directions @ own.log1p().T).T.float()  # the user's own length changes no order
        least = similar.topk(self.n_neighbours, 1).values[:, -1:]
        above, at = similar > least, similar == least
        room = self.n_neighbours - above.sum(1, keepdim=True)
        return (above + at * (room / at.sum(1, keepdim=True))).double() / self.n_neighbours


def _sparse(row: Tensor, column: Tensor, value: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.sparse_coo_tensor(torch.stack([row, column]), value, shape, check_invariants=False).coalesce()
