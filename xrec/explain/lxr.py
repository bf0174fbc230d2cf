"""LXR: a network that is trained on other users to say at once which players carry a recommendation."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xrec.errors import SettingError
from xrec.explain.explainer import Explainer
from xrec.games.fitting import Fitting
from xrec.games.game import Game
from xrec.games.keyed import Keyed
from xrec.models.history import History
from xrec.types import Doubles

#: p of the whole history is sigmoid(_STEEP / 2), that of none sigmoid(-_STEEP / 2)
_STEEP = 4.0
#: effects below this share of the median count as that much
_SMALL = 0.01
_N_CHANNELS = 4


class LXR(Explainer):
    """Learning to explain recommendations (Barkan et al., WWW 2024): a network reads a history and a target and gives
    each player a mask m in (0, 1). It is trained on the recommendations of other users to minimise

        positive * -log p(x with m) + negative * log p(x with 1 - m) + sparsity * mean(m)

    (the published L_pos, L_neg and L_mask), through the model, which stays as it is. Explaining is one forward of the
    network and none of the model. It never sees a fidelity metric, nor anybody who is explained.

    The published p is the score of a model that ends in a sigmoid or softmax. Here any output is brought to (0, 1) by
    its own ends, so that no case weighs more for having larger scores: p = sigmoid(4 (f - (f(x) + f(empty)) / 2) /
    |f(x) - f(empty)|). The published network reads histories as dense rows of the whole catalogue; this one reads the
    items that are there, so that it works for any players: those of several items have the mean of their log-odds.

    Values: m. They say what to keep, and never oppose.

    Args:
        n_users: other users to learn from, all of their cases. embedding_size: of items, and of the hidden layer.
        positive, negative, sparsity: weights of the loss. At 1, 1 and 4, in a game that is a sum, its slope is
            4 (1 / P - share of the effect): a player is kept for more than an average share, and the masks do not all
            go to one end before the network can tell players apart.
    """

    requires = ("gradients", "fractional_presence")
    signed = False

    def __init__(
        self,
        n_users: int = 200,
        epochs: int = 5,
        learning_rate: float = 0.003,
        embedding_size: int = 32,
        positive: float = 1.0,
        negative: float = 1.0,
        sparsity: float = 4.0,
    ) -> None:
        for name, value in {"n_users": n_users, "epochs": epochs, "embedding_size": embedding_size}.items():
            if value < 1:
                raise SettingError(f"explainer.lxr.{name} must be at least 1, got {value}")
        if learning_rate <= 0:
            raise SettingError(f"explainer.lxr.learning_rate must be above 0, got {learning_rate}")
        for name, value in {"positive": positive, "negative": negative, "sparsity": sparsity}.items():
            if value < 0:
                raise SettingError(f"explainer.lxr.{name} must be at least 0, got {value}")
        self.n_users, self.epochs, self.learning_rate = n_users, epochs, learning_rate
        self.embedding_size = embedding_size
        self.positive, self.negative, self.sparsity = positive, negative, sparsity
        self.network: MaskNetwork | None = None

    def fit(self, fitting: Fitting) -> None:
        """Adam, a chunk of cases a step.

        Raises:
            SettingError: there is nobody to learn from.
        """
        games = list(fitting.games(self.n_users))
        if not any(len(game) for game in games):
            raise SettingError("explainer.lxr: there are no other users to learn from; explain fewer (cases.n_users)")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fitting.seed)
            network = MaskNetwork(fitting.dataset.catalogue.n_items, self.embedding_size).to(fitting.device)
            order = [torch.randperm(len(games)) for _ in range(self.epochs)]
        ends = [copy(game).ends() for game in games]
        floor = _SMALL * float(np.median(np.concatenate([np.abs(whole - empty) for whole, empty in ends])))
        adam = torch.optim.Adam(network.parameters(), self.learning_rate)
        steps = torch.cat(order).tolist()
        for step in fitting.progress(steps, total=len(steps), description="lxr"):
            game = copy(games[step])  # what the model keeps of a game is dropped with the copy
            adam.zero_grad()
            self.loss(game, network.log_odds(game), ends[step], floor).backward()
            adam.step()
        self.network = network.requires_grad_(False)

    def loss(self, game: Game, log_odds: Tensor, ends: tuple[Doubles, Doubles], floor: float = 0.0) -> Tensor:
        """The mean over cases, of masks sigmoid(log_odds [B, P]). ends: f(x) and f(empty), each [B]. floor: effects are
        taken to be no smaller, lest a case without any effect rules the others."""
        real = game.players.real.float()
        mask = log_odds.sigmoid() * real
        values = game.differentiable(torch.stack([mask, real - mask], dim=1))
        whole, empty = (torch.from_numpy(end).to(values) for end in ends)
        scale = (whole - empty).abs().clamp_min(max(floor, torch.finfo(values.dtype).eps))
        kept, left = (_STEEP * (values - ((whole + empty) / 2).unsqueeze(1)) / scale.unsqueeze(1)).unbind(1)
        size = mask.sum(1) / real.sum(1).clamp_min(1)
        terms = -self.positive * functional.logsigmoid(kept) + self.negative * functional.logsigmoid(left)
        return (terms + self.sparsity * size).mean()

    def state(self) -> dict[str, Tensor]:
        return dict(self._fitted().state_dict())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        n_items, embedding_size = state["item.weight"].shape
        network = MaskNetwork(n_items, embedding_size)
        network.load_state_dict(dict(state))
        self.network = network.requires_grad_(False)

    def values(self, game: Game, random: Keyed) -> Doubles:
        log_odds = self._fitted().to(game.history.item.device).log_odds(game)
        return log_odds.double().sigmoid().cpu().numpy()

    def _fitted(self) -> MaskNetwork:
        if self.network is None:
            raise SettingError("explainer lxr has to be fitted before it explains")
        return self.network


class MaskNetwork(nn.Module):
    """Log-odds of a history item for a target: u(item) . v(target) + w . relu(a(item) + b(target) + c(rest of the
    history) + d(channels)), where the channels are age, strength, number of periods and whether it is the target
    itself."""

    def __init__(self, n_items: int, embedding_size: int) -> None:
        super().__init__()
        self.item, self.target = (nn.Embedding(n_items, embedding_size) for _ in range(2))
        for table in (self.item, self.target):
            nn.init.normal_(table.weight, std=embedding_size**-0.25 * 0.3)
        self.of_item, self.of_target, self.of_history = (
            nn.Linear(embedding_size, embedding_size, bias=False) for _ in range(3)
        )
        self.of_channels = nn.Linear(_N_CHANNELS, embedding_size)
        self.last = nn.Linear(embedding_size, 1)

    def log_odds(self, game: Game) -> Tensor:
        """[B, P], the mean over the items of each player."""
        history, present = game.history, game.history.presence
        ids, weight = _asked(game)
        items, target = self.item(history.item), (self.target(ids) * weight.unsqueeze(2)).sum(1, keepdim=True)
        mean = (items * present.unsqueeze(2)).sum(1, keepdim=True) / present.sum(1).clamp_min(1)[:, None, None]
        own = (history.item.unsqueeze(2) == ids.unsqueeze(1)).to(weight) @ weight.unsqueeze(2)
        channels = torch.cat([_channels(history), own], dim=2)
        hidden = self.of_item(items) + self.of_target(target) + self.of_history(mean) + self.of_channels(channels)
        odds = (items * target).sum(2) + self.last(hidden.relu()).squeeze(2)
        return game.players.pooled(odds * present) / game.players.pooled(present).clamp_min(1)


def _channels(history: History) -> Tensor:
    """[B, L, 3]"""
    named = (history.age, history.strength, history.n_periods)
    return torch.stack([channel.clamp_min(0).log1p() for channel in named], dim=2)


def _asked(game: Game) -> tuple[Tensor, Tensor]:
    """Items [B, T] that a case asks about, and their weights: shares of its targets, -1 for a foil."""
    asked = [
        [(t, 1 / len(case.targets)) for t in case.targets] + ([] if case.foil is None else [(case.foil, -1.0)])
        for case in game.cases
    ]
    longest = max(map(len, asked), default=1)
    padded = [[*row, *[(0, 0.0)] * (longest - len(row))] for row in asked]
    table = torch.tensor(padded, dtype=torch.float64, device=game.history.item.device).reshape(-1, longest, 2)
    return table[..., 0].long(), table[..., 1].float()
