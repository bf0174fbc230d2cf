"""The seam inside the composed model: a component is one summand of the score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from xrec.models.history import Positions
from xrec.models.recommender import Capabilities, Context, FitData, WeightedMeans
from xrec.models.update import Update

#: what a component is in a mixture: log odds outside the log, log odds inside it, or odds that are added up
InMixture = Literal["factor", "logit", "evidence"]


class Submodule(nn.Module):
    """What components and item encoders have in common: how they come by their numbers.

    term_names: of its own loss terms, of users and of items. group: the parameter group whose rate
    `training.learning_rate_scale` scales.
    """

    term_names: tuple[str, ...] = ()
    group: str = "neural"

    def attach(self, data: FitData) -> None:
        """Take from the data what is neither in the state_dict nor estimated: closed-form tables, by way of
        `data.cache`, which keeps them by content and builds those that are missing. Before `fit`, and when a saved
        model is loaded."""

    def fit(self, data: FitData) -> None:
        """Estimate in closed form, from training periods only, what is then part of the state_dict."""

    def terms(self, context: Context, wanted: set[str]) -> dict[str, Tensor]:
        """Its own loss terms of users, unweighted, per user [B], those of `wanted` only; after `score` of the same
        context."""
        return {}

    def item_terms(self, generator: torch.Generator, wanted: set[str]) -> dict[str, Tensor]:
        """Its own loss terms of items, unweighted scalars, means over items, those of `wanted` only; once a step."""
        return {}

    def monitors(self) -> dict[str, float]:
        """See `Recommender.monitors`."""
        return {}

    def learned(self, data: FitData) -> dict[str, float]:
        """See `Recommender.learned`."""
        return {}

    def updates(self) -> list[Update]:
        """The alternating steps that it owns."""
        return []


class Component(Submodule, ABC):
    """One summand of the score. Made from (catalogue, embedding_size) and its own settings.

    `context.tables` holds what components share: 'features' [I, d] of the item encoder, 'statistics' [I, S] of the
    items just before the history's moment. What a component keeps there for later calls begins with its own name.

    capabilities: `attention`, `attention_values`, `additive`, `layers` and `weighted_means` mean the methods below.
    linear: the score is exactly presence @ contributions, so that one table serves every masked copy. constant: the
    score does not depend on presence. sparse: its `score` of masked copies costs less than a product with such a
    table.
    uses_features: it needs the item encoder's features.
    in_mixture: how it enters a score that is a mixture (see `xrec.models.composed`); evidence is 0 where there is none.
    positions: it has `score_positions`, and can be trained on sequences.
    sees_targets: why it cannot be trained on whole profiles, whose targets are items of the history; empty: it can.
    fixed: nothing of it is learned, and it has seen the targets: training leaves it out.
    """

    capabilities: Capabilities = Capabilities(gradients=True, fractional_presence=True)
    linear: bool = False
    constant: bool = False
    sparse: bool = False
    uses_features: bool = False
    in_mixture: InMixture = "logit"
    positions: bool = False
    sees_targets: str = ""
    fixed: bool = False

    @abstractmethod
    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        """[B, M, T], or what broadcasts to it. presence [B, M, L] (None: the whole history, M = 1); targets [B, T]
        (None: the whole catalogue). Fractional presence is legal, and so is an empty history; masked must equal
        removed. In training `context.generator` is there, and `context.users`."""

    def score_positions(self, context: Context, positions: Positions, targets: Tensor) -> Tensor:
        """[N, T], or what broadcasts to it: scores of shared targets [T] at the moments of N history items, from the
        older ones alone, for `positions`.

        Raises:
            TypeError: it has none.
        """
        raise TypeError(f"{type(self).__name__} does not score positions of a sequence")

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """Summands [B, L, T] of the whole history's score, for `capabilities.additive`.

        Raises:
            TypeError: it is not additive.
        """
        raise TypeError(f"{type(self).__name__} is not additive over history items")

    def weighted_means(self, context: Context, targets: Tensor) -> WeightedMeans:
        """The score of targets [B, T] as weighted means over history items, for `capabilities.weighted_means`.

        Raises:
            TypeError: it is none.
        """
        raise TypeError(f"{type(self).__name__} is no sum of weighted means over history items")

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """Attention weight [B, L, T] of each history item, for `capabilities.attention`.

        Raises:
            TypeError: it has no attention.
        """
        raise TypeError(f"{type(self).__name__} has no attention over the history")

    def attention_norms(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """Lengths [B, L, T] of what each history item adds to the vector that is read out, for
        `capabilities.attention_values`; its `score` heeds `context.carried` then.

        Raises:
            TypeError: it has none.
        """
        raise TypeError(f"{type(self).__name__} has no attention that is a sum of vectors")

    def attention_layers(self, context: Context, targets: Tensor | None = None) -> list[Tensor]:
        """Attention of history items on history items, [B, L, L] per layer, for `capabilities.layers`.

        Raises:
            TypeError: it has no layers.
        """
        raise TypeError(f"{type(self).__name__} has no layers of attention")


def target_features(context: Context, targets: Tensor | None) -> Tensor:
    """Item features of the targets: [I, d] of the whole catalogue, or [B, T, d]."""
    features = context.tables["features"]
    return features if targets is None else features[targets]
