"""Item attributes as a GAN sees them: real items and generated ones are the same kind of thing, drawn levels.

An item is shown as draws: of a category one level; of a field of several values `n_draws` levels, drawn by their
weights and averaged; of a number whether it is there, and its value. The generator's levels are drawn from its softmax
by straight-through Gumbel-softmax (Jang et al., ICLR 2017, section 2.2): hard going forward, soft going back.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.models.item_encoder.attribute_codes import AttributeCodes

#: levels drawn at most of a field of several values: enough to show which stand together, and cheap for texts
MOST_DRAWS = 8
TINY = 1e-20


class AttributeSampler(nn.Module):
    """Draws of x [N, n_columns] from items and from the generator's logits, and the likelihood of items under them.

    temperature: of the soft levels that gradients flow through.
    """

    def __init__(self, codes: AttributeCodes, temperature: float) -> None:
        super().__init__()
        self.codes, self.temperature = codes, temperature
        self.fields: list[_Levels | _Number] = []
        for places, numeric in zip(codes.places, codes.numeric, strict=True):
            several = min(places.stop - places.start, MOST_DRAWS)
            self.fields.append(_Number() if numeric else _Levels(several, temperature))
        self.field_of: Tensor
        field_of = np.repeat(np.arange(len(codes.sizes)), codes.sizes)
        self.register_buffer("field_of", torch.from_numpy(field_of), persistent=False)

    def items(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Items [N], or [N, F] one for each field -> x."""
        x = self.codes.weights.new_zeros(len(rows), self.codes.n_columns)
        for number, (field, at) in enumerate(zip(self.fields, self.codes.places, strict=True)):
            chosen = rows if rows.dim() == 1 else rows[:, number]
            x.scatter_add_(1, *field.shown(self.codes.columns[chosen, at], self.codes.weights[chosen, at], generator))
        return x

    def generated(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """The generator's logits [N, n_columns] -> x, with straight-through gradients."""
        parts = logits.split(self.codes.sizes, dim=-1)
        return torch.cat([field.drawn(part, generator) for field, part in zip(self.fields, parts, strict=True)], -1)

    def expected(self, logits: Tensor) -> Tensor:
        """The mean of what is drawn from logits [N, n_columns]: shares of levels; of a number the chance that it is
        missing, and its value times the chance that it is there."""
        parts = logits.split(self.codes.sizes, dim=-1)
        return torch.cat([field.expected(part) for field, part in zip(self.fields, parts, strict=True)], -1)

    def logits(self, shares: Tensor, least: float) -> Tensor:
        """Logits [n_columns] under which levels have these shares, or `least`, and numbers these means."""
        logits = shares.clamp_min(least).log()
        for size, start, numeric in zip(self.codes.sizes, self.codes.offsets, self.codes.numeric, strict=True):
            if numeric:
                missing = shares[start].clamp(least, 1 - least)
                logits[start : start + size] = torch.stack([missing.logit(), shares[start + 1] / (1 - missing)])
        return logits

    def named(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Which levels of items [N] the most probable ones of logits [N, n_columns] are: 0 or 1 for each category and
        text [N, C]; of several values any will do."""
        columns, weights = self.codes.columns[rows], self.codes.weights[rows]
        right = []
        for at, start, size, numeric in zip(
            self.codes.places, self.codes.offsets, self.codes.sizes, self.codes.numeric, strict=True
        ):
            if not numeric:
                first = logits[:, start : start + size].argmax(1, keepdim=True) + start
                right.append(((columns[:, at] == first) & (weights[:, at] > 0)).any(1).float())
        return torch.stack(right, 1) if right else logits.new_ones(len(rows), 1)

    def swapped(self, n: int, share: float, generator: torch.Generator) -> Tensor:
        """[n, F] which fields are another item's: instance noise that leaves drawn levels what they are."""
        return torch.rand(n, len(self.fields), generator=generator, device=self.field_of.device) < share

    def mixed(
        self, rows: Tensor, made: Tensor, others: Tensor, share: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Items [N] as one for each field [N, F], and x [N, n_columns], both with that share of the fields of other
        items [N]."""
        rows = torch.where(self.swapped(len(rows), share, generator), others.unsqueeze(1), rows.unsqueeze(1))
        swapped = self.swapped(len(made), share, generator)[:, self.field_of]
        return rows, torch.where(swapped, self.items(others, generator), made)

    def losses(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Reconstruction of items [N] from logits [N, n_columns], mean over items, by field [F]: cross-entropy of
        the weighted levels in nats; squared error for numbers."""
        columns, weights = self.codes.columns[rows], self.codes.weights[rows]
        parts = zip(
            self.fields,
            logits.split(self.codes.sizes, dim=-1),
            self.codes.places,
            self.codes.offsets,
            strict=True,
        )
        return torch.stack(
            [field.loss(part, columns[:, at] - start, weights[:, at]) for field, part, at, start in parts]
        )


class _Levels:
    """A category or text: logits of its levels, of which `n_draws` are drawn."""

    def __init__(self, n_draws: int, temperature: float) -> None:
        self.n_draws, self.temperature = n_draws, temperature

    def shown(self, columns: Tensor, weights: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Columns and weights [N, m] of the field -> those of the draws."""
        if columns.shape[1] == 1:
            return columns, weights
        drawn = torch.multinomial(weights, self.n_draws, replacement=True, generator=generator)
        return columns.gather(1, drawn), torch.full_like(weights[:, :1], 1 / self.n_draws).expand(-1, self.n_draws)

    def drawn(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        shape = (len(logits), self.n_draws, logits.shape[1])
        uniform = torch.rand(shape, generator=generator, device=logits.device).add_(TINY)
        gumbel = uniform.log_().neg_().add_(TINY).log_().neg_()
        noisy = logits.unsqueeze(1) + gumbel
        hard = torch.zeros_like(noisy).scatter_(-1, noisy.detach().argmax(-1, keepdim=True), 1.0)
        if logits.requires_grad:
            soft = (noisy / self.temperature).softmax(-1)
            hard = hard + (soft - soft.detach())
        return hard.mean(1)

    def expected(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)

    def loss(self, logits: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        """Mean cross-entropy of the weighted levels [N, m]."""
        if codes.shape[1] == 1:
            return functional.cross_entropy(logits, codes[:, 0])
        return -(logits.log_softmax(-1).gather(1, codes) * weights).sum(1).mean()


class _Number:
    """A number: the logit of its being missing, and its scaled value."""

    def shown(self, columns: Tensor, weights: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return columns, weights

    def drawn(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(len(logits), 1, generator=generator, device=logits.device).clamp(1e-6, 1 - 1e-6)
        soft = (logits[:, :1] + uniform.logit()).sigmoid()
        missing = (soft > 0.5).to(soft.dtype) + (soft - soft.detach())
        return torch.cat([missing, (1 - missing) * logits[:, 1:]], dim=-1)

    def expected(self, logits: Tensor) -> Tensor:
        missing = logits[:, :1].sigmoid()
        return torch.cat([missing, (1 - missing) * logits[:, 1:]], dim=-1)

    def loss(self, logits: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        """Mean squared error of the chance that it is missing, and of the value where there is one."""
        missing = (codes == 0).to(weights.dtype)
        off = (logits[:, :1].sigmoid() - missing).square() + (1 - missing) * (logits[:, 1:] - weights).square()
        return off.mean()
