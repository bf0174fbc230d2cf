"""A tiny dataset through the real build, tiny models on it, and tiny training runs. Everything is deterministic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from xrec.data.build import build
from xrec.data.cache import ArrayCache
from xrec.data.clean import Cleaning
from xrec.data.interactions import SplitInteractions
from xrec.data.schema import RawData
from xrec.data.split.temporal import TemporalSplit
from xrec.losses.adversarial import Nonsaturating
from xrec.losses.reconstruction import Bernoulli
from xrec.models.attention.additive import Additive
from xrec.models.attention.dot_product import DotProduct
from xrec.models.attention.mean import Mean
from xrec.models.attention.multi_head import MultiHead
from xrec.models.attention.self_attention import SelfAttention
from xrec.models.attention.temporal import Temporal
from xrec.models.baselines.ease import EASE
from xrec.models.components.affinity import Affinity
from xrec.models.components.fixed import Fixed
from xrec.models.components.linear import Linear
from xrec.models.components.neighbours import Neighbours
from xrec.models.components.prior import Prior
from xrec.models.components.repeat import Repeat
from xrec.models.composed import Composed
from xrec.models.history import History
from xrec.models.item_encoder.attributes import Attributes
from xrec.models.item_encoder.bigan import BiGAN
from xrec.models.item_encoder.embedding import Embedding
from xrec.models.item_encoder.embedding_attributes import EmbeddingAttributes
from xrec.models.recommender import FitData
from xrec.models.user_encoder.vae import VAE
from xrec.training.fit import Objective, TrainingSettings, fit
from xrec.training.schedules import WarmUp

SPLIT = TemporalSplit(train_end=8, validation_end=10, test_end=12)
WEIGHTS = {"reconstruction": 1.0, "item_bias": 0.01, "own_item_bias": 0.01, "kl": 0.1}
WEIGHTS |= {"adversarial": 0.1, "item_reconstruction": 0.1}
MONITOR = "validation/toy"


@dataclass
class ToySource:
    """A source in memory: it reads no files, so `settings` alone keys the cache."""

    raw: RawData
    settings: dict[str, Any] = field(default_factory=dict)
    name: str = "toy"
    loads: int = 0

    def files(self) -> list[Path]:
        return []

    def load(self) -> RawData:
        self.loads += 1
        return self.raw


def events_frame(rows: list[tuple[str, str, int, float]]) -> pl.DataFrame:
    """(user, item, period, value) rows as an event log of kind 0."""
    schema = {"user": pl.String, "item": pl.String, "time": pl.Int64, "value": pl.Float32, "kind": pl.UInt8}
    return pl.DataFrame([(*row, 0) for row in rows], schema=schema, orient="row")


def random_events(seed: int = 0, n_users: int = 40, n_items: int = 30, n_periods: int = 12) -> pl.DataFrame:
    """Users with tastes: a few items each are bought again and again, the others by popularity."""
    rng = np.random.default_rng(seed)
    popularity = 1.0 / np.arange(1, n_items + 1) ** 0.7
    rows = []
    for user in range(n_users):
        taste = popularity * rng.gamma(0.3, 1.0, n_items) + 1e-3
        for period in range(1, n_periods + 1):
            if rng.random() < 0.7:
                bought = rng.choice(n_items, size=min(n_items, 3), replace=False, p=taste / taste.sum())
                rows += [(f"{user}", f"{item}", period, float(rng.integers(1, 4))) for item in sorted(bought)]
    return events_frame(rows)


def toy_raw(seed: int = 0, n_users: int = 40, n_items: int = 30, events: pl.DataFrame | None = None) -> RawData:
    """Three item fields and one user field, each with missing values; the last item has no attribute row at all."""
    rng = np.random.default_rng([seed, 1])
    events = random_events(seed, n_users, n_items) if events is None else events

    def some(values: list[str], n: int, missing: float) -> list[str | None]:
        return [None if rng.random() < missing else values[int(rng.integers(len(values)))] for _ in range(n)]

    n = n_items - 1
    items = pl.DataFrame(
        {
            "item": [f"{i}" for i in range(n)],
            "department": some(["dairy", "produce", "bakery"], n, 0.1),
            "brand": some(["national", "private"], n, 0.2),
            "size": some(["small", "large", "family", "huge"], n, 0.3),
        },
        schema={"item": pl.String, "department": pl.String, "brand": pl.String, "size": pl.String},
    )
    users = pl.DataFrame({"user": [f"{u}" for u in range(n_users)], "age": some(["young", "old"], n_users, 0.5)})
    return RawData(events.lazy(), items, users, {f"{i}": f"item {i}" for i in range(n)})


def toy_dataset(
    tmp_path: Path,
    seed: int = 0,
    n_users: int = 40,
    n_items: int = 30,
    events: pl.DataFrame | None = None,
    split: TemporalSplit = SPLIT,
    core: tuple[int, int] = (3, 3),
) -> SplitInteractions:
    """The toy through the real build. `events` replaces the random log; core: (min_item_users, min_user_items)."""
    raw = toy_raw(seed, n_users, n_items, events)
    source = ToySource(raw, {"events": raw.events.collect().rows(), "seed": seed})
    cache = ArrayCache(tmp_path / "cache")
    return build(source, split, cache, Cleaning(min_item_users=core[0], min_user_items=core[1], min_level_count=2))


def no_progress(iterable: Any, *, total: int | None = None, description: str = "") -> Iterator[Any]:
    return iter(iterable)


def fit_data(dataset: SplitInteractions, tmp_path: Path, seed: int = 0) -> FitData:
    return FitData(dataset, ArrayCache(tmp_path / "cache"), torch.Generator().manual_seed(seed), no_progress)


def toy_composed(
    dataset: SplitInteractions,
    normaliser: str = "sigmoid",
    user_encoder: bool = True,
    attention: str | None = "target",
    item_encoder: str = "bigan",
    linear: bool = True,
    repeat: bool = True,
    affinity: bool = False,
    neighbours: bool = False,
    ease: bool = False,
    combination: Literal["sum", "mixture", "probabilities"] = "sum",
    gain: float | None = None,
    flattening: float = 1.0,
    embedding_size: int = 8,
    seed: int = 0,
    noise: float = 0.3,
) -> Composed:
    """An unfitted composed model. `noise` on every parameter keeps the components of an untrained model from being
    silent."""
    encoders = {
        "bigan": partial(
            BiGAN, adversarial=Nonsaturating(), latent_size=4, hidden_size=8, batch_size=16, pretraining_steps=3
        ),
        "embedding": Embedding,
        "embedding_attributes": EmbeddingAttributes,
        "attributes": partial(Attributes, hidden_size=8),
    }
    attentions = {
        "target": partial(MultiHead, normaliser=normaliser),
        "multi_head": partial(MultiHead, n_heads=2, normaliser=normaliser),
        "mean": Mean,
        "additive": partial(Additive, n_heads=2, normaliser=normaliser),
        "dot_product": partial(DotProduct, n_heads=2, normaliser=normaliser),
        "temporal": partial(Temporal, n_heads=2, normaliser=normaliser),
        "self_attention": SelfAttention,
    }
    fixed = partial(Fixed, model=partial(EASE, regularization=5.0, history_decay=0.8), weight=2.0)
    components = {
        "prior": Prior,
        "linear": partial(Linear, regularization=5.0) if linear else None,
        "repeat": Repeat if repeat else None,
        "affinity": Affinity if affinity else None,
        "neighbours": partial(Neighbours, n_neighbours=5) if neighbours else None,
        "ease": fixed if ease else None,
        "attention": attentions[attention] if attention else None,
        "user_encoder": partial(VAE, hidden_size=8, dropout=0.2) if user_encoder else None,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Composed(
            catalogue=dataset.catalogue,
            embedding_size=embedding_size,
            item_encoder=encoders[item_encoder],
            components={name: component for name, component in components.items() if component is not None},
            combination=combination,
            gain=gain,
            flattening=flattening,
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(noise * torch.randn(parameter.shape))
    return model.eval()


def fitted_composed(dataset: SplitInteractions, tmp_path: Path, **options: Any) -> Composed:
    """`toy_composed` with what is closed form fitted; nothing is trained."""
    model = toy_composed(dataset, **options)
    model.fit(fit_data(dataset, tmp_path))
    return model


def histories(dataset: SplitInteractions, users: list[int] | None = None, part: str = "test") -> History:
    """Histories before the first period of `part` (None: all users)."""
    chosen = range(dataset.catalogue.n_users) if users is None else users
    return History.from_table(dataset.histories(dataset.period(part)[0]), list(chosen))


def toy_settings(**changes: Any) -> TrainingSettings:
    values = {"epochs": 2, "learning_rate": 0.02, "batch_size": 16, "windows": [5, 7], "horizon": 2, "n_negatives": 12}
    return TrainingSettings(**{**values, "monitor": MONITOR, "log_every": 1, **changes})


def constant_validation(model: Composed) -> dict[str, float]:
    """A metric that improves every time the weights change; cheap, deterministic."""
    return {MONITOR: float(sum(p.detach().abs().sum() for p in model.parameters()))}


def train(
    dataset: SplitInteractions,
    tmp_path: Path,
    seed: int = 0,
    model: Composed | None = None,
    weights: dict[str, float] | None = None,
    reconstruction: Any = None,
    score_terms: Any = None,
    validate: Callable[[Composed], dict[str, float]] | None = constant_validation,
    log: Callable[[dict[str, float]], None] = lambda row: None,
    **changes: Any,
) -> tuple[Composed, dict[str, float]]:
    """A short run with checkpoints in tmp_path / 'checkpoint', which it resumes from."""
    model = toy_composed(dataset, seed=seed, noise=0.0) if model is None else model
    data = fit_data(dataset, tmp_path, seed)
    settings = toy_settings(**changes)
    objective = Objective(weights or WEIGHTS, reconstruction or Bernoulli(), {"kl": WarmUp(steps=4)}, score_terms or {})
    summary = fit(model, data, settings, objective, tmp_path / "checkpoint", validate, log)
    return model, summary
