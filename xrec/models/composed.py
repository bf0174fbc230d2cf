"""The composed recommender: a sum of components chosen by config, each of which can be switched off.

    score(u, i) = prior_i + sum_j r_j W_ji + repeat(u, i) + sum_j g_ij <v_j, f_i> + <z_u, f_i> + ...

f_i from the item encoder, z_u from a user encoder, g an attention's gates, W the linear path's weights. With a softmax
gate the attention's summands are not deletion effects; a user encoder has none.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.component import Component, Submodule
from xrec.models.history import History
from xrec.models.item_encoder.item_encoder import ItemEncoder
from xrec.models.item_statistics import ItemStatistics
from xrec.models.recommender import Capabilities, Context, FitData, Recommender
from xrec.models.update import Update
from xrec.types import Catalogue
from xrec.words import did_you_mean, listed

Value = TypeVar("Value")


class Composed(Recommender):
    """Args:
    embedding_size: d, shared by the item features and whatever scores with them.
    item_encoder: factory (catalogue, embedding_size) -> ItemEncoder.
    components: factories (catalogue, embedding_size) -> Component by name, in the order they are summed and reported.

    Raises:
        SettingError: no component, a name that is none, or a size below 1.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        item_encoder: Callable[..., ItemEncoder],
        components: Mapping[str, Callable[..., Component]],
    ) -> None:
        super().__init__()
        if embedding_size < 1:
            raise SettingError(f"model.embedding_size must be at least 1, got {embedding_size}")
        if not components:
            raise SettingError("model.components is empty: choose some, such as model/wide=[prior,linear]")
        self.n_items = catalogue.n_items
        settings = {"catalogue": catalogue, "embedding_size": embedding_size}
        self.components = nn.ModuleDict()
        encoder: ItemEncoder | None = None
        for name, factory in components.items():
            if not name.isidentifier() or hasattr(nn.ModuleDict, name):  # its own methods
                raise SettingError(f"model.components.{name}: not a name that a component can have")
            if encoder is None and getattr(getattr(factory, "func", factory), "uses_features", False):
                encoder = item_encoder(**settings)  # just before the first that uses it: what is drawn at random first
            self.components[name] = factory(**settings)
        self.item_encoder = item_encoder(**settings) if encoder is None else encoder
        self.switched_off: frozenset[str] = frozenset()
        self.capabilities = self._capabilities()
        self.term_names = tuple(name for submodule in self._submodules() for name in submodule.term_names)
        self._statistics: ItemStatistics | None = None
        self._features: tuple[object, Tensor] | None = None

    @property
    def component_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._active())

    def component(self, name: str) -> Component:
        """The component of this name."""
        component = self.components[name]
        assert isinstance(component, Component)
        return component

    def _active(self) -> Iterator[tuple[str, Component]]:
        for name in self.components:
            if name not in self.switched_off:
                yield name, self.component(name)

    def _submodules(self) -> Iterator[Submodule]:
        """Everything that has tables, terms and updates of its own, the item encoder last."""
        yield from (component for _, component in self._active())
        yield self.item_encoder

    def _capabilities(self) -> Capabilities:
        own = [component.capabilities for _, component in self._active()]
        return Capabilities(
            attention=any(c.attention for c in own),
            gradients=all(c.gradients for c in own),
            fractional_presence=all(c.fractional_presence for c in own),
            additive=any(c.additive for c in own),
            layers=any(c.layers for c in own),
            components=True,
            item_features=True,
            cold_items=self.item_encoder.cold_items and any(c.uses_features for _, c in self._active()),
            likelihood=True,
            trainable=True,
        )

    def attach(self, data: FitData) -> None:
        self._statistics = ItemStatistics(data.dataset, data.device)
        for submodule in self._submodules():
            submodule.attach(data)

    def fit(self, data: FitData) -> None:
        self.attach(data)
        for submodule in self._submodules():
            submodule.fit(data)

    # scoring

    def prepare(self, history: History) -> Context:
        assert self._statistics is not None, "fit comes first"
        return Context(history, {"features": self._item_features(), "statistics": self._statistics.at(history.moment)})

    def train(self, mode: bool = True) -> Composed:
        self._features = None  # a fused optimiser changes weights without raising their version
        return super().train(mode)

    def _item_features(self) -> Tensor:
        """[I, d] features of all items, computed once as long as nothing of the encoder changes, unless gradients to
        its parameters are asked for."""
        if self.training or torch.is_grad_enabled():
            return self.item_encoder.features()
        # An in-place change raises a tensor's version; another tensor in its place has another address.
        tensors = (*self.item_encoder.parameters(), *self.item_encoder.buffers())
        state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if self._features is None or self._features[0] != state:
            self._features = state, self.item_encoder.features()
        return self._features[1]

    def component_scores(
        self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None
    ) -> dict[str, Tensor]:
        shape = self._shape(context, presence, targets)
        return {name: c.score(context, presence, targets).expand(shape) for name, c in self._active()}

    def _shape(self, context: Context, presence: Tensor | None, targets: Tensor | None) -> tuple[int, int, int]:
        n_copies = 1 if presence is None else presence.shape[1]
        return len(context.history), n_copies, self.n_items if targets is None else targets.shape[1]

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        if presence is None or targets is not None:
            summands = self.component_scores(context, presence, targets).values()
            return _sum(summands) if summands else self._nothing(context, presence, targets)
        return self._score_catalogue(context, context.presence(presence))

    def _score_catalogue(self, context: Context, present: Tensor) -> Tensor:
        """The whole catalogue for many masked copies: one table of all that is linear in presence, kept in the
        context."""
        total, linear = present.new_zeros(()), [c for _, c in self._active() if c.linear]
        for _, component in self._active():
            if not component.linear:
                total = total + component.score(context, present, None)
            elif component is linear[0]:
                if self.switched_off not in context.kept:
                    context.kept[self.switched_off] = _sum([c.contributions(context) for c in linear])
                total = total + present @ context.kept[self.switched_off]
        return total.expand(*present.shape[:2], self.n_items)

    def _nothing(self, context: Context, presence: Tensor | None, targets: Tensor | None) -> Tensor:
        """The score of a view with every component switched off."""
        return context.history.presence.new_zeros(self._shape(context, presence, targets))

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        able = [c for _, c in self._active() if c.capabilities.additive]
        if not able:
            return super().contributions(context, targets)
        return _sum([c.contributions(context, targets) for c in able])

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        able = [c for _, c in self._active() if c.capabilities.attention]
        return able[0].attention_weights(context, targets) if able else super().attention_weights(context, targets)

    def attention_layers(self, context: Context, targets: Tensor | None = None) -> list[Tensor]:
        able = [c for _, c in self._active() if c.capabilities.layers]
        return able[0].attention_layers(context, targets) if able else super().attention_layers(context, targets)

    def item_features(self) -> Tensor:
        with torch.no_grad():
            return self._item_features()

    # training

    def check_profiles(self) -> None:
        for name, component in self._active():
            if component.sees_targets:
                raise SettingError(
                    f"training.examples=profile: model.components.{name} cannot be trained on whole profiles: "
                    f"{component.sees_targets}; leave it out, or use training=windows or training=next_item"
                )

    def shared_tables(self, generator: torch.Generator) -> dict[str, Tensor]:
        uses_features = any(component.uses_features for _, component in self._active())
        return {"features": self.item_encoder.features(generator)} if uses_features else {}

    def training_context(
        self,
        history: History,
        users: Tensor,
        generator: torch.Generator,
        shared: Mapping[str, Tensor] | None = None,
        profile: bool = False,
    ) -> Context:
        assert self._statistics is not None, "fit comes first"
        tables = dict(self.shared_tables(generator) if shared is None else shared)
        tables["statistics"] = self._statistics.at(history.moment)
        return Context(history, tables, users=users, generator=generator, profile=profile)

    def terms(self, context: Context, wanted: set[str]) -> dict[str, Tensor]:
        return _merged(submodule.terms(context, wanted) for submodule in self._submodules())

    def item_terms(self, generator: torch.Generator, wanted: set[str]) -> dict[str, Tensor]:
        return _merged(submodule.item_terms(generator, wanted) for submodule in self._submodules())

    def monitors(self) -> dict[str, float]:
        return _merged(submodule.monitors() for submodule in self._submodules())

    def updates(self) -> list[Update]:
        return [update for submodule in self._submodules() for update in submodule.updates()]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """By `Submodule.group`: 'wide' (prior, linear, repeat), 'neural' (the rest), and what others call theirs."""
        owned = {id(p) for update in self.updates() for p in update.parameters}
        groups: dict[str, list[nn.Parameter]] = {"wide": [], "neural": []}
        for submodule in self._submodules():
            groups.setdefault(submodule.group, []).extend(p for p in submodule.parameters() if id(p) not in owned)
        return groups

    # views

    def without(self, *components: str) -> Composed:
        """A view of this model (same weights) that scores with some components switched off.

        Raises:
            SettingError: a component this model does not have.
        """
        for name in components:
            if name not in self.component_names:
                known = listed(self.component_names)
                hint = did_you_mean(name, self.component_names)
                raise SettingError(f"composed: no component {name!r}{hint}; components are {known}")
        view = copy.copy(self)
        view.switched_off = self.switched_off | set(components)
        view.capabilities = view._capabilities()
        return view

    def only(self, *components: str) -> Composed:
        if unknown := [name for name in components if name not in self.component_names]:
            return self.without(*unknown)  # refuses them
        return self.without(*(name for name in self.component_names if name not in components))


def _merged(mappings: Iterable[Mapping[str, Value]]) -> dict[str, Value]:
    return {name: value for mapping in mappings for name, value in mapping.items()}


def _sum(summands: Iterable[Tensor]) -> Tensor:
    first, *others = summands
    for summand in others:
        first = first + summand
    return first
