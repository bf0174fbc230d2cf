"""The discriminator of a BiGAN: D(x, z), spectrally normalised."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SpectralLinear(nn.Module):
    """A linear layer divided by its largest singular value, estimated by power iteration (Miyato et al., ICLR 2018,
    algorithm 1). `estimate_norm` is one iteration; going forward does none, so that it is the same every time."""

    def __init__(self, n_inputs: int, n_outputs: int, bias: bool = True) -> None:
        super().__init__()
        plain = nn.Linear(n_inputs, n_outputs, bias=bias)
        self.weight, self.bias = plain.weight, plain.bias
        self.left: Tensor
        self.right: Tensor
        self.register_buffer("left", functional.normalize(torch.ones(n_outputs), dim=0))
        self.register_buffer("right", functional.normalize(torch.ones(n_inputs), dim=0))
        for _ in range(15):
            self.estimate_norm()

    @torch.no_grad()
    def estimate_norm(self) -> None:
        self.right.copy_(functional.normalize(self.left @ self.weight, dim=0))
        self.left.copy_(functional.normalize(self.weight @ self.right, dim=0))

    def forward(self, inputs: Tensor) -> Tensor:
        norm = self.left.clone() @ self.weight @ self.right.clone()
        return functional.linear(inputs, self.weight / norm, self.bias)


class JointDiscriminator(nn.Module):
    """Attributes x [N, n_columns] and latents z [N, latent_size] -> logit [N]: high where it takes the pair for real.

    Its first layer embeds drawn levels, the same for real and generated ones.
    """

    def __init__(self, n_columns: int, latent_size: int, hidden_size: int) -> None:
        super().__init__()
        self.item = SpectralLinear(n_columns, hidden_size)
        self.latent = SpectralLinear(latent_size, hidden_size, bias=False)
        self.hidden = SpectralLinear(hidden_size, hidden_size)
        self.last = SpectralLinear(hidden_size, 1)

    def estimate_norms(self) -> None:
        """One power iteration of every layer; before a step of D."""
        for layer in (self.item, self.latent, self.hidden, self.last):
            layer.estimate_norm()

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.item(x) + self.latent(z), 0.2)
        return self.last(functional.leaky_relu(self.hidden(hidden), 0.2)).squeeze(-1)
