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
from torch import nn

from xrec.errors import SettingError
from xrec.losses.reconstruction import ReconstructionLoss
from xrec.losses.score_term import ScoreTerm
from xrec.losses.weights import LossError, check_terms, wanted_terms, weighted_sum
from xrec.models.recommender import FitData, Recommender
from xrec.models.update import Update
from xrec.training.adam import FusedAdam, Optimiser
from xrec.training.checkpoint import load_checkpoint, save_checkpoint
from xrec.training.examples import Batch, Window, epoch_batches, make_batch, windows
from xrec.training.schedules import Constant, Schedule
from xrec.types import Dataset

log_lines = logging.getLogger(__name__)

Log = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class TrainingSettings:
    """`conf/training`. learning_rate_scale multiplies the rate per parameter group, learning_rate_schedule over the
    steps."""

    epochs: int
    learning_rate: float
    batch_size: int
    windows: list[int]
    horizon: int
    n_negatives: int = 256
    max_pairs: int = 4_000_000
    learning_rate_schedule: Schedule = field(default_factory=Constant)
    learning_rate_scale: Mapping[str, float] = field(default_factory=dict)
    patience: int = 2
    monitor: str = "validation/ndcg_at_10/all"
    validation_users: int = 400
    log_every: int = 10
    max_loss: float = 1e6


@dataclass(frozen=True)
class Objective:
    """What is minimised: the sum of named terms times their weights times their schedules.

    The terms are 'reconstruction', those of `score_terms`, and the model's own (`Recommender.term_names`).
    """

    weights: Mapping[str, float]
    reconstruction: ReconstructionLoss
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    score_terms: Mapping[str, ScoreTerm] = field(default_factory=dict)

    def check(self, model: Recommender) -> None:
        """Raises: LossError, when a term has no weight, or a weight other than 0 no term."""
        check_terms(("reconstruction", *self.score_terms, *model.term_names), self.weights)

    def scheduled(self, step: int, progress: float) -> dict[str, float]:
        """The weights of a step."""
        return {
            name: weight * self.schedules[name](step, progress) if name in self.schedules else weight
            for name, weight in self.weights.items()
        }


@dataclass
class _State:
    """What a resumed run must know; JSON-able."""

    epoch: int = 0
    step: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    seconds: float = 0.0


def fit(
    model: Recommender,
    data: FitData,
    settings: TrainingSettings,
    objective: Objective,
    folder: Path,
    validate: Callable[[Recommender], dict[str, float]] | None,
    log: Log,
) -> dict[str, float]:
    """Train `model` in place and leave it with the weights of its best epoch by `settings.monitor`; without `validate`
    with those of its last.

    Resumes from `folder/last` when it is there: same batches, same noise, same final weights as an undisturbed run.
    Raises:
        LossError: a term is NaN, infinite or above `max_loss`, naming term and step; or terms and weights do not match.
        SettingError: the monitored metric is not among the validation metrics.
    """
    examples = windows(data.dataset, settings.windows, settings.horizon)
    _say_who_trains(examples, data.dataset)
    objective.check(model)
    model.fit(data)
    optimisers = _optimisers(model, settings)
    stored = load_checkpoint(folder / "last", model, optimisers, data.generator)
    state = _State(**stored) if stored is not None else _State()
    while state.epoch < settings.epochs and not _exhausted(state, settings):
        started = time.perf_counter()
        _epoch(model, examples, data, settings, objective, optimisers, state, log)
        model.eval()
        metrics = {} if validate is None else _validated(validate(model), settings.monitor, state)
        state.epoch += 1
        state.seconds += time.perf_counter() - started
        # state.step is where the next epoch begins; what is measured belongs to the last step of this one.
        log({"step": state.step - 1, "epoch": state.epoch, "seconds": state.seconds, **metrics})
        if validate is not None and metrics[settings.monitor] > state.best:
            state.best, state.best_epoch = metrics[settings.monitor], state.epoch
            save_checkpoint(folder / "best", model, {}, vars(state), data.generator)
        save_checkpoint(folder / "last", model, optimisers, vars(state), data.generator)
    reached: dict[str, float] = {"epochs": state.epoch, "steps": state.step}
    if validate is not None:
        load_checkpoint(folder / "best", model, {}, torch.Generator())
        reached |= {"best_epoch": state.best_epoch, settings.monitor: state.best}
    model.eval()
    return reached


def _validated(metrics: dict[str, float], monitor: str, state: _State) -> dict[str, float]:
    """The metrics. Raises: SettingError, when the monitored one is not among them, or is no number."""
    if monitor not in metrics:
        raise SettingError(f"training.monitor={monitor!r} is not measured; choose one of {', '.join(sorted(metrics))}")
    if math.isnan(metrics[monitor]):
        raise SettingError(f"training.monitor={monitor!r} is nan after epoch {state.epoch + 1}")
    return metrics


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


