"""The composed recommender: a sum of components chosen by config, each of which can be switched off.

    score(u, i) = prior_i + sum_j r_j W_ji + repeat(u, i) + sum_j g_ij <v_j, f_i> + <z_u, f_i> + ...

f_i from the item encoder, z_u from a user encoder, g an attention's gates, W the linear path's weights. With a softmax
gate the attention's summands are not deletion effects; a user encoder has none.

What components know of an item can be added up as evidence on the scale of odds instead. `Component.in_mixture` says
which is which: the prior and the repeat features are factors, attention and user encoder logits, and the linear path,
the affinities and the neighbours evidence. With p_i the presence of item i itself in the history:

    mixture: score(u, i) = factors(u, i) + (1 + b p_i) log(exp(logits(u, i)) + w max(0, evidence(u, i)))
    product: score(u, i) = factors(u, i) + logits(u, i)
                           + sum_c (a_c + b_c p_i) log((1 + w_c max(0, evidence_c(u, i))) / m_c)

with learned a, b and w, and the usual odds m_c, which rank nothing. The mixture's log is one summand, named 'mixture';
a product has one for each component, as the sum has. Neither is additive over history items. In a mixture without
logits the odds of a new item are: odds(history) / odds(nothing) = 1 + w sum_j evidence_ji, exactly, as long as the sum
is not below 0 and the evidence is additive (neighbours are not). In a product that holds for each component's odds to
the power 1 / a_c, not for all.

As probabilities, what is added up are shares of the catalogue: a softmax of logits says nothing about odds, and its
logits are known up to a number of the user's, so that they are normalised first:

    score(u, i) = factors(u, i) + log(softmax_i(logits(u, .) / flattening) + max(0, evidence(u, i)))

The evidence is fitted apart (`Component.fixed`), and so is the rest: training leaves out what is fixed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.component import Component, InMixture, Submodule
from xrec.models.history import History, Positions
from xrec.models.item_encoder.item_encoder import ItemEncoder
from xrec.models.item_statistics import ItemStatistics
from xrec.models.log_evidence import LogEvidence, log_mixture
from xrec.models.recommender import Capabilities, Context, FitData, Recommender, WeightedMeans
from xrec.models.samples import drawn_histories
from xrec.models.update import Update
from xrec.types import Catalogue
from xrec.words import did_you_mean, listed

Value = TypeVar("Value")
#: the summand that holds the logits and the evidence of a mixture
MIXTURE = "mixture"
Combination = Literal["sum", "mixture", "product", "probabilities"]
COMBINATIONS: tuple[str, ...] = get_args(Combination)
#: of the evidence of each component of a product, at the start
_EXPONENT = 0.2
#: users that the weights of logs start by
_START_USERS = 256
#: scores of masked copies that are normalised together: what bounds memory
_MAX_SCORES = 2**24


class Composed(Recommender):
    """Args:
    embedding_size: d, shared by the item features and whatever scores with them.
    item_encoder: factory (catalogue, embedding_size) -> ItemEncoder.
    components: factories (catalogue, embedding_size) -> Component by name, in the order they are summed and reported.
    combination: 'sum' of all components, 'mixture', 'product' or 'probabilities'. Without evidence all are a sum.
    flattening: of the softmax of logits, in 'probabilities' only: what was trained alone is too sure of itself.
    gain: where a learned factor on each logit component starts; None: there is none. At 0 (ReZero, Bachlechner et al.,
        UAI 2021) attention and user encoder say nothing before training has found them of use.

    Raises:
        SettingError: no component, a name that is none, a size below 1, a flattening that is not above 0, a combination
            that is none or takes other evidence, or nothing to train.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        item_encoder: Callable[..., ItemEncoder],
        components: Mapping[str, Callable[..., Component]],
        combination: Combination = "sum",
        gain: float | None = None,
        flattening: float = 1.0,
    ) -> None:
        super().__init__()
        if combination not in COMBINATIONS:
            hint = did_you_mean(combination, COMBINATIONS)
            raise SettingError(f"model.combination must be one of {listed(COMBINATIONS)}; got {combination!r}{hint}")
        if flattening <= 0:
            raise SettingError(f"model.flattening must be above 0, got {flattening}")
        self.combination, self.flattening = combination, flattening
        if embedding_size < 1:
            raise SettingError(f"model.embedding_size must be at least 1, got {embedding_size}")
        if not components:
            raise SettingError("model.components is empty: choose some, such as model/wide=[prior,linear]")
        self.n_items = catalogue.n_items
        settings = {"catalogue": catalogue, "embedding_size": embedding_size}
        self.components = nn.ModuleDict()
        self.switched_off: frozenset[str] = frozenset()
        encoder: ItemEncoder | None = None
        for name, factory in components.items():
            if not name.isidentifier() or hasattr(nn.ModuleDict, name) or name == MIXTURE:  # its own methods
                raise SettingError(f"model.components.{name}: not a name that a component can have")
            if encoder is None and getattr(getattr(factory, "func", factory), "uses_features", False):
                encoder = item_encoder(**settings)  # just before the first that uses it: what is drawn at random first
            self.components[name] = factory(**settings)
        self._check_fixed()
        self.item_encoder = item_encoder(**settings) if encoder is None else encoder
        logs: dict[str, LogEvidence] = {}
        if combination == "mixture":
            logs[MIXTURE] = LogEvidence(self.n_items)
        elif combination == "product":
            logs = {name: LogEvidence(self.n_items, exponent=_EXPONENT) for name in self._of("evidence")}
        self.logs = nn.ModuleDict(logs)
        logits = [] if gain is None else self._of("logit")
        self.gains = nn.ParameterDict({name: nn.Parameter(torch.tensor(float(gain or 0.0))) for name in logits})
        self.capabilities = self._capabilities()
        self.term_names = tuple(name for submodule in self._submodules() for name in submodule.term_names)
        self._statistics: ItemStatistics | None = None
        self._features: tuple[object, Tensor] | None = None

    def _check_fixed(self) -> None:
        fixed = self._fixed()
        if len(fixed) == len(self.components):
            raise SettingError(
                f"model.components: nothing of {listed(fixed)} is trained; add a component that is, or choose a model "
                "that stands alone, such as model=ease"
            )
        if self.combination == "probabilities" and (learned := [n for n in self._of("evidence") if n not in fixed]):
            raise SettingError(
                f"model.combination=probabilities: takes evidence that is fitted apart, such as model/wide=[ease], "
                f"and model.components.{learned[0]} is trained; leave it out, or use model.combination=mixture"
            )

    def _fixed(self) -> list[str]:
        return [name for name, component in self._active() if component.fixed]

    @property
    def component_names(self) -> tuple[str, ...]:
        if not self._mixes():
            return tuple(self._of())
        return (*self._of("factor"), MIXTURE)

    def _mixes(self) -> bool:
        return self.combination in ("mixture", "probabilities") and bool(self._of("evidence"))

    def _logs(self) -> list[str]:
        """The summands that are logs: the mixture, or a product's components of evidence."""
        if self._mixes():
            return [MIXTURE]
        return self._of("evidence") if self.combination == "product" else []

    def _of(self, role: InMixture | None = None) -> list[str]:
        """The active components of a role in mixtures; None: all."""
        return [name for name, c in self._active() if role in (None, c.in_mixture)]

    def _members(self) -> list[str]:
        """The active components that the summand 'mixture' holds."""
        return [name for name, c in self._active() if c.in_mixture != "factor"]

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

    def _uses_features(self) -> bool:
        return any(component.uses_features for _, component in self._active())

    def _capabilities(self) -> Capabilities:
        active = [component for _, component in self._active()]
        own, constant = [c.capabilities for c in active], [c.constant for c in active]
        linear = all(c.linear or c.constant for c in active) and not self._logs()
        return Capabilities(
            attention=any(c.attention for c in own),
            gradients=all(c.gradients for c in own),
            fractional_presence=all(c.fractional_presence for c in own),
            additive=linear or (any(c.additive for c in own) and not self._logs()),
            linear=linear,
            weighted_means=not all(constant)
            and all(c.weighted_means or fixed for c, fixed in zip(own, constant, strict=True)),
            attention_values=any(c.attention_values for c in own),
            layers=any(c.layers for c in own),
            components=True,
            item_features=True,
            cold_items=self.item_encoder.cold_items and self._uses_features(),
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
            if submodule is not self.item_encoder or self._uses_features():
                submodule.fit(data)
        if self.logs:
            self._start_logs(data)

    @torch.no_grad()
    def _start_logs(self, data: FitData) -> None:
        """Every log by what its components say of some training users."""
        context = self.prepare(drawn_histories(data, _START_USERS))
        for name, log in self.logs.items():
            assert isinstance(log, LogEvidence)
            log.start(self._total(context, None, None, self._of("evidence") if name == MIXTURE else [name]))

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
        logs = self._logs()
        scores = {name: self._log if name in logs else self._score for name in self.component_names}
        return {name: score(name, context, presence, targets).expand(shape) for name, score in scores.items()}

    def _score(self, name: str, context: Context, presence: Tensor | None, targets: Tensor | None) -> Tensor:
        return self._scaled(name, self.component(name).score(context, presence, targets))

    def _scaled(self, name: str, value: Tensor) -> Tensor:
        return self.gains[name] * value if name in self.gains else value

    def _log(self, name: str, context: Context, presence: Tensor | None, targets: Tensor | None) -> Tensor:
        """What a component's evidence is in a product, or the mixture."""
        if name != MIXTURE:
            return self.logs[name](self._total(context, presence, targets, [name]), None, context, presence, targets)
        logits, evidence = (self._total(context, presence, targets, self._of(role)) for role in ("logit", "evidence"))
        if self.combination == "probabilities" and targets is not None:
            return log_mixture(logits / self.flattening - self._log_sum(context, presence), evidence)
        return self._mixed(logits, evidence, context, presence, targets)

    def _mixed(
        self,
        logits: Tensor,
        evidence: Tensor,
        context: Context,
        presence: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """The log of a mixture, of the whole catalogue where logits are to be normalised."""
        if self.combination == "mixture":
            return self.logs[MIXTURE](evidence, logits, context, presence, targets)
        logits = logits.expand(*logits.shape[:-1], self.n_items) if logits.ndim else logits.expand(self.n_items)
        return log_mixture((logits / self.flattening).log_softmax(-1), evidence)

    def _log_sum(self, context: Context, presence: Tensor | None) -> Tensor:
        """[B, M, 1] what normalises logits: they are needed of the whole catalogue, so that copies come in pieces."""
        names = self._of("logit")
        if not names:
            return context.history.presence.new_tensor(math.log(self.n_items))
        size = max(1, _MAX_SCORES // (len(context.history) * self.n_items))
        pieces = [None] if presence is None else presence.split(size, dim=1)
        sums = []
        for piece in pieces:
            logits = self._total(context, piece, None, names).expand(self._shape(context, piece, None))
            sums.append((logits / self.flattening).logsumexp(-1, keepdim=True))
        return torch.cat(sums, dim=1)

    def ablations(self, context: Context) -> dict[str | None, Tensor]:
        if not self._mixes():
            return super().ablations(context)
        scores = {name: self._score(name, context, None, None) for name in self._of()}
        views = {None: self} | {name: self.without(name) for name in scores if len(scores) > 1}
        shape = self._shape(context, None, None)
        return {name: view._combined(scores, context).expand(shape) for name, view in views.items()}

    def _combined(self, scores: Mapping[str, Tensor], context: Context) -> Tensor:
        """The score of whole histories from those of all components."""
        zero = next(iter(scores.values())).new_zeros(())
        if not self._mixes():
            return sum((scores[name] for name in self._of()), zero)
        factors, logits, evidence = (
            sum((scores[name] for name in self._of(role)), zero) for role in ("factor", "logit", "evidence")
        )
        return factors + self._mixed(logits, evidence, context)

    def _shape(self, context: Context, presence: Tensor | None, targets: Tensor | None) -> tuple[int, int, int]:
        n_copies = 1 if presence is None else presence.shape[1]
        return len(context.history), n_copies, self.n_items if targets is None else targets.shape[1]

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        if context.users is not None and (fixed := self._fixed()):  # in training
            return self.without(*fixed).score(context, presence, targets)
        logs = self._logs()
        plain = [name for name in self.component_names if name not in logs]
        whole = _sum(
            [
                self._total(context, presence, targets, plain),
                *(self._log(name, context, presence, targets) for name in logs),
            ]
        )
        return whole.expand(self._shape(context, presence, targets))

    def _total(self, context: Context, presence: Tensor | None, targets: Tensor | None, names: Sequence[str]) -> Tensor:
        """The sum of these components, [B, M, T] or what broadcasts to it. The whole catalogue for many masked copies:
        one table of all that is linear in presence, kept in the context, unless none of it needs one."""
        total = context.history.presence.new_zeros(())
        if presence is None or targets is not None:
            return _sum([self._score(name, context, presence, targets) for name in names]) if names else total
        present, linear = context.presence(presence), tuple(name for name in names if self.component(name).linear)
        merges = any(not self.component(name).sparse for name in linear)
        for name in names:
            if not merges or name not in linear:
                total = total + self._score(name, context, present, None)
            elif name == linear[0]:
                if linear not in context.kept:
                    tables = [self._scaled(each, self.component(each).contributions(context)) for each in linear]
                    context.kept[linear] = _sum(tables)
                total = total + present @ context.kept[linear]
        return total

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        able = [(name, c) for name, c in self._active() if c.capabilities.additive]
        if not self.capabilities.additive:
            return super().contributions(context, targets)
        if not able:  # nothing depends on the history
            n_targets = self.n_items if targets is None else targets.shape[1]
            return context.history.presence.new_zeros(()).expand(*context.history.item.shape, n_targets)
        return _sum([self._scaled(name, c.contributions(context, targets)) for name, c in able])

    def weighted_means(self, context: Context, targets: Tensor) -> WeightedMeans:
        if not self.capabilities.weighted_means:
            return super().weighted_means(context, targets)
        of = {name: c.weighted_means(context, targets) for name, c in self._active() if not c.constant}
        values = torch.cat([self._scaled(name, means.values) for name, means in of.items()], dim=1)
        weights = [means.log_weights.expand(-1, -1, -1, values.shape[-1]) for means in of.values()]
        return WeightedMeans(torch.cat(weights, dim=1), values)

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        able = [c for _, c in self._active() if c.capabilities.attention]
        return able[0].attention_weights(context, targets) if able else super().attention_weights(context, targets)

    def attention_norms(self, context: Context, targets: Tensor | None = None) -> Tensor:
        able = [c for _, c in self._active() if c.capabilities.attention_values]
        return able[0].attention_norms(context, targets) if able else super().attention_norms(context, targets)

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

    def check_sequences(self) -> None:
        for name, component in self._active():
            if not (component.positions or component.fixed):
                raise SettingError(
                    f"training.examples=sequence: model.components.{name} does not score positions of a sequence; "
                    "leave it out (model/attention=self_attention alone does), or use training=next_item"
                )

    def score_positions(self, context: Context, positions: Positions, targets: Tensor) -> Tensor:
        scoring = [(name, component) for name, component in self._active() if not component.fixed]
        return _sum(self._scaled(name, c.score_positions(context, positions, targets)) for name, c in scoring)

    def shared_tables(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {"features": self.item_encoder.features(generator)} if self._uses_features() else {}

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

    def learned(self, data: FitData) -> dict[str, float]:
        return _merged(submodule.learned(data) for submodule in self._submodules())

    def updates(self) -> list[Update]:
        return [update for submodule in self._submodules() for update in submodule.updates()]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """By `Submodule.group`: 'wide' (prior, linear, repeat, weights of logs), 'neural' (the rest, and gains),
        and what others call theirs."""
        owned = {id(p) for update in self.updates() for p in update.parameters}
        groups: dict[str, list[nn.Parameter]] = {
            "wide": list(self.logs.parameters()),
            "neural": list(self.gains.parameters()),
        }
        for submodule in self._submodules():
            groups.setdefault(submodule.group, []).extend(p for p in submodule.parameters() if id(p) not in owned)
        return groups

    # views

    def without(self, *components: str) -> Composed:
        """A view of this model (same weights) that scores with some components switched off.

        Raises:
            SettingError: a component this model does not have.
        """
        view = copy.copy(self)
        view.switched_off = self.switched_off.union(*(self._named(name) for name in components))
        view.capabilities = view._capabilities()
        return view

    def only(self, *components: str) -> Composed:
        kept = {name for given in components for name in self._named(given)}
        return self.without(*(name for name, _ in self._active() if name not in kept))

    def _named(self, name: str) -> list[str]:
        """The active components that a summand's or a component's name stands for."""
        known = [name for name, _ in self._active()]
        if name == MIXTURE and self._mixes():
            return self._members()
        if name not in known:
            hint = did_you_mean(name, known)
            raise SettingError(f"composed: no component {name!r}{hint}; components are {listed(known)}")
        return [name]


def _merged(mappings: Iterable[Mapping[str, Value]]) -> dict[str, Value]:
    return {name: value for mapping in mappings for name, value in mapping.items()}


def _sum(summands: Iterable[Tensor]) -> Tensor:
    first, *others = summands
    for summand in others:
        first = first + summand
    return first
