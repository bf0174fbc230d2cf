"""What encoders of histories share: noised inputs, a layer over the history's rows, and decoders."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import SettingError
from xrec.models.history import History
from xrec.types import Catalogue

#: 'linear': user = z, or a linear map of it where sizes differ; 'tanh': a hidden layer, tanh on its outputs
Decoder = Literal["linear", "tanh"]


def check_decoder(owner: str, decoder: str) -> None:
    """Raises: SettingError, when there is no such decoder."""
    if decoder not in get_args(Decoder):
        raise SettingError(f"{owner}: decoder must be 'linear' or 'tanh', got {decoder!r}")


def decoder_of(decoder: Decoder, latent_size: int, embedding_size: int) -> nn.Sequential:
    """z [..., latent_size] -> user [..., embedding_size]."""
    if decoder == "tanh":
        return nn.Sequential(nn.Linear(latent_size, embedding_size), nn.Tanh())
    return nn.Sequential(*([] if latent_size == embedding_size else [nn.Linear(latent_size, embedding_size)]))


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
