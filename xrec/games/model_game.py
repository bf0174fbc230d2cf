"""The game of one model: masks over players -> presence in views -> scores -> values of the output."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.games.game import About, Game
from xrec.games.maskers import Masker
from xrec.games.means import PlayerMeans
from xrec.games.outputs import Output
from xrec.games.players import BoundPlayers, Players
from xrec.models.history import CHANNELS, History
from xrec.models.recommender import OF_SUMS, Context, Recommender, checked_scores
from xrec.types import Bools, Case, Catalogue, Doubles, Ints
from xrec.words import listed


@dataclass(frozen=True)
class Rules:
    """What is explained. seed: of the masker's random numbers. mask_chunk: forwards of a case that are scored
    together; it does not change a number."""

    players: Players
    masker: Masker
    output: Output
    catalogue: Catalogue
    seed: int = 0
    mask_chunk: int = 256

    @property
    def names(self) -> dict[str, str]:
        """players, masker and output by name."""
        return {"players": self.players.name, "masker": self.masker.name, "output": self.output.name}

    def capabilities(self, model: Recommender) -> frozenset[str]:
        """What games of this model have.

        Raises:
            SettingError: the masker or the output needs what the model does not have.
        """
        able = model.capabilities.names()
        for kind, part in (("masker", self.masker), ("output", self.output)):
            if lacking := [name for name in part.requires if name not in able]:
                raise SettingError(
                    f"{kind} {part.name} needs {listed(lacking)}, which model {type(model).__name__} does not have (it "
                    f"has {listed(sorted(able))}); choose another {kind}"
                )
        return able if self.output.linear else able - OF_SUMS


class ModelGame(Game):
    """Args:
    candidates: [B, I] what targets are ranked among, frozen: a removed item does not become a candidate.
    players: bound to this history already, if they are.

    Raises:
        SettingError: the masker or the output needs what the model does not have; or a part refuses the cases.
    """

    def __init__(
        self,
        model: Recommender,
        history: History,
        cases: tuple[Case, ...],
        candidates: Tensor,
        rules: Rules,
        players: BoundPlayers | None = None,
    ) -> None:
        if len(history) != len(cases):
            raise ValueError(f"{len(cases)} cases but {len(history)} histories")
        self.capabilities = rules.capabilities(model)
        self.model, self.history, self.cases, self.candidates, self.rules = model, history, cases, candidates, rules
        self.about = About(model=type(model).__name__, **rules.names)
        self.players = rules.players.bind(history, rules.catalogue) if players is None else players
        self._views = rules.masker.bind(history, cases, rules.seed)
        self._reading = rules.output.bind(cases, candidates)
        self._masks: Ints = np.zeros(len(cases), dtype=np.int64)
        self._forwards: Ints = np.zeros(len(cases), dtype=np.int64)
        self._context: Context | None = None
        self._shared: _Shared | None = None
        self._spread: Doubles | None = None

    @property
    def masks(self) -> Ints:
        return self._masks

    @property
    def forwards(self) -> Ints:
        return self._forwards

    @property
    def context(self) -> Context:
        """What the model made of the histories."""
        if self._context is None:
            with torch.no_grad():
                self._context = self.model.prepare(self.history)
        return self._context

    def values(self, masks: np.ndarray, uncounted: Ints | int = 0) -> Doubles:
        with torch.no_grad():
            values = np.concatenate([self._values(m).double().cpu().numpy() for m in self._chunks(masks)], axis=1)
        self._count(-np.asarray(uncounted))
        if np.isnan(values).any():
            raise SettingError(f"{self._whose(np.isnan(values))} that are nan when some of the history is masked")
        return values

    def differentiable(self, present: Tensor) -> Tensor:
        self._need("gradients")
        with _frozen(self.model):  # what is kept for other masks must not hold on to a graph
            return self._values(present)

    def ranks(self, masks: Bools) -> Ints:
        with torch.no_grad():
            return np.concatenate([self._ranks(m) for m in self._chunks(masks)], axis=1)

    def top(self, masks: Bools, n: int) -> Ints:
        with torch.no_grad():
            return np.concatenate([self._top(m, n) for m in self._chunks(masks)], axis=1)

    def scores(self, masks: Bools, items: Tensor | None = None, uncounted: Ints | int = 0) -> Doubles:
        with torch.no_grad():
            scores = np.concatenate([_doubles(self._scores(m, items)) for m in self._chunks(masks)], axis=1)
        self._count(-np.asarray(uncounted))
        return scores

    def contributions_of(self, items: Tensor) -> Tensor:
        self._need("additive")
        self._count(1, views=1)
        with torch.no_grad():
            added = self.model.contributions(self.context, items)  # [B, L, T]
            whole = self.history.presence.unsqueeze(1)
            taken = (self._views(whole) - self._views(torch.zeros_like(whole))).mean(2).squeeze(1)
            return self.players.pooled(added * taken.unsqueeze(2))

    def spread(self) -> Doubles:
        if self._spread is None:
            with torch.no_grad():
                whole = self.history.presence.unsqueeze(1)
                scores = checked_scores(self.model, self.context, whole)[:, 0].double()
            high = scores.masked_fill(~self.candidates, -torch.inf).amax(1)
            low = scores.masked_fill(~self.candidates, torch.inf).amin(1)
            self._spread = (high - low).cpu().numpy()
        return self._spread

    def single(self, row: int) -> ModelGame:
        history = self.history.rows([row])
        history = history.without(history.presence[0])
        rows = slice(row, row + 1)
        players = self.players.single(row)
        view = ModelGame(self.model, history, self.cases[rows], self.candidates[rows], self.rules, players)
        view._masks, view._forwards = self._masks[rows], self._forwards[rows]
        return view

    def attention(self) -> Doubles:
        return _doubles(self.players.pooled(self.channel_attention()))

    def channel_attention(self) -> Tensor:
        self._need("attention")
        self._count(1, views=1)
        with torch.no_grad():
            return self._over_targets(self.model.attention_weights(self.context, self.targets))

    def attention_norms(self) -> Doubles:
        self._need("attention_values")
        self._count(1, views=1)
        with torch.no_grad():
            norms = self.model.attention_norms(self.context, self.targets)
        return _doubles(self.players.pooled(self._over_targets(norms)))

    def attention_gradients(self) -> Doubles:
        self._need("attention_values")
        self._need("gradients")
        self._count(1, views=1)
        carried = torch.ones_like(self.history.presence, requires_grad=True)
        context = replace(self.context, kept={}, carried=carried)  # a factor of 1 on w: w df/dw is its gradient
        with _frozen(self.model):
            scores = self.model.score(context, self.history.presence.unsqueeze(1), self._reading.items)
            (gradient,) = torch.autograd.grad(self._reading.value(scores).sum(), carried)
        return _doubles(self.players.pooled(gradient))

    def contributions(self) -> Doubles:
        self._need("additive")
        self._count(1, views=1)
        items = self._reading.items
        with torch.no_grad():
            added = self._reading.value(self.model.contributions(self.context, items))  # a value of each channel
            taken, _ = self._taken()
        return _doubles(self.players.pooled(added * taken.mean(1)))

    def weighted_means(self) -> PlayerMeans:
        self._need("weighted_means")
        self._count(1, views=1)
        assert self._reading.items is not None  # an output that needs the whole catalogue is not linear
        with torch.no_grad():
            means = self.model.weighted_means(self.context, self._reading.items)
            taken, left = (views[:, :, None, None].double() for views in self._taken())  # [B, V, 1, 1, L]
        values, logs = (t.transpose(2, 3).double() for t in (means.values, means.log_weights))  # [B, H, T, L]
        weights = (logs - logs.amax(-1, keepdim=True).nan_to_num(neginf=0.0)).exp().expand_as(values).unsqueeze(1)
        weighted, shape = weights * values.unsqueeze(1), (len(self), -1, values.shape[3])
        rows = [(part * taken).reshape(shape).transpose(1, 2) for part in (weights, weighted)]  # [B, L, V * H * T]
        players = [self.players.pooled(part).transpose(1, 2) for part in rows]
        base = [(part * left).sum(-1).flatten(1) for part in (weights, weighted)]

        def value(of_means: Tensor) -> Tensor:  # [B, V * H * T, P]
            per_view = of_means.unflatten(1, (self.rules.masker.n_views, *values.shape[1:3]))
            return self._reading.value(per_view.mean(1).sum(1).transpose(1, 2))

        return PlayerMeans(players[0], players[1], base[0], base[1], value)

    def components(self) -> dict[str, ModelGame]:
        self._need("components")
        return {name: self._of(self.model.only(name)) for name in self.model.component_names}

    def only(self, *components: str) -> ModelGame:
        self._need("components")
        return self._of(self.model.only(*components))

    def item_features(self) -> Tensor:
        self._need("item_features")
        return self.model.item_features()

    def attention_layers(self) -> list[Tensor]:
        self._need("layers")
        self._count(1, views=1)
        with torch.no_grad():
            return self.model.attention_layers(self.context, self.targets)

    def _of(self, model: Recommender) -> ModelGame:
        """The same game of a view of the model."""
        game = ModelGame(model, self.history, self.cases, self.candidates, self.rules, self.players)
        game._masks, game._forwards = self._masks, self._forwards
        game._context, game._views = self.context, self._views
        return game

    def _taken(self) -> tuple[Tensor, Tensor]:
        """What the masker takes away of each channel's presence and what it leaves of it, in each view [B, V, L]."""
        whole = self.history.presence.unsqueeze(1)
        with_all, with_none = (self._views(players).squeeze(1) for players in (whole, torch.zeros_like(whole)))
        return with_all - with_none, with_none

    def _need(self, capability: str) -> None:
        if capability not in self.capabilities:
            self._refuse(capability)

    def _values(self, present: Tensor) -> Tensor:
        """[B, m]; averaged over the views first, so that an output is of scores as a user would get them."""
        return self._reading.value(self._scores(present, self._reading.items))

    def _scores(self, present: Tensor, items: Tensor | None = None) -> Tensor:
        """[B, m, T] mean scores over the views of players present [B, m, P]."""
        n_masks, n_views = present.shape[1], self.rules.masker.n_views
        views = self._views(self.players.expand(present))
        expected = (len(self), n_masks, n_views, self.history.item.shape[1])
        if views.shape != expected:
            raise SettingError(f"masker {self.about.masker} gave {tuple(views.shape)}, expected {expected}")
        self._count(n_masks)
        scores = self._scored(views.flatten(1, 2), items)
        return scores if n_views == 1 else scores.unflatten(1, (n_masks, n_views)).mean(2)

    def _scored(self, presence: Tensor, items: Tensor | None) -> Tensor:
        """[B, m, T] scores of channels present [B, m, L]. Copies that several cases of one history ask for are scored
        once for the targets of all."""
        if self._shared is None:
            self._shared = _Shared.of(self.history)
        shared = self._shared
        own = presence[shared.first]
        if presence.requires_grad or shared.most == 1 or not torch.equal(presence, own[shared.of_case]):
            return checked_scores(self.model, self.context, presence, items)
        if shared.context is None:
            shared.context = self.model.prepare(self.history.rows(shared.first.tolist()))
        if items is None:
            return checked_scores(self.model, shared.context, own)[shared.of_case]
        if shared.items is None or shared.asked is not items:
            wanted = items.new_zeros(len(shared.first), shared.most, items.shape[1])
            wanted[shared.of_case, shared.slot] = items
            shared.items, shared.asked = wanted.flatten(1), items
        scores = checked_scores(self.model, shared.context, own, shared.items)
        return scores.unflatten(2, (shared.most, -1))[shared.of_case, :, shared.slot]

    def _ranks(self, present: Tensor) -> Ints:
        scores = self._scores(present)  # [B, m, I]
        ids = torch.arange(scores.shape[2], device=scores.device)
        ranks = []
        for targets in self.targets.unbind(1):
            target = targets[:, None, None].expand(-1, present.shape[1], 1)
            own = scores.gather(2, target)
            better = (scores > own) | ((scores == own) & (ids < target))
            ranks.append(1 + (better & self.candidates.unsqueeze(1)).sum(-1))
        there = np.arange(len(ranks)) < self.n_targets[:, None, None]
        return torch.stack(ranks, dim=-1).cpu().numpy() * there

    def _top(self, present: Tensor, n: int) -> Ints:
        scores = self._scores(present).masked_fill(~self.candidates.unsqueeze(1), -torch.inf)
        order = scores.argsort(dim=2, descending=True, stable=True)[..., :n]
        allowed = self.candidates.unsqueeze(1).expand_as(scores).gather(2, order)
        best = order.masked_fill(~allowed, -1).cpu().numpy()
        return np.pad(best, ((0, 0), (0, 0), (0, n - best.shape[2])), constant_values=-1)

    def _over_targets(self, values: Tensor) -> Tensor:
        """[B, L] means of values [B, L, T] over each case's own targets."""
        there = torch.from_numpy(np.arange(values.shape[2]) < self.n_targets[:, None]).to(values.device)
        total = (values * there.unsqueeze(1)).sum(2)
        return total / there.sum(1, keepdim=True)

    def _count(self, n_masks: Any, views: int | None = None) -> None:
        self._masks += n_masks
        self._forwards += n_masks * (self.rules.masker.n_views if views is None else views)

    def _chunks(self, masks: np.ndarray) -> Iterator[Tensor]:
        device, n = self.history.item.device, max(1, self.rules.mask_chunk // self.rules.masker.n_views)
        for start in range(0, masks.shape[1], n):
            piece = np.ascontiguousarray(masks[:, start : start + n], dtype=np.float32)
            yield torch.from_numpy(piece).to(device)


@dataclass
class _Shared:
    """Which cases have the same history. first [U]: the first case of each; of_case, slot [B]: which history is a
    case's, and how many of its cases stand before it; most: cases of one history; context: of these histories; items
    [U, most * T]: the wanted ones of all cases of each."""

    first: Tensor
    of_case: Tensor
    slot: Tensor
    most: int
    context: Context | None = None
    items: Tensor | None = None
    asked: Tensor | None = None

    @classmethod
    def of(cls, history: History) -> _Shared:
        channels = [getattr(history, name).flatten(1).double() for name in CHANNELS]
        user = torch.zeros(len(history)) if history.user is None else history.user
        whole = torch.cat([user.double().reshape(len(history), -1).to(history.item.device), *channels], dim=1)
        _, of_case = torch.unique(whole, dim=0, return_inverse=True)
        slot = (of_case.unsqueeze(1) == of_case).tril(-1).sum(1)
        first = (slot == 0).nonzero().squeeze(1)
        of_case = (of_case.unsqueeze(1) == of_case[first]).int().argmax(1)
        return cls(first, of_case, slot, int(slot.amax()) + 1)


def _doubles(values: Tensor) -> Doubles:
    return values.double().cpu().numpy()


@contextlib.contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """The model's parameters ask for no gradients in here."""
    wanting = [p for p in model.parameters() if p.requires_grad]
    for parameter in wanting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanting:
            parameter.requires_grad_(True)
