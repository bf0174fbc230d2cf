"""The composed recommender: a sum of parts, each of which can be switched off.

    score(u, i) = prior_i + <z_u, f_i> + sum_j g_ij <v_j, f_i> + sum_j r_j W_ji + repeat(u, i)

z_u from the user encoder, f_i from the item encoder, the attention's gates g, the linear path's weights W. The last
three are additive over history items j; with a softmax gate the attention's summands are not deletion effects.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xrec.errors import SettingError
from xrec.losses.reconstruction import ReconstructionLoss
from xrec.losses.weights import wanted_terms
from xrec.models.attention.history_attention import AttentionTables, HistoryAttention
from xrec.models.history import History
from xrec.models.item_encoder.item_encoder import ItemEncoder
from xrec.models.parts import ItemPrior, ItemStatistics, LinearPath, RepeatFeatures
from xrec.models.recommender import Capabilities, Context, FitData, Recommender
from xrec.models.user_encoder.user_encoder import UserEncoder
from xrec.types import Catalogue

N_STATISTICS = 9


@dataclass(frozen=True)
class Batch:
    """Training examples of one window: histories, a sample of targets [B, T] with labels and log weights (see
    `losses.reconstruction`), the users' ids [B], and the number of users a full batch has."""

    history: History
    users: Tensor
    targets: Tensor
    labels: Tensor
    log_weight: Tensor
    full_size: int


