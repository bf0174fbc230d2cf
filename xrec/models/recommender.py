"""The recommender seam: `prepare` a history once, then `score` many masked copies of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.models.history import History, Positions, own_position
from xrec.models.update import Update
from xrec.types import Cache, Dataset, Progress


@dataclass(frozen=True)
class Capabilities:
    """What a recommender can be asked for. Explainers and stages ask its instance, never for a class or a name.

    attention: `attention_weights`. gradients: scores are differentiable with respect to presence. fractional_presence:
    presence between 0 and 1 means something. additive: `contributions`. linear: the score is what an empty history gets
    plus presence @ contributions, exactly. weighted_means: `weighted_means`. components: `component_scores` and `only`.
    attention_values: `attention_norms`, and `Context.carried`. item_features: `item_features`. layers:
    `attention_layers`. cold_items: items that were never trained on get a
    meaningful score. likelihood: scores are logits of a likelihood, so that a softmax of them is a probability.
    trainable: it has loss terms, and is trained by `xrec.training.fit`.
    """

    attention: bool = False
    gradients: bool = False
    fractional_presence: bool = False
    additive: bool = False
    linear: bool = False
    weighted_means: bool = False
    components: bool = False
    attention_values: bool = False
    item_features: bool = False
    layers: bool = False
    cold_items: bool = False
    likelihood: bool = False
    trainable: bool = False

    def names(self) -> frozenset[str]:
        """Those it has."""
        return frozenset(f.name for f in fields(self) if getattr(self, f.name))


#: capabilities that are lost where the number that is explained is not linear in scores
OF_SUMS = frozenset({"additive", "linear", "weighted_means", "components"})


@dataclass(frozen=True)
class WeightedMeans:
    """A score that is, beside what an empty history gets, sum_h sum_j p_j exp(s_hj) v_hj / sum_j p_j exp(s_hj), and 0
    where nothing is there.

    log_weights: s [B, H, L, T], or [B, H, L, 1] where targets share them; -inf for what has no weight. values: v [B, H,
    L, T].
    """

    log_weights: Tensor
    values: Tensor


@dataclass
class Context:
    """What `prepare` computed for B histories.

    tables: what may be reused for every masked copy, by name. kept: what a part of a model keeps for its later calls,
    by the part. users [B]: ids, in training only. generator: there in training, when noise is drawn. profile: the
    targets are the items of the training histories themselves (`training.examples=profile`). carried [B, L]: factors
    on what attention reads of each history item, its weights staying as they are (None: 1).
    """

    history: History
    tables: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[object, Any] = field(default_factory=dict)
    users: Tensor | None = None
    generator: torch.Generator | None = None
    profile: bool = False
    carried: Tensor | None = None

    def presence(self, presence: Tensor | None) -> Tensor:
        """[B, M, L]: the given presence with padding kept at 0, or the history's own as M = 1."""
        own = self.history.presence.unsqueeze(1)
        return own if presence is None else presence * own

    def own_position(self, targets: Tensor, n_items: int) -> Tensor:
        """[B, T] `history.own_position`; that of the last targets is kept, for all parts that ask."""
        last = self.kept.get("own_position")
        if last is None or last[0] is not targets:
            self.kept["own_position"] = last = targets, own_position(self.history, targets, n_items)
        return last[1]


