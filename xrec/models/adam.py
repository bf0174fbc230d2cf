"""Adam without the compiler that torch's optimisers bring along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.adam import adam


class Optimiser(Protocol):
    """What the training loop and its checkpoints ask of an optimiser; those of torch are such ones."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def step(self) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class FusedAdam:
    """`torch.optim.Adam(groups, fused=True)`, bit for bit, on CPU and CUDA.

    To make one of torch's own optimisers imports torch's compiler (2 CPU-s), of which nothing is used here. The step is
    torch's function; kept here are the moments only.

    Args:
        groups: parameters and learning rate of each. betas: decay of the two moments.
    """

    def __init__(
        self, groups: list[tuple[list[nn.Parameter], float]], betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.betas = betas
        self.param_groups: list[dict[str, Any]] = [{"params": list(params), "lr": rate} for params, rate in groups]
        self._state: dict[nn.Parameter, dict[str, Tensor]] = {}

    def _parameters(self) -> list[nn.Parameter]:
        """In the order in which checkpoints number them."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        assert set_to_none, "a parameter without a gradient must not move, and a gradient of zeros would move it"
        for parameter in self._parameters():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            states = [self._state.get(p) or self._begin(p) for p in moved]
            adam(
                list(moved),
                [p.grad for p in moved if p.grad is not None],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=group["lr"],
                weight_decay=0,
                eps=1e-8,
                maximize=False,
            )

    def _begin(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        self._state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
        return self._state[parameter]

    def state_dict(self) -> dict[str, Any]:
        """As torch's: the moments by number of the parameter."""
        numbers = {parameter: number for number, parameter in enumerate(self._parameters())}
        groups = [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {numbers[p]: state for p, state in self._state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes the moments, and leaves the rates as they are."""
        parameters = self._parameters()
        self._state = {
            parameters[number]: {name: value.to(parameters[number].device) for name, value in slots.items()}
            for number, slots in state_dict["state"].items()
        }