class Composed(Recommender):
    """Args:
    embedding_size: d, shared by z, f and the attention.
    user_encoder: factory (n_items, embedding_size) -> UserEncoder; None leaves the part out.
    item_encoder: factory (catalogue, embedding_size) -> ItemEncoder.
    attention: factory (embedding_size, n_kinds) -> HistoryAttention; None leaves the part out.
    linear_path, repeat_features: whether these parts are there.
    regularization: lambda of the linear path's EASE.
    reconstruction: the likelihood.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        reconstruction: ReconstructionLoss,
        embedding_size: int,
        item_encoder: Callable[..., ItemEncoder],
        user_encoder: Callable[..., UserEncoder] | None = None,
        attention: Callable[..., HistoryAttention] | None = None,
        linear_path: bool = True,
        repeat_features: bool = True,
        regularization: float = 500.0,
    ) -> None:
        super().__init__()
        if embedding_size < 1:
            raise SettingError(f"model.embedding_size must be at least 1, got {embedding_size}")
        self.n_items = catalogue.n_items
        self.reconstruction = reconstruction
        self.prior = ItemPrior(self.n_items, N_STATISTICS)
        self.linear = LinearPath(regularization) if linear_path else None
        self.repeat = RepeatFeatures(N_STATISTICS) if repeat_features else None
        self.item_encoder = item_encoder(catalogue=catalogue, embedding_size=embedding_size)
        n_kinds = len(catalogue.event_kinds)
        self.attention = attention(embedding_size=embedding_size, n_kinds=n_kinds) if attention is not None else None
        self.user_encoder = (
            user_encoder(n_items=self.n_items, embedding_size=embedding_size) if user_encoder is not None else None
        )
        self.scale = 1.0 / math.sqrt(embedding_size)
        self.switched_off: frozenset[str] = frozenset()
        self.capabilities = Capabilities(
            attention=self.attention is not None,
            gradients=True,
            fractional_presence=True,
            additive=self.attention is not None or linear_path or repeat_features,
            cold_items=self.item_encoder.cold_items,
            likelihood=True,
            components=True,
            item_features=True,
            trainable=True,
        )
        self._statistics: ItemStatistics | None = None
        self._features: tuple[object, Tensor] | None = None

    @property
    def component_names(self) -> tuple[str, ...]:
        """The components this model has, in the order they are reported in."""
        there = {
            "linear": self.linear,
            "repeat": self.repeat,
            "attention": self.attention,
            "user_encoder": self.user_encoder,
        }
        return ("prior", *(name for name, part in there.items() if part is not None))

    def fit(self, data: FitData) -> None:
        self._statistics = ItemStatistics(data.dataset, data.device)
        if self.linear is not None:
            self.linear.fit(data)
        if self.repeat is not None:
            self.repeat.fit(data.dataset.histories(data.dataset.train_end + 1))

    def statistics(self, moment: int) -> Tensor:
        assert self._statistics is not None, "fit comes first"
        return self._statistics.at(moment)

    # scoring

    def prepare(self, history: History) -> Context:
        return Context(history, {"features": self._item_features()})

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
        history, present = context.history, context.presence(presence)
        whole = presence is None and targets is None
        prior = self.prior(self.statistics(history.moment), targets).unsqueeze(-2)
        parts = {"prior": prior.expand(present.shape[0], present.shape[1], -1)}
        if self.linear is not None:
            parts["linear"] = (
                self.linear.total(history).unsqueeze(1)
                if whole
                else present @ self.linear.contributions(history, targets)
            )
        if self.repeat is not None:
            parts["repeat"] = self._repeat(context, present, targets)
        if self.attention is not None:
            parts["attention"] = self._attention(context, targets).score(present) * self.scale
        if self.user_encoder is not None:
            parts["user_encoder"] = self._user(context, present, targets)
        return {name: torch.zeros_like(p) if name in self.switched_off else p for name, p in parts.items()}

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        if presence is None or targets is not None or self.switched_off:
            return _sum(list(self.component_scores(context, presence, targets).values()))
        return self._score_catalogue(context, context.presence(presence))

    def _score_catalogue(self, context: Context, present: Tensor) -> Tensor:
        """The whole catalogue for many masked copies: one table of everything additive, kept in the context."""
        tables = context.tables
        if "additive" not in tables:
            attention = self._attention(context, None) if self.attention is not None else None
            summands = []
            if attention is not None and attention.normalised:
                tables["gate"] = attention.gate.expand_as(attention.value)
                tables["gated"] = attention.gate * attention.value
            elif attention is not None:
                summands.append(attention.contributions(context.history.presence) * self.scale)
            summands += self._wide_summands(context, None)
            empty = present.new_zeros(*context.history.item.shape, self.n_items)
            tables["additive"] = _sum(summands) if summands else empty
        score = self.prior(self.statistics(context.history.moment), None).unsqueeze(-2) + present @ tables["additive"]
        if "gate" in tables:
            score = score + present @ tables["gated"] / (present @ tables["gate"]).clamp_min(1e-30) * self.scale
        return score if self.user_encoder is None else score + self._user(context, present, None)

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        summands = self._wide_summands(context, targets)
        if self.attention is not None and "attention" not in self.switched_off:
            summands.append(self._attention(context, targets).contributions(context.history.presence) * self.scale)
        return _sum(summands) if summands else super().contributions(context, targets)

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        if self.attention is None:
            return super().attention_weights(context, targets)
        tables = self._attention(context, targets)
        return tables.weights(context.history.presence).expand_as(tables.value)

    def _wide_summands(self, context: Context, targets: Tensor | None) -> list[Tensor]:
        summands = []
        if self.linear is not None and "linear" not in self.switched_off:
            summands.append(self.linear.contributions(context.history, targets))
        if self.repeat is not None and "repeat" not in self.switched_off:
            summands.append(self._repeat_table(context, targets))
        return summands

    def _attention(self, context: Context, targets: Tensor | None) -> AttentionTables:
        assert self.attention is not None
        features = context.tables["features"]
        target_features = features if targets is None else features[targets]
        return self.attention.tables(context.history, features[context.history.item], target_features)

    def _repeat_table(self, context: Context, targets: Tensor | None) -> Tensor:
        assert self.repeat is not None
        return self.repeat.contributions(
            context.history, self.statistics(context.history.moment), targets, self.n_items
        )

    def _repeat(self, context: Context, present: Tensor, targets: Tensor | None) -> Tensor:
        if targets is not None:
            return present @ self._repeat_table(context, targets)
        assert self.repeat is not None
        own = self.repeat.own(context.history, self.statistics(context.history.moment)).unsqueeze(1) * present
        item = context.history.item.unsqueeze(1).expand_as(own)
        return own.new_zeros(*own.shape[:2], self.n_items).scatter_add(2, item, own)

    def _user(self, context: Context, present: Tensor, targets: Tensor | None, z: Tensor | None = None) -> Tensor:
        assert self.user_encoder is not None
        if z is None:
            z = self.user_encoder.encode(context.history, present).z
        features = context.tables["features"]
        features = features if targets is None else features[targets]
        return z @ features.transpose(-1, -2) * self.scale

    # training

    def training_step(
        self, batch: Batch, weights: Mapping[str, float], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The unweighted loss terms with a weight other than 0; 'reconstruction' is averaged over a full batch of
        users."""
        wanted = wanted_terms(weights)
        context = Context(batch.history, {"features": self.item_encoder.features(generator)})
        present = context.presence(None)
        scores = self.prior(self.statistics(batch.history.moment), batch.targets)
        terms: dict[str, Tensor] = {}
        if self.linear is not None:
            scores = scores + self.linear.window_total(batch.history, batch.users, batch.targets)
        if self.repeat is not None:
            scores = scores + self._repeat(context, present, batch.targets).squeeze(1)
        if self.attention is not None:
            scores = scores + self._attention(context, batch.targets).score(present).squeeze(1) * self.scale
        if self.user_encoder is not None:
            encoded = self.user_encoder.encode(batch.history, present, generator)
            scores = scores + self._user(context, present, batch.targets, encoded.z).squeeze(1)
            terms |= encoded.terms
        if "reconstruction" in wanted:
            per_user = self.reconstruction(scores, batch.labels, batch.log_weight)
            terms["reconstruction"] = per_user.sum() / batch.full_size
        if "item_bias" in wanted:
            terms["item_bias"] = self.prior.penalty()
        terms |= self.item_encoder.terms(wanted, generator)
        return {name: term for name, term in terms.items() if name not in weights or name in wanted}

    def discriminator_step(self, generator: torch.Generator) -> Tensor | None:
        """Loss of the alternating step, or None when the item encoder has none."""
        return self.item_encoder.discriminator_loss(generator)

    def parameter_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """'wide' (prior, linear, repeat), 'neural' (encoders, attention) and 'discriminator'."""
        groups: dict[str, list[torch.nn.Parameter]] = {"wide": [], "neural": [], "discriminator": []}
        for name, parameter in self.named_parameters():
            if ".discriminator." in name:
                groups["discriminator"].append(parameter)
            else:
                groups["wide" if name.split(".")[0] in ("prior", "linear", "repeat") else "neural"].append(parameter)
        return groups

    def without(self, *parts: str) -> Composed:
        """A view of this model (same weights) that scores with some parts switched off.

        Raises:
            SettingError: a part this model does not have.
        """
        unknown = sorted(set(parts) - set(self.component_names))
        if unknown:
            raise SettingError(f"composed: no part {unknown}; parts are {', '.join(self.component_names)}")
        view = copy.copy(self)
        view.switched_off = self.switched_off | set(parts)
        return view

    def only(self, component: str) -> Composed:
        if component not in self.component_names:
            raise SettingError(
                f"composed: no component {component!r}; components are {', '.join(self.component_names)}"
            )
        return self.without(*(name for name in self.component_names if name != component))

    def item_features(self) -> Tensor:
        with torch.no_grad():
            return self._item_features()


def _sum(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
