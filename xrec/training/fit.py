"""The training loop: plain PyTorch, one weighted sum of named terms, a checkpoint after every epoch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from xrec.errors import SettingError
from xrec.losses.weights import LossError, weighted_sum
from xrec.models.composed import Composed
from xrec.models.recommender import FitData
from xrec.training.checkpoint import load_checkpoint, save_checkpoint
from xrec.training.examples import Window, epoch_batches, make_batch, windows
from xrec.types import Dataset

log_lines = logging.getLogger(__name__)

Log = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class TrainingSettings:
    """`conf/training`. learning_rate_scale multiplies the rate per parameter group; `decay` multiplies it every
    epoch."""

    epochs: int
    learning_rate: float
    batch_size: int
    windows: list[int]
    horizon: int
    n_negatives: int = 256
    max_pairs: int = 4_000_000
    decay: float = 1.0
    learning_rate_scale: Mapping[str, float] = field(default_factory=dict)
    patience: int = 2
    monitor: str = "validation/ndcg_at_10/all"
    validation_users: int = 400
    log_every: int = 10
    max_loss: float = 1e6


@dataclass
class _State:
    """What a resumed run must know; JSON-able."""

    epoch: int = 0
    step: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    seconds: float = 0.0


def fit(
    model: Composed,
    data: FitData,
    settings: TrainingSettings,
    weights: Mapping[str, float],
    anneal: Mapping[str, int],
    folder: Path,
    validate: Callable[[Composed], dict[str, float]],
    log: Log,
) -> dict[str, float]:
    """Train `model` in place and leave it with the weights of its best epoch by `settings.monitor`.

    Resumes from `folder/last` when it is there: same batches, same noise, same final weights as an undisturbed run.
    anneal: term -> number of steps over which its weight grows from 0.

    Raises:
        LossError: a term is NaN, infinite or above `max_loss`, naming term and step; or terms and weights do not match.
        SettingError: the monitored metric is not among the validation metrics.
    """
    examples = windows(data.dataset, settings.windows, settings.horizon)
    _say_who_trains(examples, data.dataset)
    model.fit(data)
    optimisers = _optimisers(model, settings)
    stored = load_checkpoint(folder / "last", model, optimisers, data.generator)
    state = _State(**stored) if stored is not None else _State()
    while state.epoch < settings.epochs and not _exhausted(state, settings):
        started = time.perf_counter()
        _epoch(model, examples, data, settings, weights, anneal, optimisers, state, log)
        model.eval()
        metrics = validate(model)
        if settings.monitor not in metrics:
            raise SettingError(
                f"training.monitor={settings.monitor!r} is not measured; choose one of {', '.join(sorted(metrics))}"
            )
        if math.isnan(metrics[settings.monitor]):
            raise SettingError(f"training.monitor={settings.monitor!r} is nan after epoch {state.epoch + 1}")
        state.epoch += 1
        state.seconds += time.perf_counter() - started
        # state.step is where the next epoch begins; what is measured belongs to the last step of this one.
        log({"step": state.step - 1, "epoch": state.epoch, "seconds": state.seconds, **metrics})
        if metrics[settings.monitor] > state.best:
            state.best, state.best_epoch = metrics[settings.monitor], state.epoch
            save_checkpoint(folder / "best", model, {}, vars(state), data.generator)
        save_checkpoint(folder / "last", model, optimisers, vars(state), data.generator)
    load_checkpoint(folder / "best", model, {}, torch.Generator())
    model.eval()
    return {"epochs": state.epoch, "steps": state.step, "best_epoch": state.best_epoch, settings.monitor: state.best}


def _say_who_trains(examples: list[Window], dataset: Dataset) -> None:
    """Windows that suit one split can leave most users of another out."""
    trained = len(np.unique(np.concatenate([window.users for window in examples])))
    table = dataset.histories(dataset.train_end + 1)
    could = int((table.lengths() > 1).sum())
    words = (
        f"training.windows {[window.moment for window in examples]}: {trained:,} of {could:,} users with two or more "
    )
    words += "items in training are examples"
    if trained < 0.75 * could:
        words += "; where periods count a user's own events, training=next_item reaches more"
    log_lines.info(words)


def _exhausted(state: _State, settings: TrainingSettings) -> bool:
    return state.best_epoch >= 0 and state.epoch - state.best_epoch >= settings.patience


def _optimisers(model: Composed, settings: TrainingSettings) -> dict[str, torch.optim.Optimizer]:
    """One for the weighted sum of terms, one for the discriminator's alternating step (if there is one)."""
    groups = model.parameter_groups()
    unknown = sorted(set(settings.learning_rate_scale) - set(groups))
    if unknown:
        raise SettingError(
            f"training.learning_rate_scale: no parameter group {unknown}; groups are {', '.join(groups)}"
        )

    def adam(names: list[str]) -> torch.optim.Optimizer:
        rates = {n: settings.learning_rate * settings.learning_rate_scale.get(n, 1.0) for n in names}
        chosen = [{"params": groups[n], "lr": rates[n], "initial": rates[n]} for n in names if groups[n]]
        return torch.optim.Adam(chosen, fused=all(p.device.type in ("cpu", "cuda") for n in names for p in groups[n]))

    optimisers = {"main": adam(["wide", "neural"])}
    if groups["discriminator"]:
        optimisers["discriminator"] = adam(["discriminator"])
    return optimisers


def _epoch(
    model: Composed,
    examples: list[Window],
    data: FitData,
    settings: TrainingSettings,
    weights: Mapping[str, float],
    anneal: Mapping[str, int],
    optimisers: Mapping[str, torch.optim.Optimizer],
    state: _State,
    log: Log,
) -> None:
    model.train()
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = group["initial"] * settings.decay**state.epoch
    batches = epoch_batches(examples, settings.batch_size, settings.max_pairs, settings.n_negatives, data.generator)
    catalogue = data.dataset.catalogue
    warm = np.setdiff1d(np.arange(catalogue.n_items), catalogue.cold)
    description = f"epoch {state.epoch + 1}/{settings.epochs}"
    for window, users in data.progress(batches, total=len(batches), description=description):
        batch = make_batch(
            window, users, model.n_items, warm, settings.n_negatives, settings.batch_size, data.generator, data.device
        )
        logged: dict[str, float] = {}
        if "discriminator" in optimisers and weights.get("adversarial", 0) != 0:
            loss = model.discriminator_step(data.generator)
            assert loss is not None
            _check("discriminator_loss", float(loss.detach()), state.step, settings.max_loss)
            _minimise(loss, optimisers["discriminator"])
            logged["discriminator_loss"] = float(loss.detach())
        annealed = {k: w * min(1.0, (state.step + 1) / anneal[k]) if anneal.get(k) else w for k, w in weights.items()}
        try:
            total, terms = weighted_sum(model.training_step(batch, annealed, data.generator), annealed)
        except LossError as error:
            raise LossError(
                f"{error} at step {state.step} (epoch {state.epoch + 1}); last checkpoint is kept"
            ) from error
        for name, value in terms.items():
            _check(name, value, state.step, settings.max_loss)
        _minimise(total, optimisers["main"])
        if state.step % settings.log_every == 0:
            log({"step": state.step, "epoch": state.epoch + 1, **terms, **logged})
        state.step += 1


def _minimise(loss: torch.Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _check(name: str, value: float, step: int, limit: float) -> None:
    if not abs(value) <= limit:
        raise LossError(
            f"{name} is {value:.4g} at step {step}, beyond training.max_loss={limit:g}: "
            "lower training.learning_rate or that term's loss.weights entry"
        )
