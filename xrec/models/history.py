"""A batch of histories as tensors: parallel channels per item, and presence apart from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xrec.types import HistoryTable


@dataclass(frozen=True)
class History:
    """B histories padded to L items. Channels [B, L] as in `HistoryTable` (decayed [B, L, H]); `moment` is shared.

    `presence` [B, L] is 1 for a real item and 0 for padding. Everything that perturbs a history changes presence and
    nothing else. `user` [B] are the rows of the table that the histories were taken from (None: from elsewhere): for
    leaving a user out of what is computed from all of them, and for nothing else.
    """

    item: Tensor
    age: Tensor
    first_age: Tensor
    strength: Tensor
    n_periods: Tensor
    kind: Tensor
    positive: Tensor
    decayed: Tensor
    presence: Tensor
    moment: int
    user: Tensor | None = None

    @classmethod
    def from_table(
        cls, table: HistoryTable, users: Sequence[int] | np.ndarray, device: torch.device | str = "cpu"
    ) -> History:
        """Rows `users` of a table, padded to the longest of them (at least 1 column, so that empty histories are
        legal)."""
        rows = np.asarray(users, dtype=np.int64)
        lengths = table.indptr[rows + 1] - table.indptr[rows]
        width = max(1, int(lengths.max(initial=0)))
        column = np.arange(width)
        real = column[None, :] < lengths[:, None]
        source = np.where(real, table.indptr[rows][:, None] + column[None, :], 0)

        def channel(values: np.ndarray) -> Tensor:
            if len(values) == 0:
                values = np.zeros((1, *values.shape[1:]), dtype=values.dtype)
            gathered = values[source]
            gathered[~real] = 0
            return torch.from_numpy(gathered).to(device)

        return cls(
            item=channel(table.item),
            age=channel(table.age),
            first_age=channel(table.first_age),
            strength=channel(table.strength),
            n_periods=channel(table.n_periods),
            kind=channel(table.kind),
            positive=channel(table.positive),
            decayed=channel(table.decayed),
            presence=torch.from_numpy(real.astype(np.float32)).to(device),
            moment=table.moment,
            user=torch.from_numpy(rows).to(device),
        )

    def __len__(self) -> int:
        return self.item.shape[0]

    def rows(self, index: Tensor | Sequence[int] | slice) -> History:
        """The histories `index`, with the same padding."""
        user = None if self.user is None else self.user[index]
        return replace(self, user=user, **{name: getattr(self, name)[index] for name in CHANNELS})

    def rhythm(self) -> tuple[Tensor, Tensor]:
        """[B, L] mean gap between the periods of an item, and how far it is due again: age / (gap + 1), at most 5. Both
        are 0 for what came once."""
        several = self.n_periods > 1
        gap = torch.where(several, (self.first_age - self.age) / (self.n_periods - 1).clamp_min(1), 0.0)
        return gap, torch.where(several, self.age / (gap + 1), 0.0).clamp(0, 5)

    def without(self, keep: Tensor) -> History:
        """One history (B = 1) with only the items where `keep` [L] is true: really removed, not masked."""
        chosen = keep.bool() & (self.presence[0] > 0)
        return replace(self, **{name: getattr(self, name)[:, chosen] for name in CHANNELS})


@dataclass(frozen=True)
class Positions:
    """N items of histories, rows and columns [N], whose moments are asked about: what is older than they."""

    rows: Tensor
    columns: Tensor


CHANNELS = ("item", "age", "first_age", "strength", "n_periods", "kind", "positive", "decayed", "presence")


def normalised(x: Tensor, smoothing: float = 1.0) -> Tensor:
    """x over the root of `smoothing` + the sum of its squares over the last dimension: the L2 norm of Mult-VAE, made
    smooth at 0 (the empty history), so that gradients exist there."""
    return x * (x.square().sum(-1, keepdim=True) + smoothing).rsqrt()


def own_position(history: History, targets: Tensor, n_items: int) -> Tensor:
    """[B, T] where each target stands in the history, counted from 1; 0 where it does not."""
    batch, length = history.item.shape
    place = torch.arange(1, length + 1, device=history.item.device).expand(batch, -1)
    column = torch.where(history.presence > 0, history.item, n_items)  # padding has a column of its own
    table = torch.zeros(batch, n_items + 1, dtype=torch.int64, device=history.item.device)
    return table.scatter_(1, column, place).gather(1, targets)


def summed_at_items(item: Tensor, value: Tensor, n_items: int) -> Tensor:
    """[..., I] the sum of value [..., L] at each item, of history items [..., L] or what broadcasts to it."""
    return value.new_zeros(*value.shape[:-1], n_items).scatter_add(-1, item.expand_as(value), value)


def at_own_item(item: Tensor, value: Tensor, targets: Tensor | None, n_items: int) -> Tensor:
    """[B, L, T] holding value [B, L] where the target is the history item itself, 0 elsewhere."""
    if targets is not None:
        return value.unsqueeze(-1) * (item.unsqueeze(-1) == targets.unsqueeze(1))
    return value.new_zeros(*item.shape, n_items).scatter_(2, item.unsqueeze(-1), value.unsqueeze(-1))
