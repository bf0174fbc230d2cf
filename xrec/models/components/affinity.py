"""Affinity: what a user's history says of a category, a brand or a type speaks for the other items of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.component import Component
from xrec.models.history import History
from xrec.models.recommender import Capabilities, Context, FitData
from xrec.models.samples import drawn_histories
from xrec.types import HALF_LIVES, Catalogue
from xrec.words import did_you_mean, listed

#: fields of more levels are left out unless they are asked for by name: a table of them is items x levels
MAX_LEVELS = 1000
#: log of the standard deviation of what a field says, at the start
_START = -3.0
#: users that it is measured on
_FIT_USERS = 256


class Affinity(Component):
    """score = sum over fields f of a_f sum_j r_j s_f(j, i), exactly additive over history items j.

    s_f(j, i) = sum over levels l of w_jl w_il is the share of field f that items j and i have in common (1 for the same
    single value; "(missing)" is nothing to have in common); r_j = log(1 + baskets decayed at `half_life`), 0 for items
    without an event of a kind that is to be predicted. The weights a_f, above 0, are learned as their logs. Broad
    levels have much in common: weights start where what fields say of training users has the same standard deviation.

    Args:
        fields: names of categorical item fields; None: all of at most 1,000 levels.
        half_life: in periods, one of `xrec.types.HALF_LIVES`.
    Raises:
        SettingError: a field that is none or not categorical, no field at all, or a half-life that histories do not
            carry.
    """

    capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True)
    linear = True
    sparse = True
    group = "wide"
    in_mixture = "evidence"

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        fields: Sequence[str] | None = None,
        half_life: float = 16.0,
    ) -> None:
        super().__init__()
        if half_life not in HALF_LIVES:
            raise SettingError(f"affinity: half_life must be one of {HALF_LIVES}, got {half_life}")
        able = {field.name: field for field in catalogue.item_fields if field.kind == "categorical"}
        for name in fields or ():
            if name not in able:
                hint = did_you_mean(name, able)
                raise SettingError(f"affinity: no categorical item field {name!r}{hint}; there are {listed(able)}")
        chosen = list(able) if fields is None else list(fields)
        if fields is None:
            chosen = [name for name in chosen if len(able[name].levels) <= MAX_LEVELS]
        if not chosen:
            raise SettingError("affinity: no categorical item field; leave affinity out of model/wide")
        self.fields = tuple(chosen)
        self.channel = HALF_LIVES.index(half_life)
        self.log_weight = nn.Parameter(torch.full((len(chosen),), _START))
        sizes = [len(able[name].levels) for name in chosen]
        codes = [able[name].codes.astype(np.int64) + sum(sizes[:place]) for place, name in enumerate(chosen)]
        # level 0 is "(missing)"
        shares = [np.where(able[name].codes > 0, able[name].weights, 0.0).astype(np.float32) for name in chosen]
        field = [place for place, code in enumerate(codes) for _ in range(code.shape[1])]
        self.n_levels = sum(sizes)
        self.levels: Tensor  # [I, m] the levels of all fields as one vocabulary
        self.shares: Tensor  # [I, m]
        self.field: Tensor  # [m] which field each place belongs to
        self.register_buffer("levels", torch.from_numpy(np.concatenate(codes, axis=1)), persistent=False)
        self.register_buffer("shares", torch.from_numpy(np.concatenate(shares, axis=1)), persistent=False)
        self.register_buffer("field", torch.tensor(field), persistent=False)

    @torch.no_grad()
    def fit(self, data: FitData) -> None:
        context = Context(drawn_histories(data, _FIT_USERS))
        if len(context.history) == 0:
            return
        start = torch.zeros_like(self.log_weight)
        for place in range(len(start)):
            self.log_weight.fill_(-math.inf)[place] = 0.0
            deviation = self.score(context).std()
            start[place] = _START - (deviation.log() if deviation > 0 else 0.0)
        self.log_weight.copy_(start)

    def amounts(self, history: History) -> Tensor:
        """r [B, L]; 0 for padding."""
        return history.decayed[..., self.channel].log1p() * history.positive * history.presence

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        history, amounts = context.history, self.amounts(context.history).unsqueeze(1)
        amounts = amounts if presence is None else amounts * presence  # [B, M, L]
        copies = amounts.shape[:2]
        value = (amounts.unsqueeze(-1) * self.shares[history.item].unsqueeze(1)).flatten(2)  # [B, M, L m]
        level = self.levels[history.item].flatten(1).unsqueeze(1).expand_as(value)
        profile = value.new_zeros(*copies, self.n_levels).scatter_add(2, level, value)
        weighted = self.shares * self.log_weight.exp()[self.field]
        if targets is None:
            total = profile.new_zeros(())
            for place in range(len(self.field)):
                total = total + profile[..., self.levels[:, place]] * weighted[:, place]
            return total
        wanted = self.levels[targets].flatten(1).unsqueeze(1).expand(*copies, -1)
        found = profile.gather(2, wanted).unflatten(-1, (targets.shape[1], -1))
        return (found * weighted[targets].unsqueeze(1)).sum(-1)

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        item = context.history.item
        level, share = self.levels[item], self.shares[item]  # [B, L, m]
        weighted = self.shares * self.log_weight.exp()[self.field]
        wanted, weights = (self.levels, weighted) if targets is None else (self.levels[targets], weighted[targets])
        total = share.new_zeros(())
        for own in range(len(self.field)):
            for other in (self.field == self.field[own]).nonzero().flatten().tolist():
                same = level[..., own, None] == wanted[..., other].unsqueeze(-2)
                total = total + share[..., own, None] * weights[..., other].unsqueeze(-2) * same
        return self.amounts(context.history).unsqueeze(-1) * total
