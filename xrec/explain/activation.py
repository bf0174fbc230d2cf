"""Differences of activations instead of slopes, through any model, without its modules being known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xrec.errors import SettingError
from xrec.explain.explainer import Explainer
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.types import Doubles

#: functions of one number each: the Rescale rule
_OF_ONE = {
    "tanh", "sigmoid", "relu", "leaky_relu", "elu", "silu", "gelu", "softplus", "hardtanh", "clamp", "clamp_min", "exp",
    "expm1", "log", "log1p", "square", "sqrt", "rsqrt", "reciprocal", "pow", "__rdiv__",
}  # fmt: skip
#: products and ratios: the mean of both orders
_OF_TWO = {"mul", "matmul", "div"}
#: below this difference the slope is taken
_CLOSE = 1e-4


class DeepLift(Explainer):
    """phi_j = multiplier of player j from no player to all of them (DeepLIFT, Shrikumar et al., ICML 2017): as the
    gradient, but each function of one number (tanh, sigmoid, log, ...) counts (f(a) - f(a0)) / (a - a0), a0 being what
    it gets when nobody is there (the Rescale rule), and each product the mean of its two orders, as in shap's
    DeepExplainer. Other functions have their slopes (layer norms, what a layer picks or counts, and weights that are
    shared out among those there, as by softmax: nobody's are undefined), so that values need not sum to f(x) -
    f(empty); of a VAE they do. Two masks, one backward.

    Captum's DeepLift hooks modules, each used once; here they are functions, so that the functions themselves are told
    apart, in the order they are called while the game is scored for both ends.

    Raises (values):
        SettingError: the model computes the score of an empty history in another way.
    """

    requires = ("gradients",)

    def values(self, game: Game, random: Keyed) -> Doubles:
        present = game.players.real.float().unsqueeze(1)
        with _Calls() as calls:
            game.differentiable(torch.zeros_like(present).requires_grad_())
        present.requires_grad_()
        with _Differences(calls.made):
            value = game.differentiable(present)
        (gradient,) = torch.autograd.grad(value.sum(), present)
        return gradient[:, 0].double().cpu().numpy()


@dataclass(frozen=True)
class _Call:
    """A function, its inputs that depend on presence, and what came out."""

    name: str
    inputs: list[Tensor]
    result: Tensor


class _Calls(TorchFunctionMode):
    """Keeps the calls of functions that DeepLIFT has a rule for, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[_Call] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result, name = func(*args, **(kwargs or {})), getattr(func, "__name__", "")
        moving = [isinstance(given, Tensor) and given.requires_grad for given in args]
        of_one = name in _OF_ONE and moving[:1] == [True] and not any(moving[1:])
        if of_one or (name in _OF_TWO and moving[:2] == [True, True]):
            inputs = [given.detach() for given, moves in zip(args, moving, strict=True) if moves]
            self.made.append(_Call(name, inputs, result.detach()))
            return self.instead(result, func, args, kwargs or {})
        return result

    def instead(self, result: Tensor, func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
        """What the model goes on with."""
        return result


class _Differences(_Calls):
    """Gives functions the multipliers of DeepLIFT for gradients; what is computed does not change.

    Args:
        before: the calls with what differences are taken to.
    """

    def __init__(self, before: list[_Call]) -> None:
        super().__init__()
        self.before = before

    def instead(self, result: Tensor, func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
        now, number = self.made[-1], len(self.made) - 1
        then = self.before[number] if number < len(self.before) else None
        if then is None or then.name != now.name or [x.shape for x in then.inputs] != [x.shape for x in now.inputs]:
            raise SettingError(
                f"explainer deep_lift: the model calls {now.name} for the whole history where it does not for an empty "
                "one, so that there is no difference to take; use integrated_gradients, or leave it out"
            )
        if len(now.inputs) == 1:
            return now.result + self._multiplier(now, then, func, args, kwargs) * (args[0] - now.inputs[0])
        (one, two), (one_then, two_then) = now.inputs, then.inputs
        if now.name == "div":
            inverse, of_inverse = (1 / two + 1 / two_then) / 2, -1 / (two * two_then)
            return now.result + (args[0] - one) * inverse + (one + one_then) / 2 * of_inverse * (args[1] - two)
        return now.result + func(args[0] - one, (two + two_then) / 2) + func((one + one_then) / 2, args[1] - two)

    @staticmethod
    def _multiplier(now: _Call, then: _Call, func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
        """(f(a) - f(a0)) / (a - a0); the slope where both are the same."""
        change, point = now.inputs[0] - then.inputs[0], now.inputs[0].clone().requires_grad_()
        (slope,) = torch.autograd.grad(func(point, *args[1:], **kwargs).sum(), point)
        close = change.abs() < _CLOSE
        return torch.where(close, slope, (now.result - then.result) / torch.where(close, 1.0, change))