def _optimisers(model: Recommender, settings: TrainingSettings) -> dict[str, Optimiser]:
    """'main' for the weighted sum of terms, and one for each of the model's updates, by name."""
    groups = model.parameter_groups()
    unknown = sorted(set(settings.learning_rate_scale) - set(groups))
    if unknown:
        raise SettingError(
            f"training.learning_rate_scale: no parameter group {unknown}; groups are {', '.join(groups)}"
        )
    scaled = [(p, settings.learning_rate * settings.learning_rate_scale.get(n, 1.0)) for n, p in groups.items() if p]
    optimisers: dict[str, Optimiser] = {"main": _adam(scaled)}
    for update in model.updates():
        if update.name in optimisers:
            raise SettingError(f"update {update.name!r} of the model: the name is taken; give it another")
        rate, parameters = settings.learning_rate * update.learning_rate_scale, list(update.parameters)
        chosen = _adam([(parameters, rate)]) if update.optimiser is None else update.optimiser(parameters, rate)
        optimisers[update.name] = chosen
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["initial"] = group["lr"]
    return optimisers


def _adam(groups: list[tuple[list[nn.Parameter], float]]) -> Optimiser:
    if all(p.device.type in ("cpu", "cuda") for parameters, _ in groups for p in parameters):
        return FusedAdam(groups)
    return torch.optim.Adam([{"params": p, "lr": rate} for p, rate in groups])


def _epoch(
    model: Recommender,
    examples: list[Window],
    data: FitData,
    settings: TrainingSettings,
    objective: Objective,
    optimisers: Mapping[str, Optimiser],
    state: _State,
    log: Log,
) -> None:
    model.train()
    batches = epoch_batches(examples, settings.batch_size, settings.max_pairs, settings.n_negatives, data.generator)
    catalogue, updates = data.dataset.catalogue, model.updates()
    warm = np.setdiff1d(np.arange(catalogue.n_items), catalogue.cold)
    description = f"epoch {state.epoch + 1}/{settings.epochs}"
    for number, (window, users) in enumerate(data.progress(batches, total=len(batches), description=description)):
        progress = (state.epoch + number / len(batches)) / settings.epochs
        _set_rates(optimisers, settings.learning_rate_schedule(state.step, progress))
        batch = make_batch(
            window, users, model.n_items, warm, settings.n_negatives, settings.batch_size, data.generator, data.device
        )
        weights, logged = objective.scheduled(state.step, progress), {}
        for update in (u for u in updates if _due(u, state.step, objective.weights)):
            loss = update.loss(data.generator)
            logged[f"{update.name}_loss"] = float(loss.detach())
            _check(f"{update.name}_loss", logged[f"{update.name}_loss"], state.step, settings.max_loss)
            _minimise(loss, optimisers[update.name])
        try:
            total, terms = weighted_sum(_terms(model, batch, objective, weights, data.generator), weights)
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


def _set_rates(optimisers: Mapping[str, Optimiser], factor: float) -> None:
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = group["initial"] * factor


def _due(update: Update, step: int, weights: Mapping[str, float]) -> bool:
    return step % update.every == 0 and (update.term is None or weights.get(update.term, 0.0) != 0)


def _terms(
    model: Recommender,
    batch: Batch,
    objective: Objective,
    weights: Mapping[str, float],
    generator: torch.Generator,
) -> dict[str, torch.Tensor]:
    """The unweighted terms with a weight other than 0; 'reconstruction' is averaged over a full batch of users."""
    wanted = wanted_terms(weights)
    context = model.training_context(batch.history, batch.users, generator)
    whole = model.score(context, None, batch.targets)
    terms: dict[str, torch.Tensor] = {}
    if "reconstruction" in wanted:
        per_user = objective.reconstruction(whole.squeeze(1), batch.labels, batch.log_weight)
        terms["reconstruction"] = per_user.sum() / batch.full_size

    def score(presence: torch.Tensor | None) -> torch.Tensor:
        return whole if presence is None else model.score(context, presence, batch.targets)

    for name in sorted(wanted & set(objective.score_terms)):
        term = objective.score_terms[name]
        terms[name] = term(score, batch.history.presence, batch.labels, batch.log_weight, generator)
    return terms | model.terms(context, wanted)


def _minimise(loss: torch.Tensor, optimiser: Optimiser) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _check(name: str, value: float, step: int, limit: float) -> None:
    if not abs(value) <= limit:
        raise LossError(
            f"{name} is {value:.4g} at step {step}, beyond training.max_loss={limit:g}: "
            "lower training.learning_rate or that term's loss.weights entry"
        )
