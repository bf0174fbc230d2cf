"""Encoder and generator over item attributes, of every adversarial item encoder that has one."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.models.item_encoder.attribute_codes import AttributeCodes, AttributeSum
from xrec.models.singular import leading_axes

#: deviation of the encoder's noise at the start; its mean has what is left of the prior's variance
NOISE = 0.5


class AttributeEncoder(nn.Module):
    """Attributes -> mean and log deviation of the latents: a linear map, and a net that it is corrected by."""

    def __init__(self, n_columns: int, latent_size: int, hidden_size: int) -> None:
        super().__init__()
        self.linear = AttributeSum(n_columns, latent_size)
        self.first = AttributeSum(n_columns, hidden_size)
        self.mean, self.log_deviation = nn.Linear(hidden_size, latent_size), nn.Linear(hidden_size, latent_size)
        with torch.no_grad():  # what it begins as is for the linear map to say
            for layer in (self.mean, self.log_deviation):
                layer.weight.mul_(0.1)
                layer.bias.zero_()

    def begin(self, center: Tensor, axes: Tensor) -> None:
        """Mean (x - center) @ axes of variance 1 - NOISE^2 and noise of deviation NOISE; where axes [n_columns, k] has
        none, noise of deviation 1."""
        given = axes.shape[1]
        scaled = functional.pad(axes * math.sqrt(1 - NOISE**2), (0, self.linear.rows.weight.shape[1] - given))
        self.linear.rows.weight.copy_(scaled)
        self.linear.bias.copy_(-center @ scaled)
        self.log_deviation.bias.zero_()
        self.log_deviation.bias[:given] = math.log(NOISE)

    def forward(self, columns: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        hidden = functional.leaky_relu(self.first(columns, weights), 0.2)
        return self.linear(columns, weights) + self.mean(hidden), self.log_deviation(hidden)


class AttributeGenerator(nn.Sequential):
    """Latents -> logits of attributes."""

    def __init__(self, latent_size: int, hidden_size: int, n_columns: int) -> None:
        super().__init__(nn.Linear(latent_size, hidden_size), nn.LeakyReLU(0.2), nn.Linear(hidden_size, n_columns))

    def begin(self, logits: Tensor) -> None:
        """Nearly the same logits [n_columns] for every latent."""
        last = self[2]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(0.3)
        last.bias.copy_(logits)


def whitening(codes: AttributeCodes, rows: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """Mean [n_columns] of x over these items, and axes [n_columns, k <= size] on which the centred x has unit variance
    and no covariance: its principal components. No dense x of all items is made."""
    from scipy import sparse

    columns, weights = codes.columns[rows].cpu().numpy(), codes.weights[rows].cpu().numpy().astype(np.float64)
    n, width = len(rows), codes.n_columns
    x = sparse.csr_matrix((weights.ravel(), (np.repeat(np.arange(n), columns.shape[1]), columns.ravel())), (n, width))
    center = np.asarray(x.mean(0)).ravel()
    scales, axes = leading_axes(x, size, center)
    there = scales > 1e-4 * scales[0]
    whitened = axes[there].T / scales[there] * math.sqrt(n)
    return torch.from_numpy(center).float(), torch.from_numpy(np.ascontiguousarray(whitened)).float()