@dataclass(frozen=True)
class FitData:
    """What a model may be fitted on: the dataset (it must not look past `dataset.train_end`), a cache, a generator."""

    dataset: Dataset
    cache: Cache
    generator: torch.Generator
    progress: Progress
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class Recommender(nn.Module, ABC):
    """Scores every item of the catalogue for a history.

    What is fitted or trained is the `state_dict`, but for closed-form tables, which `data.cache` keeps by content: a
    saved model is loaded by `attach` and its state_dict, and nothing is fitted again. Sources: see each model.
    """

    capabilities: Capabilities
    n_items: int

    def attach(self, data: FitData) -> None:
        """Take from the data what is neither in the state_dict nor estimated (tables come by way of `data.cache`).
        Before `fit`, and when a saved model is loaded."""

    def fit(self, data: FitData) -> None:
        """Compute what is fitted in closed form, from training periods only."""
        self.attach(data)

    @abstractmethod
    def prepare(self, history: History) -> Context:
        """Everything that does not depend on presence, for B histories."""

    @abstractmethod
    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        """Scores [B, M, T] of M masked copies of each history.

        presence [B, M, L] in [0, 1] (None: the whole history, M = 1); targets [B, T] item ids (None: the whole
        catalogue, T = n_items). An empty history is legal and gives the model's prior.
        """

    # for models with `capabilities.trainable`

    term_names: tuple[str, ...] = ()

    def check_profiles(self) -> None:
        """Raises: SettingError, when the model would see its own targets in training on whole profiles."""

    def check_sequences(self) -> None:
        """Raises: SettingError, when the model has no `score_positions`."""
        raise SettingError(f"training.examples=sequence: {type(self).__name__} does not score positions of a sequence")

    def score_positions(self, context: Context, positions: Positions, targets: Tensor) -> Tensor:
        """[N, T] scores of shared targets [T] at the moments of N history items, from the older ones alone; for
        training on sequences."""
        raise TypeError(f"{type(self).__name__} does not score positions of a sequence")

    def shared_tables(self, generator: torch.Generator) -> dict[str, Tensor]:
        """What all examples of a training step share, with its graph: computed once a step, whatever pieces the step is
        cut into; noise comes from the generator."""
        return {}

    def training_context(
        self,
        history: History,
        users: Tensor,
        generator: torch.Generator,
        shared: Mapping[str, Tensor] | None = None,
        profile: bool = False,
    ) -> Context:
        """`prepare` for training examples: users [B] are their ids; noise comes from the generator; shared: of
        `shared_tables` (None: to be computed); profile: see `Context`."""
        context = self.prepare(history)
        context.users, context.generator, context.profile = users, generator, profile
        return context

    def terms(self, context: Context, wanted: set[str]) -> dict[str, Tensor]:
        """The model's own loss terms of users (of `term_names`), unweighted, per user [B], those of `wanted` only;
        after `score` of the same context."""
        return {}

    def item_terms(self, generator: torch.Generator, wanted: set[str]) -> dict[str, Tensor]:
        """The model's own loss terms of items (of `term_names`), unweighted scalars, means over items, those of
        `wanted` only; once a step, whatever its users."""
        return {}

    def monitors(self) -> dict[str, float]:
        """Numbers that say whether the training is sound, logged as `monitor/<name>` after every epoch. A name that
        ends in `collapsed` is 0 or 1; a 1 is said aloud, and stands in the report."""
        return {}

    def learned(self, data: FitData) -> dict[str, float]:
        """Numbers that say what has been learned, once the model is fitted, by the names of `xrec.stages.fit.LEARNED`;
        for the report."""
        return {}

    def updates(self) -> list[Update]:
        """The alternating steps that the model owns."""
        return []

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters but those of `updates`, by the name that scales their learning rate."""
        owned = {id(p) for update in self.updates() for p in update.parameters}
        return {"main": [p for p in self.parameters() if id(p) not in owned]}

    # for models with the capability of the same name

    @property
    def component_names(self) -> tuple[str, ...]:
        """The components of a model with `capabilities.components`, in the order they are reported in."""
        return ()

    def component_scores(
        self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Summands of `score` by component, each [B, M, T]; none where the model is no sum."""
        return {}

    def ablations(self, context: Context) -> dict[str | None, Tensor]:
        """Scores [B, 1, I] of whole histories by the component that is left out, for models with
        `capabilities.components`; None: of the whole model."""
        parts = self.component_scores(context)
        whole = torch.stack(list(parts.values())).sum(0)
        return {None: whole, **{name: whole - part for name, part in parts.items()}}

    def only(self, *components: str) -> Recommender:
        """A view of this model (same weights) whose score is that of some of its components.

        Raises:
            TypeError: the model has no components. SettingError: it has others.
        """
        raise TypeError(f"{type(self).__name__} has no components")

    def item_features(self) -> Tensor:
        """[I, d] features of all items, for models with `capabilities.item_features`.

        Raises:
            TypeError: the model has none.
        """
        raise TypeError(f"{type(self).__name__} has no item features")

    def attention_layers(self, context: Context, targets: Tensor | None = None) -> list[Tensor]:
        """Attention of history items on history items [B, L, L], rows sum to 1, one per layer from the first to the
        last, for models with `capabilities.layers`.

        Raises:
            TypeError: the model has no layers of attention.
        """
        raise TypeError(f"{type(self).__name__} has no layers of attention")

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """Exact summands [B, L, T] that the history items add to the score, for models with `capabilities.additive`.

        Raises:
            TypeError: the model has no additive parts.
        """
        raise TypeError(f"{type(self).__name__} has no additive parts over history items")

    def weighted_means(self, context: Context, targets: Tensor) -> WeightedMeans:
        """The score of targets [B, T] as weighted means over history items, for models with
        `capabilities.weighted_means`.

        Raises:
            TypeError: the model is none.
        """
        raise TypeError(f"{type(self).__name__} is no sum of weighted means over history items")

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """Attention weight [B, L, T] of each history item for each target, for models with `capabilities.attention`.

        Raises:
            TypeError: the model has no attention.
        """
        raise TypeError(f"{type(self).__name__} has no attention over the history")

    def attention_norms(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """Lengths [B, L, T] of the vectors that the history items add to what attention reads for each target, for
        models with `capabilities.attention_values`.

        Raises:
            TypeError: the model has no attention that is a sum of vectors.
        """
        raise TypeError(f"{type(self).__name__} has no attention that is a sum of vectors")


def checked_scores(
    model: Recommender, context: Context, presence: Tensor | None = None, targets: Tensor | None = None
) -> Tensor:
    """`model.score` of these arguments, for models of any origin.

    Raises:
        SettingError: its answer is no tensor [B, M, T].
    """
    scores: object = model.score(context, presence, targets)
    expected = (
        len(context.history),
        1 if presence is None else presence.shape[1],
        model.n_items if targets is None else targets.shape[1],
    )
    if not isinstance(scores, Tensor) or scores.shape != expected:
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise SettingError(
            f"model {type(model).__name__}: score gave {shape}, expected a tensor {expected}: "
            "histories, masked copies of each, items"
        )
    return scores


class AdditiveRecommender(Recommender):
    """A model whose score is exactly prior(target) + sum_j presence_j contribution(j, target)."""

    capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True, linear=True)

    @abstractmethod
    def prior(self, context: Context, targets: Tensor | None) -> Tensor:
        """The score of an empty history: [B, T], or a shape that broadcasts to it."""

    def prepare(self, history: History) -> Context:
        return Context(history)

    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        present = context.presence(presence)
        if targets is None:  # kept: the same catalogue-wide table serves every masked copy
            if "catalogue" not in context.tables:
                context.tables["catalogue"] = self.contributions(context)
            table = context.tables["catalogue"]
        else:
            table = self.contributions(context, targets)
        return self.prior(context, targets).unsqueeze(-2) + present @ table
