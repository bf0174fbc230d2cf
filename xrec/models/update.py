"""An update: a training step that a part of a model owns, beside the one that minimises the loss terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xrec.models.adam import Optimiser


@dataclass(frozen=True)
class Update:
    """A training step beside the one that minimises the weighted sum of loss terms (a discriminator's, say).

    name: logged as `<name>_loss`. parameters: minimised over in this step and in no other. loss: of a generator, a
    scalar. term: the step is taken unless `loss.weights` of this term is 0, whatever its schedule (None: always).
    every: taken before each so-many-th main step. learning_rate_scale: times `training.learning_rate` and its schedule.
    optimiser: of (parameters, learning rate); None: Adam, as for everything else.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[[torch.Generator], Tensor]
    term: str | None = None
    every: int = 1
    learning_rate_scale: float = 1.0
    optimiser: Callable[[Sequence[nn.Parameter], float], Optimiser] | None = None
