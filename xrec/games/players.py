"""What is explained: which players a history has, and which channels belong to each. Players partition a history."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.models.history import CHANNELS, History
from xrec.types import Catalogue, HistoryTable, Ints
from xrec.types import Field as ItemField
from xrec.words import did_you_mean, listed


@dataclass(frozen=True)
class BoundPlayers:
    """The players of B histories of up to L items, in the order of their first items.

    ids, names: per case, external ids and names for people. membership [B, L]: the player that each channel belongs to,
    -1 for padding.
    """

    ids: tuple[tuple[str, ...], ...]
    names: tuple[tuple[str, ...], ...]
    membership: Tensor

    @cached_property
    def n_players(self) -> Ints:
        """[B]"""
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)

    @cached_property
    def width(self) -> int:
        """P, players of the richest case; at least 1."""
        return max(1, int(self.n_players.max(initial=0)))

    @cached_property
    def real(self) -> Tensor:
        """[B, P] which players are there, and no padding."""
        device = self.membership.device
        return torch.arange(self.width, device=device) < torch.from_numpy(self.n_players).to(device).unsqueeze(1)

    @cached_property
    def are_channels(self) -> bool:
        """Whether player j is channel j, so that nothing has to be gathered."""
        channel = torch.arange(self.membership.shape[1], device=self.membership.device)
        own = (self.membership == channel) | (self.membership < 0)
        return self.membership.shape[1] == self.width and bool(own.all())

    def expand(self, masks: Tensor) -> Tensor:
        """Players present [B, M, P] -> channels present [B, M, L], differentiable; padding is absent."""
        if self.are_channels:
            return masks
        index = self.membership.clamp_min(0).unsqueeze(1).expand(-1, masks.shape[1], -1)
        return masks.gather(2, index) * (self.membership >= 0).unsqueeze(1)

    def pooled(self, values: Tensor) -> Tensor:
        """Sums [B, P, ...] over the members of each player of values [B, L, ...] per channel."""
        if self.are_channels:
            return values
        trailing = values.shape[2:]
        member = self.membership.reshape(*self.membership.shape, *[1] * len(trailing))
        total = values.new_zeros(len(values), self.width, *trailing)
        return total.scatter_add(1, member.clamp_min(0).expand_as(values), values * (member >= 0))

    def least(self, values: Tensor) -> Tensor:
        """Smallest value [B, P] among the members of each player of values [B, L] per channel."""
        padded = values.masked_fill(self.membership < 0, torch.inf)
        smallest = padded.new_full((len(values), self.width), torch.inf)
        return smallest.scatter_reduce(1, self.membership.clamp_min(0), padded, "amin")

    def single(self, row: int) -> BoundPlayers:
        """The players of one history without its padding."""
        mine = self.membership[row]
        return BoundPlayers((self.ids[row],), (self.names[row],), mine[mine >= 0].unsqueeze(0))


class Players(ABC):
    """A kind of players. Channels with the same code are one player: players are a partition by construction."""

    name: str

    @abstractmethod
    def codes(self, history: History, catalogue: Catalogue) -> Tensor:
        """[B, L] whole numbers; what stands in padding is ignored.

        Raises:
            SettingError: such players do not exist in this catalogue.
        """

    @abstractmethod
    def label(self, code: int, catalogue: Catalogue) -> tuple[str, str]:
        """The external id of the player of a code, and its name for people."""

    def bind(self, history: History, catalogue: Catalogue) -> BoundPlayers:
        """The players of these histories."""
        codes, real = (t.cpu().numpy() for t in (self.codes(history, catalogue), history.presence > 0))
        membership = np.full(codes.shape, -1, dtype=np.int64)
        labels: list[list[tuple[str, str]]] = []
        for row, there in enumerate(real):
            found, first, inverse = np.unique(codes[row, there], return_index=True, return_inverse=True)
            order = np.argsort(first)
            membership[row, there] = np.argsort(order)[inverse]
            labels.append([self.label(code, catalogue) for code in found[order].tolist()])
        ids, names = (tuple(tuple(label[i] for label in row) for row in labels) for i in (0, 1))
        return BoundPlayers(ids, names, torch.from_numpy(membership).to(history.item.device))

    def count(self, table: HistoryTable, catalogue: Catalogue) -> Ints:
        """[U] numbers of players of all histories of a table; made without padding, and much cheaper than `bind`."""
        counts = np.zeros(table.n_users, dtype=np.int64)
        starts = np.arange(0, len(table.item) + _TOGETHER, _TOGETHER)
        edges = np.unique(np.searchsorted(table.indptr, starts).clip(max=table.n_users))
        for first, last in itertools.pairwise(edges.tolist()):
            entries = slice(int(table.indptr[first]), int(table.indptr[last]))
            codes = self.codes(_one_row(table, entries), catalogue)[0].cpu().numpy()
            codes = codes - codes.min(initial=0)
            n_codes = int(codes.max(initial=0)) + 1
            user = np.repeat(np.arange(last - first), table.lengths()[first:last])
            pairs = np.sort(user * n_codes + codes)  # np.unique takes seven times as long
            fresh = np.diff(pairs, prepend=-1) != 0
            counts[first:last] = np.bincount(pairs[fresh] // n_codes, minlength=last - first)
        return counts


#: history items whose codes are asked for at once
_TOGETHER = 2**20


def _one_row(table: HistoryTable, entries: slice) -> History:
    """Entries of a table as if they were one history."""
    columns = {name: torch.from_numpy(getattr(table, name)[entries])[None] for name in CHANNELS if name != "presence"}
    return History(**columns, presence=torch.ones_like(columns["age"]), moment=table.moment)


class Items(Players):
    """Every history item is a player."""

    name = "items"

    def codes(self, history: History, catalogue: Catalogue) -> Tensor:
        return history.item

    def label(self, code: int, catalogue: Catalogue) -> tuple[str, str]:
        return catalogue.item_ids[code], catalogue.item_names[code]


class Field(Players):
    """All history items of one level of an item field (a category, a brand) are a player. An item of several levels
    belongs to the first of them by name; items without a level are a player of their own.

    Args:
        field: name of an item field; categories only, since numbers and hashed words have no levels with names.
    """

    name = "field"

    def __init__(self, field: str) -> None:
        self.field = str(field)

    def codes(self, history: History, catalogue: Catalogue) -> Tensor:
        field = self._of(catalogue)
        item = history.item.cpu().numpy()
        first = (field.weights[item] > 0).argmax(-1)
        codes = np.take_along_axis(field.codes[item], first[..., None], axis=-1)[..., 0]
        return torch.from_numpy(codes.astype(np.int64)).to(history.item.device)

    def label(self, code: int, catalogue: Catalogue) -> tuple[str, str]:
        level = self._of(catalogue).levels[code]
        return level, level

    def _of(self, catalogue: Catalogue) -> ItemField:
        fields = {field.name: field for field in catalogue.item_fields}
        usable = [name for name, field in fields.items() if field.kind == "categorical"]
        if self.field not in fields:
            raise SettingError(
                f"players.field: no item field {self.field!r}{did_you_mean(self.field, usable)} "
                f"(fields of this data: {listed(usable)})"
            )
        if self.field not in usable:
            reason = {"numeric": "numbers have no levels to group by", "text": "its levels are hashed words, not names"}
            kind = fields[self.field].kind
            raise SettingError(
                f"players.field: {self.field!r} is {kind}: {reason.get(kind, 'it has no levels')} (takes "
                f"{listed(usable)})"
            )
        return fields[self.field]


class Kind(Players):
    """All history items whose last event is of one kind (view, purchase) are a player."""

    name = "kind"

    def codes(self, history: History, catalogue: Catalogue) -> Tensor:
        return history.kind

    def label(self, code: int, catalogue: Catalogue) -> tuple[str, str]:
        kind = catalogue.event_kinds[code]
        return kind, f"last event: {kind}"


class Period(Players):
    """All history items whose last event lies in one period are a player."""

    name = "period"

    def codes(self, history: History, catalogue: Catalogue) -> Tensor:
        return history.moment - history.age.round().long()

    def label(self, code: int, catalogue: Catalogue) -> tuple[str, str]:
        return str(code), f"last event in period {code}"
