"""A softmax among what is there: the same whether an item is masked or removed, for any spread of logits, and smooth in
presence. Two functions give the weights of one history, a class the mean of values for many masked copies of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xrec.models.attention.as_one import as_one

#: nats within which gates may share a shift: exp(-60) is far above the smallest float32
_SAFE = 60.0
#: nats of a band of gates where they spread further
_BAND = 40.0
#: nats by which an absent item may outweigh those that are there; beyond it its slope, which float32 would not hold, is
#: bounded
_LARGEST = 40.0


@as_one
def present_softmax(logits: Tensor, present: Tensor, dim: int = -1) -> Tensor:
    """p_j exp(logit_j) / sum_k p_k exp(logit_k) over a dimension; 0 throughout where nothing is there."""
    return present_gates(logits, present, dim) * present


@as_one
def present_gates(logits: Tensor, present: Tensor, dim: int = -1) -> Tensor:
    """exp(logit_j) / sum_k p_k exp(logit_k) over a dimension, bounded for what is absent."""
    if logits.shape[dim] == 0:
        return logits
    shift = (logits.detach() + present.detach().log()).amax(dim, keepdim=True)
    gates = (logits - _finite(shift)).clamp_max(_LARGEST).exp()
    return gates / _or_one((gates * present).sum(dim, keepdim=True))


class PresentMean:
    """sum_j p_j exp(logit_j) value_j / sum_j p_j exp(logit_j) of masked copies: logits [..., L, T] or [..., L, 1],
    value [..., L, T]; -inf is padding.

    Where the logits spread over at most 60 nats, gates share a shift by their largest and two products serve all
    copies. Otherwise gates are taken in bands of 40 nats, each with a shift of its own, two products a band; a copy
    weighs the bands relative to its highest that is not empty. Both are exact to rounding.
    """

    def __init__(self, logits: Tensor, value: Tensor) -> None:
        self._bands: list[int] = []
        if logits.shape[-2] == 0:
            self._tables = logits, value
            return
        depth = _finite(logits.detach().amax(-2, keepdim=True)) - logits
        known = depth.detach().masked_fill(logits == -math.inf, 0.0)
        if float(known.max()) <= _SAFE:
            gate = (-depth).exp()
            self._tables = gate, gate * value
        else:  # the lowest band first
            self._bands = sorted((known / _BAND).long().unique().tolist(), reverse=True)
            self._tables = depth, value

    @as_one
    def __call__(self, presence: Tensor) -> Tensor:
        """[..., M, T] of presence [..., M, L]; 0 where nothing is there."""
        if self._bands:
            return self._of_bands(presence)
        gate, gated = self._tables
        return (presence @ gated) / _or_one(presence @ gate)

    def _of_bands(self, presence: Tensor) -> Tensor:
        (depth, value), base = self._tables, None
        total = weight = presence.new_zeros(())
        for band in self._bands:
            outside = (depth.detach() / _BAND).long() != band
            gate = (band * _BAND - depth).masked_fill(outside, -math.inf).exp()
            own, owned = presence @ gate, presence @ (gate * value)
            if base is None:
                total, weight, base = owned, own, torch.full_like(own, band)
                continue
            # the sums so far are relative to band `base`; this one is higher: it is the base if anything is there
            rises, apart = (own > 0) | (weight == 0), (base - band) * _BAND
            before = torch.where(rises, (-apart).exp(), 1.0)
            here = torch.where(rises, 1.0, apart.clamp_max(_LARGEST).exp())
            total, weight = total * before + owned * here, weight * before + own * here
            base = torch.where(rises, float(band), base)
        return total / _or_one(weight)


def _finite(shift: Tensor) -> Tensor:
    return shift.masked_fill(shift == -math.inf, 0.0)


def _or_one(total: Tensor) -> Tensor:
    return torch.where(total > 0, total, 1.0)
