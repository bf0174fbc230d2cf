"""What encoders of histories share: normalised and noised inputs, and a layer over the history's rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import SettingError
from xrec.models.history import History
from xrec.types import Catalogue


def check_dropout(owner: str, dropout: float) -> None:
    """Raises: SettingError, when it is outside [0, 1)."""
    if not 0 <= dropout < 1:
        raise SettingError(f"{owner}: dropout must be in [0, 1), got {dropout}")


def normalised(x: Tensor, smoothing: float = 1.0) -> Tensor:
    """x over the root of `smoothing` + the sum of its squares over the last dimension: the L2 norm of Mult-VAE, made
    smooth at 0 (the empty history), so that gradients exist there."""
    return x * (x.square().sum(-1, keepdim=True) + smoothing).rsqrt()


def dropped(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Inverted dropout: each entry is 0 with probability `rate`, the others are divided by 1 - rate. Without a
    generator (scoring) nothing is dropped."""
    if generator is None or rate == 0:
        return x
    keep = torch.rand(x.shape, generator=generator, device=x.device) >= rate
    return x * keep / (1.0 - rate)


def warm_items(catalogue: Catalogue) -> Tensor:
    """[I] true where training may touch the item."""
    return torch.from_numpy(~np.isin(np.arange(catalogue.n_items), catalogue.cold))


def start_as_glorot(*layers: nn.Module) -> None:
    """Weights of linear layers by Glorot and Bengio (AISTATS 2010), biases 0."""
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)


class HistorySum(nn.Module):
    """The first layer: bias + sum_j x_j W_item(j), a weighted sum over the history's rows, never a dense multi-hot."""

    def __init__(self, n_items: int, size: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(n_items, size)
        self.bias = nn.Parameter(torch.zeros(size))
        nn.init.xavier_normal_(self.rows.weight)

    def forward(self, history: History, x: Tensor) -> Tensor:
        """Inputs x [B, M, L] -> [B, M, size]."""
        return x @ functional.embedding(history.item, self.rows.weight) + self.bias
