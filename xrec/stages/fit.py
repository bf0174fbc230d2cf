"""Stage fit: build the model, train it if it is trainable, save it; or load a saved one."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from xrec.config.instantiate import instantiate
from xrec.files import write_json
from xrec.memory import within_memory
from xrec.models.recommender import Recommender
from xrec.plan import LOG
from xrec.ranking.evaluate import RankingSettings, evaluate
from xrec.stages.closed_form import RecordedTables
from xrec.stages.run import Done, Run, by_length, score_users
from xrec.training.checkpoint import CheckpointError, load_state, load_tensors, save_tensors, weights_digest
from xrec.training.fit import Objective, TrainingSettings, fit
from xrec.types import Metric

log_lines = logging.getLogger(__name__)

MODEL_FILES = ["model.safetensors", "model.json"]
FIT_METRICS = (
    Metric("epochs", "Epochs", None, ",.0f", "Epochs that were trained."),
    Metric("steps", "Steps", None, ",.0f", "Training steps."),
    Metric("best_epoch", "Best epoch", None, ",.0f", "The epoch whose weights were kept, by validation."),
    Metric(
        "collapsed",
        "Collapsed parts",
        "lower",
        ",.0f",
        "Parts of the model that have collapsed in the last epoch (a user encoder whose posterior says nothing, a "
        "discriminator that always wins, ...); which ones is in metrics.jsonl, `monitor/...collapsed`.",
    ),
)


def _learned(
    name: str, label: str, direction: Literal["higher", "lower"] | None, definition: str, form: str = ".3f"
) -> Metric:
    return Metric(name, label, direction, form, definition, family="learned")


#: what an adversarial item encoder learned (`AdversarialEncoder.learned`); those that it has
LEARNED = (
    _learned(
        "learned_accuracy",
        "Discriminator accuracy",
        None,
        "Share of real and generated samples that the discriminator tells right; .5 when it is fooled.",
    ),
    _learned(
        "learned_mmd",
        "MMD²",
        "lower",
        "Squared maximum mean discrepancy, unbiased, 0 when the two agree: of items and generated ones (GAN), encoded "
        "items and the prior (BiGAN, AAE), item factors and generated ones (conditional GAN).",
        ".4f",
    ),
    _learned(
        "learned_coverage",
        "Coverage",
        "higher",
        "Share of the levels of 1 % of the items or more that are generated within a factor of 2 of their share; of a "
        "conditional GAN: of the items that have a generated factor no further away than their fifth neighbour.",
    ),
    _learned(
        "learned_round_trip",
        "Round trip",
        "higher",
        "Share of an item's categories that come back after encoding and decoding.",
    ),
    _learned("learned_spread", "Spread", None, "Variance of generated item factors over that of the factors."),
    _learned(
        "learned_alignment",
        "Alignment",
        "higher",
        "Mean cosine between an item's factor and the mean of those that are generated from its attributes.",
    ),
    _learned(
        "probe_popularity",
        "Probe: popularity",
        "higher",
        "R² of a linear probe (ridge, five folds of items) of log(1 + users) on the item encoder's code of the "
        "attributes.",
    ),
    _learned(
        "probe_popularity_components",
        "Probe: popularity, PCA",
        None,
        "The same probe on as many principal components of the attributes.",
    ),
    _learned(
        "probe_factors",
        "Probe: item factors",
        "higher",
        "R² of a linear probe of 16 factors of PureSVD, which say who is bought with whom, on the same code.",
    ),
)


def build(run: Run, node: Any, path: str = "model", copies: int = 1) -> Recommender:
    """The model a config node describes, with fresh weights drawn from the run's seed.

    Args:
        path: of the node in the config. copies: how many times its weights must fit into the free memory.
    Raises:
        SettingError: they do not fit; or what the model refuses.
    """
    # torch's layers draw from the global generator: seed it, and put it back
    with torch.random.fork_rng(devices=[]), within_memory(path, node, copies):
        torch.manual_seed(run.seed)
        return instantiate(node, catalogue=run.dataset.catalogue).to(run.device)


def fit_model(run: Run, model: Recommender) -> Done:
    """Fit, and write model.safetensors and model.json."""
    monitored = Metric(str(run.config.get("training", {}).get("monitor")), "Best on validation", "higher", ".4f")
    rows = run.rows("fit", (*FIT_METRICS, monitored, *LEARNED))
    if model.capabilities.trainable:
        folder = run.store.path("checkpoint")
        run.store.trim_log(_epochs_done(folder))

        def log(row: dict[str, float]) -> None:
            run.store.log(row)
            run.tracker.log(row)

        reached = fit(
            model, run.fit_data(), training_settings(run.config), objective(run), folder, _validation(run), log
        )
        for name, value in reached.items():
            rows.add(name, value)
    else:
        model.fit(run.fit_data())
    model.eval()
    for name, value in model.learned(run.fit_data()).items():
        rows.add(name, value)
    save_tensors(run.store.path("model.safetensors"), model.state_dict())
    digest = weights_digest(model)
    write_json(run.store.path("model.json"), _description(run, digest, _closed_form(run, model)))
    run.store.environment(weights_sha256=digest)
    return Done([rows], [*MODEL_FILES, LOG])


def training_settings(config: DictConfig) -> TrainingSettings:
    """What `training` of a settled config says."""
    plain = OmegaConf.to_container(config.training)
    assert isinstance(plain, dict)
    schedule = instantiate(config.training.learning_rate_schedule)
    return TrainingSettings(**{**plain, "learning_rate_schedule": schedule})  # type: ignore[arg-type]


def objective(run: Run) -> Objective:
    """What is minimised, by `loss` of the config."""
    loss = run.config.loss
    return Objective(
        weights=dict(loss.weights),
        reconstruction=instantiate(loss.reconstruction),
        schedules={str(name): instantiate(node) for name, node in (loss.get("schedules") or {}).items()},
        score_terms={str(name): instantiate(node) for name, node in (loss.get("terms") or {}).items()},
    )


def load_model(run: Run) -> Recommender:
    """The model saved in the run's directory.

    Raises:
        CheckpointError: missing, damaged, of another model, or fitted on other data.
    """
    source = run.store.directory
    try:
        described = json.loads((source / "model.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{source} holds no fitted model ({error}): run its stage fit first") from error
    if described["data_fingerprint"] != run.dataset.fingerprint:
        raise CheckpointError(
            f"the model in {source} was fitted on other data or another split than this run's; use the same "
            "data and split settings"
        )
    if "closed_form" not in described:
        raise CheckpointError(f"{source}/model.json was written by an older version of xrec: fit anew")
    model = build(run, OmegaConf.create(described["model"]))
    model.attach(replace(run.fit_data(), cache=RecordedTables(run.cache, described["closed_form"])))
    load_state(model, load_tensors(source / "model.safetensors"), source / "model.safetensors")
    if weights_digest(model) != described["weights_sha256"]:
        raise CheckpointError(
            f"{source}/model.safetensors does not match the sha256 in model.json; it was changed after it was written"
        )
    model.eval()
    return model


def _closed_form(run: Run, model: Recommender) -> list[dict[str, Any]]:
    """Name, key and sha256 of the tables that the model takes from the cache when it is loaded."""
    record = RecordedTables(run.cache)
    model.attach(replace(run.fit_data(), cache=record))
    return record.tables


def _description(run: Run, digest: str, closed_form: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": OmegaConf.to_container(run.config.model, resolve=True),
        "data_fingerprint": run.dataset.fingerprint,
        "weights_sha256": digest,
        "closed_form": closed_form,
    }


def _epochs_done(folder: Path) -> int:
    for name in ("last", ".last.old"):
        if (folder / name / "state.json").is_file():
            return int(json.loads((folder / name / "state.json").read_text())["epoch"])
    return 0


def _validation(run: Run) -> Any:
    """A function measuring NDCG@10 of `all`, `new` and, where the split has cold items, `cold` on a fixed sample of
    validation users; None: there are none."""
    if "validation" not in run.dataset.parts:
        log_lines.info(
            "split %s has no validation part: training goes on for all of its %d epochs and keeps the last weights",
            run.dataset.card["split"]["name"], run.config.training.epochs,
        )  # fmt: skip
        return None
    first, last = run.dataset.period("validation")
    table, targets = run.dataset.histories(first), run.dataset.targets(first, last)
    users = np.flatnonzero(np.diff(targets.indptr) > 0)
    sample = np.sort(run.numpy_generator(2).permutation(users)[: run.config.training.validation_users])
    chunks = by_length(sample, table.lengths(), run.config.ranking.chunk_size)
    settings = RankingSettings(ndcg=(10,), recall=(10,), map=(10,), coverage=(10,))
    popularity, cold = run.popularity(), run.dataset.cold_items("validation")
    groups = ("all", "new") if cold is None else ("all", "new", "cold")

    def validate(model: Recommender) -> dict[str, float]:
        def score(chunk: np.ndarray) -> dict[str, torch.Tensor]:
            return {"model": score_users(model, table, chunk, run.device)}

        ranked = evaluate(score, chunks, table, targets, popularity, groups, settings, cold)["model"]
        return {f"validation/ndcg_at_10/{g}": float(r.values[("ndcg", 10)].mean()) for g, r in ranked.items()}

    return validate
