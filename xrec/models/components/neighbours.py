"""Neighbours: what the users with the most similar histories have bought (TIFU-kNN's second half; Hu et al., SIGIR
2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.component import Component
from xrec.models.history import History, normalised, summed_at_items
from xrec.models.recommender import Capabilities, Context, FitData
from xrec.models.sparse import interactions, sparse_rows
from xrec.types import HALF_LIVES, Catalogue, Floats, HistoryTable

#: floats of a dense table of users or items by history items, targets or copies; more is computed piece by piece
BLOCK = 2**25
#: scores of all users for all items that are kept for a training window, at most
_WINDOW = 2**27
#: factor of what is kept in half precision, whose steps are relative only above 6e-5
_SCALE = 1024.0
#: users whose scores are computed together
_BLOCK_USERS = 512


@dataclass(frozen=True)
class Pool:
    """The users that neighbours are chosen from: their vectors v_n, each of unit length, and |v_n| [U] beside it.

    users, items: the vectors as sparse rows of users [U, I], and of items [I, U].
    """

    users: Tensor
    items: Tensor
    norm: Tensor

    @classmethod
    def of(cls, table: HistoryTable, channel: int, n_items: int, device: torch.device) -> Pool:
        """v_n = log(1 + decayed baskets) of the items with an event that is a target."""
        amount = np.log1p(table.decayed[:, channel].astype(np.float64)) * table.positive
        user = table.user()
        norm = np.sqrt(np.bincount(user, weights=amount**2, minlength=table.n_users))
        value = (amount / np.maximum(norm[user], 1e-12)).astype(np.float32)
        return cls(
            sparse_rows(user, table.item, value, (table.n_users, n_items), device),
            sparse_rows(table.item, user, value, (n_items, table.n_users), device),
            torch.from_numpy(norm.astype(np.float32)).to(device),
        )

    @property
    def n_users(self) -> int:
        return self.users.shape[0]

    def rows(self, items: Tensor) -> Tensor:
        """[..., U] dense rows of `items` [...]."""
        flat, start = items.flatten(), self.items.crow_indices()
        first, length = start[flat], start[flat + 1] - start[flat]
        row = torch.repeat_interleave(torch.arange(len(flat), device=flat.device), length)
        entry = torch.arange(len(row), device=flat.device) + (first - length.cumsum(0) + length)[row]
        dense = self.norm.new_zeros(len(flat), self.n_users)
        dense[row, self.items.col_indices()[entry]] = self.items.values()[entry]
        return dense.unflatten(0, items.shape)

    def products(self, vectors: Tensor) -> Tensor:
        """vectors [N, I] -> their products with every user's [N, U]."""
        return (self.users @ vectors.T).T

    def sums(self, weights: Tensor) -> Tensor:
        """weights [N, U] -> their sums of the users' vectors [N, I]."""
        return (self.items @ weights.T).T


def of_whole_histories(table: HistoryTable, channel: int, n_items: int, k: int) -> Floats:
    """[U, I] for all users of a table at once: 1 / k sum over the k nearest others n of s_n v_n (see `Neighbours`), by
    sparse products."""
    from scipy.sparse import csr_matrix, diags  # takes a while to import

    vectors = interactions(table, n_items, np.log1p(table.decayed[:, channel]))
    squared = np.asarray(vectors.multiply(vectors).sum(1)).ravel()
    units = diags(1 / np.sqrt(np.maximum(squared, 1e-24))) @ vectors
    k, found = min(k, table.n_users), np.zeros((table.n_users, n_items), dtype=np.float32)
    for first in range(0, table.n_users, _BLOCK_USERS):
        users = np.arange(first, min(first + _BLOCK_USERS, table.n_users))
        products: Any = vectors[users] @ units.T
        similar = products.toarray() / np.sqrt(squared[users, None] + 1)
        similar[np.arange(len(users)), users] = 0.0
        if k < table.n_users:  # exactly k of them, also where more are as near as the k-th
            nearest = np.argpartition(similar, -k, axis=1)[:, -k:]
            weights = np.zeros_like(similar)
            np.put_along_axis(weights, nearest, np.take_along_axis(similar, nearest, 1), 1)
            similar = weights
        summed: Any = csr_matrix(similar) @ vectors
        found[users] = summed.toarray() / k
    return found


