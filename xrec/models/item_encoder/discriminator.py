"""The discriminator of all adversarial item encoders, spectrally normalised or not."""

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


class Discriminator(nn.Module):
    """One or several inputs [N, size] -> logit [N]: high where it takes them for real.

    Its first layer embeds drawn levels, the same for real and generated ones.

    Args:
        hidden_size: of both hidden layers.
        spectral_norm: every layer is a `SpectralLinear`; else a plain one, and something else must bound D.
        sizes: of the inputs by name, in the order in which they are given.
    """

    def __init__(self, hidden_size: int, spectral_norm: bool = True, **sizes: int) -> None:
        super().__init__()
        linear = SpectralLinear if spectral_norm else nn.Linear
        self.inputs = list(sizes)
        for name, size in sizes.items():  # one bias is enough
            self.add_module(name, linear(size, hidden_size, bias=name == self.inputs[0]))
        self.hidden = linear(hidden_size, hidden_size)
        self.last = linear(hidden_size, 1)

    def estimate_norms(self) -> None:
        """One power iteration of every layer; before a step of D."""
        for layer in self.children():
            if isinstance(layer, SpectralLinear):
                layer.estimate_norm()

    def penultimate(self, *inputs: Tensor) -> Tensor:
        """[N, hidden_size] what the last layer sees."""
        parts: list[Tensor] = [self.get_submodule(name)(x) for name, x in zip(self.inputs, inputs, strict=True)]
        hidden = functional.leaky_relu(sum(parts[1:], parts[0]), 0.2)
        return functional.leaky_relu(self.hidden(hidden), 0.2)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.last(self.penultimate(*inputs)).squeeze(-1)
