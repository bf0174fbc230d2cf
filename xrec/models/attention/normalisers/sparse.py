"""Gates that share out a weight of 1 among few items, the others exactly 0: sparsemax (Martins and Astudillo, ICML
2016) and 1.5-entmax (Peters, Niculae and Martins, ACL 2019), both weighted by presence.

    sparsemax:  g_j = max(s_j - tau, 0)          with tau such that sum_j p_j g_j = 1
    entmax15:   g_j = max(s_j / 2 - tau, 0)^2

With presence 0 or 1 these are the published maps of what is there. In between they are continuous in p and have slopes,
as if an item of presence p were p items. tau is exact: let x be the scaled logits, falling, and

    P_k = sum_{i <= k} p_i,    A_k = sum_{i <= k} p_i (x_i - x_k),    F_k = sum_{i <= k} p_i (x_i - x_k)^2

A and F grow with k, by what is not negative, so that nothing cancels. The items before the first k where A_k (F_k)
reaches 1 are those with a gate; with the last of them tau = x_k - t, where P t + A = 1 (P t^2 + 2 A t + F = 1). One
order serves all masked copies. Only its highest ranks are looked at, and more where these do not hold the end of every
copy's gates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from xrec.models.attention.as_one import as_one
from xrec.models.attention.normalisers.normaliser import Normaliser

#: entries [B, H, M, L, T] of masked copies that are computed together: what bounds memory
_MAX_ENTRIES = 2_000_000
#: how many times more ranks are looked at where those before were too few
_MORE = 4
#: presence in all below which a copy counts as empty: the gates of less would leave float32
_NOTHING = 1e-30


class Sparse(Normaliser):
    """What sparsemax and 1.5-entmax have in common. scale: of the logits. first: ranks that are looked at first, about
    what gates usually end within; it changes no number."""

    scale: float
    first: int

    @abstractmethod
    def gate(self, depth: Tensor) -> Tensor:
        """Of scaled logits above the threshold; 0 below it."""

    @abstractmethod
    def reached(self, step: Tensor, before: Tensor, above: Tensor) -> Tensor:
        """[..., K, T] sum of the gates if the threshold were at each rank, from the step down to it, P of the ranks
        before it, and its A."""

    @abstractmethod
    def below(self, total: Tensor, above: Tensor, reached: Tensor) -> Tensor:
        """t, how far the threshold lies below a rank with this P, A and sum of gates, which is less than 1."""

    @as_one
    def gates(self, logits: Tensor, presence: Tensor) -> Tensor:
        if logits.shape[-2] == 0:
            return logits
        scaled, padding = logits * self.scale, logits == -torch.inf
        there, known = presence.masked_fill(padding, 0.0), _lowest_for(scaled, padding)

        def highest(n: int) -> tuple[Tensor, Tensor]:
            x, order = known.topk(n, dim=-2)
            return x, there.gather(-2, order)

        *_, last, below = self._solved(highest, logits.shape[-2], there.sum(-2, keepdim=True))
        return self.gate(scaled - last + below)

    def scores(self, logits: Tensor, value: Tensor) -> Callable[[Tensor], Tensor]:
        batch, n_heads, length, n_targets = logits.shape
        if length == 0:
            return lambda presence: value.new_zeros(*presence.shape[:2], value.shape[-1])
        padding = logits == -torch.inf
        x, order = _lowest_for(logits * self.scale, padding).sort(dim=-2, descending=True)
        value = value.take_along_dim(order, dim=-2)
        order = order.masked_fill(padding.gather(-2, order), length)  # a column where nothing ever is
        size = max(1, _MAX_ENTRIES // (batch * n_heads * length * n_targets))

        def score(presence: Tensor) -> Tensor:
            pieces = functional.pad(presence, (0, 1)).split(size, dim=1)
            return torch.cat([self._piece(x, order, value, piece) for piece in pieces], dim=1)

        return score

    @as_one
    def _piece(self, x: Tensor, order: Tensor, value: Tensor, presence: Tensor) -> Tensor:
        """[B, M, T] of sorted x, order and value [B, H, L, T] and presence [B, M, L + 1]."""
        there = presence[:, None, :, :, None]

        def highest(n: int) -> tuple[Tensor, Tensor]:
            return x[:, :, None, :n], there.take_along_dim(order[:, :, None, :n], dim=-2)  # [B, H, M, n, T]

        top, weights, last, below = self._solved(highest, x.shape[-2], there.sum(-2, keepdim=True))
        weights, value = weights * self.gate(top - last + below), value[:, :, : top.shape[-2]]
        if weights.shape[-1] == 1:  # shared by all targets
            return (weights.squeeze(-1) @ value).sum(1)
        return (weights * value.unsqueeze(2)).sum((1, 3))

    def _solved(
        self, highest: Callable[[int], tuple[Tensor, Tensor]], length: int, whole: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The highest ranks, presence at them, and tau in two parts, see `_threshold`; of as many ranks as it takes, up
        to all."""
        n = min(self.first, length)
        while True:
            x, there = highest(n)
            last, below, found = self._threshold(x, there, whole)
            if found or n == length:
                return x, there, last, below
            n = min(n * _MORE, length)

    def _threshold(self, x: Tensor, there: Tensor, whole: Tensor) -> tuple[Tensor, Tensor, bool]:
        """x_k and t [..., 1, T] of the highest ranks x [..., K, T], falling, with presence there [..., K, T]: tau is
        x_k - t, which large logits would round. And whether all are found: the gates end among these, or the whole
        presence [..., 1, T] lies there."""
        step = -x.diff(dim=-2, prepend=x[..., :1, :])
        total = there.cumsum(-2)
        before = total - there
        above = (before * step).cumsum(-2)
        reached = self.reached(step, before, above)
        last = (reached < 1).sum(-2, keepdim=True) - 1
        found = (reached[..., -1:, :] >= 1) | (total[..., -1:, :] >= whole)
        total, above, reached, x = (t.expand_as(reached).gather(-2, last) for t in (total, above, reached, x))
        total = torch.where(total > _NOTHING, total, 1.0)
        return x, self.below(total, above, reached), bool(found.all())


class Sparsemax(Sparse):
    """g_j = max(s_j - tau, 0)"""

    scale = 1.0
    first = 32

    def gate(self, depth: Tensor) -> Tensor:
        return depth.clamp_min(0)

    def reached(self, step: Tensor, before: Tensor, above: Tensor) -> Tensor:
        return above

    def below(self, total: Tensor, above: Tensor, reached: Tensor) -> Tensor:
        return (1 - reached) / total


class Entmax15(Sparse):
    """g_j = max(s_j / 2 - tau, 0)^2"""

    scale = 0.5
    first = 96

    def gate(self, depth: Tensor) -> Tensor:
        return depth.clamp_min(0).square()

    def reached(self, step: Tensor, before: Tensor, above: Tensor) -> Tensor:
        return (step * (2 * above - before * step)).cumsum(-2)  # F_k - F_k-1 = step (A_k-1 + A_k)

    def below(self, total: Tensor, above: Tensor, reached: Tensor) -> Tensor:
        left = 1 - reached
        return left / (above + (above.square() + total * left).sqrt())  # the positive root, without a difference


def _lowest_for(scaled: Tensor, padding: Tensor) -> Tensor:
    """Padding as low as the lowest item, so that differences are finite."""
    lowest = scaled.detach().masked_fill(padding, torch.inf).amin(-2, keepdim=True)
    return torch.where(padding, lowest.masked_fill(lowest == torch.inf, 0.0), scaled)