class Neighbours(Component):
    """score_i = w / k sum over the k nearest users n of s_n v_ni, with s_n = <v, v_n> / (|v_n| sqrt(|v|^2 + 1)).

    v = presence x log(1 + baskets decayed at `half_life`) over the present items, and v_n the same of user n: of all
    users at a training window's moment from before the window, and at every later moment as training ended. The user
    itself is none of them. The similarity (a cosine, made smooth at the empty history, which scores 0) weighs the
    neighbours, which the paper's mean does not, so that gradients exist. What a history item adds depends on who is
    near, so the score is not additive; a masked history chooses its neighbours anew.

    Args:
        n_neighbours: k.
        half_life: in periods, one of `xrec.types.HALF_LIVES`.
    Raises:
        SettingError: no neighbour, or a half-life that histories do not carry.
    """

    capabilities = Capabilities(gradients=True, fractional_presence=True)
    group = "wide"
    in_mixture = "evidence"

    def __init__(
        self, catalogue: Catalogue, embedding_size: int, n_neighbours: int = 300, half_life: float = 16.0
    ) -> None:
        super().__init__()
        if n_neighbours < 1:
            raise SettingError(f"neighbours: n_neighbours must be at least 1, got {n_neighbours}")
        if half_life not in HALF_LIVES:
            raise SettingError(f"neighbours: half_life must be one of {HALF_LIVES}, got {half_life}")
        self.n_items, self.n_neighbours = catalogue.n_items, n_neighbours
        self.channel = HALF_LIVES.index(half_life)
        self.weight = nn.Parameter(torch.ones(()))
        self._data: FitData | None = None
        self._pools: dict[int, Pool] = {}  # by moment
        self._windows: dict[int, Tensor] = {}  # by moment: scores of users [U, I]

    def attach(self, data: FitData) -> None:
        self._data, self._pools, self._windows = data, {}, {}

    def pool(self, moment: int) -> Pool:
        """The users as they were before `moment`, or as training ended."""
        assert self._data is not None, "attach comes first"
        dataset = self._data.dataset
        moment = min(moment, dataset.train_end + 1)
        if moment not in self._pools:
            table = dataset.histories(moment)
            self._pools[moment] = Pool.of(table, self.channel, self.n_items, self._data.device)
        return self._pools[moment]

    def amounts(self, history: History) -> Tensor:
        """v [B, L] of the whole history; 0 for padding."""
        return history.decayed[..., self.channel].log1p() * history.positive * history.presence

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        if context.users is not None and presence is None and self._keeps(context):
            return self.weight * self._kept(context.history.moment, context.users, targets).unsqueeze(1)
        return self.weight * self._means(context, presence, targets)

    def _keeps(self, context: Context) -> bool:
        """Whether it is a training window that is the same for all users, with few enough scores to be kept."""
        assert self._data is not None, "attach comes first"
        dataset = self._data.dataset
        return not context.profile and not dataset.own_periods and dataset.catalogue.n_users * self.n_items <= _WINDOW

    @torch.no_grad()
    def _kept(self, moment: int, users: Tensor, targets: Tensor | None) -> Tensor:
        """[B, T] of `_means` for whole histories at a training window's moment, [U, I] in half precision on disk."""
        assert self._data is not None, "attach comes first"
        dataset = self._data.dataset

        def build() -> np.ndarray:
            means = of_whole_histories(dataset.histories(moment), self.channel, self.n_items, self.n_neighbours)
            return (means * _SCALE).astype(np.float16)

        if moment not in self._windows:
            key = {"data": dataset.fingerprint, "half_life": HALF_LIVES[self.channel], "k": self.n_neighbours}
            table = self._data.cache.array("neighbours-window", {**key, "window": moment}, build)
            self._windows[moment] = torch.from_numpy(table)
        rows = self._windows[moment]
        chosen = rows[users.cpu()] if targets is None else rows[users.unsqueeze(-1).cpu(), targets.cpu()]
        return chosen.to(users.device).float() / _SCALE

    def _means(self, context: Context, presence: Tensor | None, targets: Tensor | None) -> Tensor:
        """[B, M, T] the score with a weight of 1."""
        history = context.history
        pool = self.pool(history.moment)
        vectors = self.amounts(history).unsqueeze(1)
        vectors = vectors if presence is None else vectors * presence  # [B, M, L]
        rows = None if presence is None else self._rows(pool, context)
        widest = pool.n_users + self.n_items
        copies = max(1, BLOCK // widest)
        batch = max(1, BLOCK // (widest * min(copies, vectors.shape[1])))
        pieces = []
        for start in range(0, len(history), batch):
            part = slice(start, start + batch)
            piece = history.rows(part)
            wanted = None if targets is None else targets[part]
            found = []
            for masked in vectors[part].split(copies, dim=1):
                weights = self._weights(pool, piece, masked, None if rows is None else rows[part])
                found.append(self._summed(pool, weights, wanted))
            pieces.append(torch.cat(found, dim=1))
        return torch.cat(pieces)

    def _rows(self, pool: Pool, context: Context) -> Tensor | None:
        """[B, L, U] what the pool's users have of the histories' items, for many masked copies; None: too large."""
        item = context.history.item
        if item.numel() * pool.n_users > BLOCK:
            return None
        if self not in context.kept:
            context.kept[self] = pool.rows(item)
        return context.kept[self]

    def _weights(self, pool: Pool, history: History, vectors: Tensor, rows: Tensor | None) -> Tensor:
        """[B, M, U] s_n |v_n| / k of the nearest users, 0 of others, for vectors [B, M, L]."""
        scaled = normalised(vectors)
        if rows is None:
            whole = summed_at_items(history.item.unsqueeze(1), scaled, self.n_items)
            similar = pool.products(whole.flatten(0, 1)).unflatten(0, scaled.shape[:2])
        else:
            similar = scaled @ rows
        if history.user is not None:
            similar = similar.scatter(2, history.user.reshape(-1, 1, 1).expand(-1, similar.shape[1], 1), 0.0)
        k = min(self.n_neighbours, pool.n_users)
        nearest = similar.topk(k, dim=-1, sorted=False)  # whoever has nothing in common weighs 0
        return torch.zeros_like(similar).scatter(2, nearest.indices, nearest.values) * (pool.norm / k)

    def _summed(self, pool: Pool, weights: Tensor, targets: Tensor | None) -> Tensor:
        """[B, M, T] sums of the users' vectors by weights [B, M, U]."""
        size = 0 if targets is None else targets.numel() * pool.n_users
        if targets is not None and size <= min(BLOCK, pool.items.values().numel()):
            return weights @ pool.rows(targets).transpose(1, 2)
        whole = pool.sums(weights.flatten(0, 1)).unflatten(0, weights.shape[:2])
        return whole if targets is None else whole.gather(2, targets.unsqueeze(1).expand(-1, whole.shape[1], -1))
