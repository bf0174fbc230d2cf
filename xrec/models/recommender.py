"""The recommender seam: `prepare` a history once, then `score` many masked copies of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from xrec.errors import SettingError
from xrec.types import Cache, Dataset, HistoryTable, Progress


@dataclass(frozen=True)
class Capabilities:
    """What a recommender can be asked for. Explainers and stages ask here, never for a model's name."""

    attention: bool = False
    gradients: bool = False
    fractional_presence: bool = False
    additive: bool = False
    cold_items: bool = False
    likelihood: bool = False
    trainable: bool = False


@dataclass(frozen=True)
class History:
    """B histories padded to L items. Channels [B, L] as in `HistoryTable` (decayed [B, L, H]); `moment` is shared.

    `presence` [B, L] is 1 for a real item and 0 for padding. Everything that perturbs a history changes presence and
    nothing else.
    """

    item: Tensor
    age: Tensor
    first_age: Tensor
    strength: Tensor
    n_periods: Tensor
    kind: Tensor
    positive: Tensor
    decayed: Tensor
    presence: Tensor
    moment: int

    @classmethod
    def from_table(
        cls, table: HistoryTable, users: Sequence[int] | np.ndarray, device: torch.device | str = "cpu"
    ) -> History:
        """Rows `users` of a table, padded to the longest of them (at least 1 column, so that empty histories are
        legal)."""
        rows = np.asarray(users, dtype=np.int64)
        lengths = table.indptr[rows + 1] - table.indptr[rows]
        width = max(1, int(lengths.max(initial=0)))
        column = np.arange(width)
        real = column[None, :] < lengths[:, None]
        source = np.where(real, table.indptr[rows][:, None] + column[None, :], 0)

        def channel(values: np.ndarray) -> Tensor:
            if len(values) == 0:
                values = np.zeros((1, *values.shape[1:]), dtype=values.dtype)
            gathered = values[source]
            gathered[~real] = 0
            return torch.from_numpy(gathered).to(device)

        return cls(
            item=channel(table.item),
            age=channel(table.age),
            first_age=channel(table.first_age),
            strength=channel(table.strength),
            n_periods=channel(table.n_periods),
            kind=channel(table.kind),
            positive=channel(table.positive),
            decayed=channel(table.decayed),
            presence=torch.from_numpy(real.astype(np.float32)).to(device),
            moment=table.moment,
        )

    def __len__(self) -> int:
        return self.item.shape[0]

    def rows(self, index: Tensor | Sequence[int] | slice) -> History:
        """The histories `index`, with the same padding."""
        return replace(self, **{name: getattr(self, name)[index] for name in CHANNELS})

    def without(self, keep: Tensor) -> History:
        """One history (B = 1) with only the items where `keep` [L] is true: really removed, not masked."""
        chosen = keep.bool() & (self.presence[0] > 0)
        return replace(self, **{name: getattr(self, name)[:, chosen] for name in CHANNELS})


CHANNELS = ("item", "age", "first_age", "strength", "n_periods", "kind", "positive", "decayed", "presence")


@dataclass
class Context:
    """What `prepare` computed for B histories; `tables` holds what may be reused for every masked copy."""

    history: History
    tables: dict[str, Tensor] = field(default_factory=dict)

    def presence(self, presence: Tensor | None) -> Tensor:
        """[B, M, L]: the given presence with padding kept at 0, or the history's own as M = 1."""
        own = self.history.presence.unsqueeze(1)
        return own if presence is None else presence * own


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

    Closed-form parts are made by `fit` (cheap, cached, deterministic, and repeated when a saved model is loaded);
    trained weights are the `state_dict`. Sources: see each model.
    """

    capabilities: Capabilities
    n_items: int

    @abstractmethod
    def fit(self, data: FitData) -> None:
        """Compute the closed-form parts from training periods only."""

    @abstractmethod
    def prepare(self, history: History) -> Context:
        """Everything that does not depend on presence, for B histories."""

    @abstractmethod
    def score(self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        """Scores [B, M, T] of M masked copies of each history.

        presence [B, M, L] in [0, 1] (None: the whole history, M = 1); targets [B, T] item ids (None: the whole
        catalogue, T = n_items). An empty history is legal and gives the model's prior.
        """

    def parts(
        self, context: Context, presence: Tensor | None = None, targets: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Named summands of `score`, each [B, M, T]. One part unless the model says otherwise."""
        return {"score": self.score(context, presence, targets)}

    def contributions(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """Exact summands [B, L, T] that the history items add to the score, for models with `capabilities.additive`.

        Raises:
            TypeError: the model has no additive parts.
        """
        raise TypeError(f"{type(self).__name__} has no additive parts over history items")

    def attention_weights(self, context: Context, targets: Tensor | None = None) -> Tensor:
        """Attention weight [B, L, T] of each history item for each target, for models with `capabilities.attention`.

        Raises:
            TypeError: the model has no attention.
        """
        raise TypeError(f"{type(self).__name__} has no attention over the history")


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

    capabilities = Capabilities(gradients=True, fractional_presence=True, additive=True)

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
