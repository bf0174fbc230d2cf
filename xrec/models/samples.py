"""A sample of training users, for starting values that are fitted."""

from __future__ import annotations

import numpy as np
import torch

from xrec.models.history import History
from xrec.models.recommender import FitData
from xrec.types import Ints


def drawn_users(data: FitData, n: int, generator: torch.Generator) -> Ints:
    """At most n users of two or more items in training, in random order."""
    able = np.flatnonzero(data.dataset.histories(data.dataset.train_end + 1).lengths() > 1)
    return able[torch.randperm(len(able), generator=generator)[:n].numpy()]


def drawn_histories(data: FitData, n: int) -> History:
    """Histories of such users as training ended; the draw leaves the data's generator as it was."""
    generator = torch.Generator().manual_seed(data.generator.initial_seed())
    table = data.dataset.histories(data.dataset.train_end + 1)
    return History.from_table(table, drawn_users(data, n, generator), data.device)
