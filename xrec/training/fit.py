"""The training loop: plain PyTorch, one weighted sum of named terms, a checkpoint after every epoch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from xrec.errors import SettingError
from xrec.losses.reconstruction import ReconstructionLoss
from xrec.losses.score_term import ScoreTerm
from xrec.losses.weights import LossError, Totals, check_terms, wanted_terms
from xrec.models.adam import FusedAdam, Optimiser
from xrec.models.recommender import Context, FitData, Recommender
from xrec.models.update import Update
from xrec.training.checkpoint import load_checkpoint, save_checkpoint
from xrec.training.examples import (
    Batch,
    Step,
    Window,
    drawn_negatives,
    epoch_steps,
    make_batch,
    profiles,
    sequences,
    windows,
)
from xrec.training.schedules import Constant, Schedule
from xrec.training.shared_targets import Negatives, NegativeSampler
from xrec.types import Dataset

log_lines = logging.getLogger(__name__)

Log = Callable[[dict[str, float]], None]

#: nats: below it the mean of a user's KL says that the encoder has learned nothing
COLLAPSED_KL = 0.01
#: what is said of a part that has collapsed
COLLAPSES = {
    "posterior_collapsed": ": the mean KL is below .01 nats, so the user encoder says nothing; lower loss.weights.kl, "
    "or give it a longer warm-up",
}


@dataclass(frozen=True)
class TrainingSettings:
    """`conf/training`. batch_size: users of a step. n_negatives: None takes the whole catalogue. popularity_share: of
    the negatives of sequences, the others are uniform. learning_rate_scale multiplies the rate per parameter group,
    learning_rate_schedule over the steps."""

    epochs: int
    learning_rate: float
    batch_size: int
    windows: list[int] | None = None
    horizon: int | None = None
    examples: Literal["windows", "profile", "sequence"] = "windows"
    masked_share: float = 0.0
    hidden_only: bool = False
    n_negatives: int | None = 256
    popularity_share: float = 0.5
    max_pairs: int = 4_000_000
    learning_rate_schedule: Schedule = field(default_factory=Constant)
    learning_rate_scale: Mapping[str, float] = field(default_factory=dict)
    patience: int = 2
    monitor: str = "validation/ndcg_at_10/all"
    validation_users: int = 400
    log_every: int = 10
    max_loss: float = 1e6

    def make_examples(self, dataset: Dataset) -> list[Window]:
        """Raises: SettingError, when there is none, or a window reaches past the training."""
        if self.examples == "profile":
            return profiles(dataset, self.masked_share, self.hidden_only)
        if self.examples == "sequence":
            return sequences(dataset)
        assert self.windows is not None and self.horizon is not None, "settled before training"
        return windows(dataset, self.windows, self.horizon, self.hidden_only)

    def check(self, model: Recommender) -> None:
        """Raises: SettingError, when the model cannot be trained on such examples."""
        if self.examples == "profile":
            model.check_profiles()
        if self.examples == "sequence":
            model.check_sequences()


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
        """Raises: LossError, when a term has no weight, or a weight other than 0 no term; SettingError, when a term
        asks for the score of a component that the model does not have."""
        check_terms(("reconstruction", *self.score_terms, *model.term_names), self.weights)
        for name, term in self.score_terms.items():
            components: Sequence[str] = getattr(term, "components", ())
            try:
                if components:
                    model.only(*components)
            except (SettingError, TypeError) as error:
                raise SettingError(f"loss.terms.{name}.components: {error}") from error

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
    collapsed: list[str] = field(default_factory=list)


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
    examples = settings.make_examples(data.dataset)
    settings.check(model)
    _say_who_trains(settings, examples, data.dataset)
    objective.check(model)
    model.fit(data)
    optimisers = _optimisers(model, settings)
    stored = load_checkpoint(folder / "last", model, optimisers, data.generator)
    state = _State(**stored) if stored is not None else _State()
    while state.epoch < settings.epochs and not _exhausted(state, settings):
        started = time.perf_counter()
        terms = _epoch(model, examples, data, settings, objective, optimisers, state, log)
        model.eval()
        monitored = _monitored(model, terms)
        state.collapsed = sorted(name for name in monitored if name.endswith("collapsed") and monitored[name])
        metrics = {} if validate is None else _validated(validate(model), settings.monitor, state)
        state.epoch += 1
        state.seconds += time.perf_counter() - started
        # state.step is where the next epoch begins; what is measured belongs to the last step of this one.
        log({"step": state.step - 1, "epoch": state.epoch, "seconds": state.seconds, **monitored, **metrics})
        if validate is not None and metrics[settings.monitor] > state.best:
            state.best, state.best_epoch = metrics[settings.monitor], state.epoch
            save_checkpoint(folder / "best", model, {}, vars(state), data.generator)
        save_checkpoint(folder / "last", model, optimisers, vars(state), data.generator)
    reached: dict[str, float] = {"epochs": state.epoch, "steps": state.step, "collapsed": len(state.collapsed)}
    if validate is not None:
        load_checkpoint(folder / "best", model, {}, torch.Generator())
        reached |= {"best_epoch": state.best_epoch, settings.monitor: state.best}
    model.eval()
    return reached


def _validated(metrics: dict[str, float], monitor: str, state: _State) -> dict[str, float]:
    """The metrics. Raises: SettingError, when the monitored one is not among them, or is no number."""
    if monitor not in metrics:
        others = f"choose one of {', '.join(sorted(metrics))}" if metrics else "no validation user has a target"
        raise SettingError(f"training.monitor={monitor!r} is not measured; {others}")
    if math.isnan(metrics[monitor]):
        raise SettingError(f"training.monitor={monitor!r} is nan after epoch {state.epoch + 1}")
    return metrics


def _say_who_trains(settings: TrainingSettings, examples: list[Window], dataset: Dataset) -> None:
    """Windows that suit one split can leave most users of another out."""
    trained = len(np.unique(np.concatenate([window.users for window in examples])))
    table = dataset.histories(dataset.train_end + 1)
    could = int((table.lengths() > 1).sum())
    whole = {"profile": "whole profiles", "sequence": "sequences"}
    kind = whole.get(settings.examples, f"windows {[window.moment for window in examples]}")
    words = f"training on {kind}: {trained:,} of {could:,} users with two or more items in training are examples"
    if trained < 0.75 * could and settings.examples not in whole:
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
) -> dict[str, float]:
    """One epoch; the mean of what was logged of its terms."""
    model.train()
    catalogue, updates = data.dataset.catalogue, model.updates()
    steps = epoch_steps(
        examples, settings.batch_size, settings.max_pairs, settings.n_negatives, model.n_items, data.generator
    )
    warm = np.setdiff1d(np.arange(catalogue.n_items), catalogue.cold)
    draw = _negatives(examples, warm, settings, data)
    description = f"epoch {state.epoch + 1}/{settings.epochs}"
    sums: dict[str, float] = {}
    for number, step in enumerate(data.progress(steps, total=len(steps), description=description)):
        progress = (state.epoch + number / len(steps)) / settings.epochs
        _set_rates(optimisers, settings.learning_rate_schedule(state.step, progress))
        weights, logged = objective.scheduled(state.step, progress), {}
        for update in (u for u in updates if _due(u, state.step, objective.weights)):
            loss = update.loss(data.generator)
            logged[f"{update.name}_loss"] = float(loss.detach())
            _check(f"{update.name}_loss", logged[f"{update.name}_loss"], state.step, settings.max_loss)
            optimisers[update.name].zero_grad(set_to_none=True)
            loss.backward()
            optimisers[update.name].step()
        optimisers["main"].zero_grad(set_to_none=True)
        try:
            terms = _gradients(model, step, warm, draw(), objective, weights, data)
        except LossError as error:
            raise LossError(
                f"{error} at step {state.step} (epoch {state.epoch + 1}); last checkpoint is kept"
            ) from error
        for name, value in terms.items():
            _check(name, value, state.step, settings.max_loss)
            sums[name] = sums.get(name, 0.0) + value
        optimisers["main"].step()
        if state.step % settings.log_every == 0:
            log({"step": state.step, "epoch": state.epoch + 1, **terms, **logged})
        state.step += 1
    return {name: total / len(steps) for name, total in sums.items()}


def _negatives(
    examples: list[Window], warm: np.ndarray, settings: TrainingSettings, data: FitData
) -> Callable[[], np.ndarray | Negatives | None]:
    """What draws the negatives of a step."""
    if not examples[0].sequence:
        return lambda: drawn_negatives(warm, settings.n_negatives, data.generator)
    count = np.bincount(examples[0].table.item, minlength=data.dataset.catalogue.n_items).astype(np.float64)
    sampler = NegativeSampler(count, warm, settings.n_negatives or len(warm), settings.popularity_share)
    return lambda: sampler.draw(data.generator)


def _gradients(
    model: Recommender,
    step: Step,
    warm: np.ndarray,
    negatives: np.ndarray | Negatives | None,
    objective: Objective,
    weights: Mapping[str, float],
    data: FitData,
) -> dict[str, float]:
    """The gradient of a step's weighted loss, whose pieces add up, and what to log of the terms.

    What the pieces share (the item features) is computed once: their gradients with respect to it are added up first,
    and go back through it once.
    """
    totals, wanted = Totals(weights, step.n_users), wanted_terms(weights)
    shared = model.shared_tables(data.generator)
    leaves = {name: table.detach().requires_grad_(table.requires_grad) for name, table in shared.items()}
    for piece in step.pieces:
        batch = make_batch(piece, model.n_items, warm, negatives, data.generator, data.device)
        loss = totals.users(_user_terms(model, batch, leaves, objective, wanted, data.generator))
        if loss is not None:
            loss.backward()
    loss = totals.items(model.item_terms(data.generator, wanted))
    if loss is not None and loss.requires_grad:
        loss.backward()
    moved = [(shared[name], leaf.grad) for name, leaf in leaves.items() if leaf.grad is not None]
    if moved:
        torch.autograd.backward([table for table, _ in moved], [gradient for _, gradient in moved])
    return totals.logged()


def _user_terms(
    model: Recommender,
    batch: Batch,
    shared: Mapping[str, torch.Tensor],
    objective: Objective,
    wanted: set[str],
    generator: torch.Generator,
) -> dict[str, torch.Tensor]:
    """The unweighted terms of users [B] with a weight other than 0."""
    context = model.training_context(batch.history, batch.users, generator, shared, batch.profile)
    if batch.positions is not None:
        return _sequence_terms(model, context, batch, objective, wanted)
    whole = model.score(context, None, batch.targets)
    terms: dict[str, torch.Tensor] = {}
    if "reconstruction" in wanted:
        terms["reconstruction"] = objective.reconstruction(whole.squeeze(1), batch.labels, batch.log_weight)

    def score(presence: torch.Tensor | None, components: Sequence[str] | None = None) -> torch.Tensor:
        if presence is None and components is None:
            return whole
        view = model if components is None else model.only(*components)
        return view.score(context, presence, batch.targets)

    own = model.terms(context, wanted)  # before further scores leave theirs in the context
    for name in sorted(wanted & set(objective.score_terms)):
        term = objective.score_terms[name]
        terms[name] = term(score, batch.history.presence, batch.labels, batch.log_weight, generator)
    return terms | own


def _sequence_terms(
    model: Recommender, context: Context, batch: Batch, objective: Objective, wanted: set[str]
) -> dict[str, torch.Tensor]:
    """Reconstruction summed over a user's positions, and the model's own terms."""
    assert batch.positions is not None and batch.targets is not None
    if extra := sorted(wanted & set(objective.score_terms)):
        raise SettingError(
            f"loss.weights.{extra[0]}: a term of the score, not for training.examples=sequence; set it to 0"
        )
    terms: dict[str, torch.Tensor] = {}
    if "reconstruction" in wanted:
        scores = model.score_positions(context, batch.positions, batch.targets)
        losses = objective.reconstruction(scores, batch.labels, batch.log_weight)
        terms["reconstruction"] = losses.new_zeros(len(batch.users)).index_add(0, batch.positions.rows, losses)
    return terms | model.terms(context, wanted)


def _set_rates(optimisers: Mapping[str, Optimiser], factor: float) -> None:
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = group["initial"] * factor


def _due(update: Update, step: int, weights: Mapping[str, float]) -> bool:
    return step % update.every == 0 and (update.term is None or weights.get(update.term, 0.0) != 0)


def _monitored(model: Recommender, terms: Mapping[str, float]) -> dict[str, float]:
    """What tells a sound training from one that has collapsed; the latter is said aloud."""
    with torch.no_grad():
        found = model.monitors()
    if terms.get("loss/weighted/kl", 0.0) > 0:
        found["posterior_collapsed"] = float(terms["loss/raw/kl"] < COLLAPSED_KL)
    for name, value in found.items():
        if name.endswith("collapsed") and value:
            log_lines.warning(
                "training: %s%s", name.replace("_", " "), COLLAPSES.get(name, "; see monitor/ in metrics.jsonl")
            )
    return {f"monitor/{name}": value for name, value in found.items()}


def _check(name: str, value: float, step: int, limit: float) -> None:
    if not abs(value) <= limit:
        raise LossError(
            f"{name} is {value:.4g} at step {step}, beyond training.max_loss={limit:g}: "
            "lower training.learning_rate or that term's loss.weights entry"
        )
