"""Every sensible product of user encoder, item encoder, attention, normaliser, likelihood and adversarial loss, from
the yamls, two by two: it trains, a masked item is one that is not there, and a saved state gives the same scores."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from tests.contracts.conftest import CONF
from tests.toys import fit_data, histories, toy_settings
from xrec.config.instantiate import instantiate
from xrec.errors import SettingError
from xrec.models.attention.normalisers.by_name import NORMALISERS
from xrec.models.composed import Composed
from xrec.training.fit import Objective, fit

USER, ITEM, ATTENTION = "model/user_encoder", "model/item_encoder", "model/attention"
LIKELIHOOD, ADVERSARIAL = "loss/reconstruction", "loss/adversarial"
#: small, whatever takes such a setting
SMALL = {"hidden_size": 8, "batch_size": 16, "pretraining_steps": 2, "n_pseudo_inputs": 5, "n_concepts": 3}
SMALL |= {"latent_size": 8, "noise_size": 4, "n_draws": 3}


def option(group: str, name: str) -> dict[str, Any]:
    """A yaml of conf/, nested where its package says."""
    text = (CONF / group / f"{name}.yaml").read_text()
    content = {k: v for k, v in (yaml.safe_load(text) or {}).items() if k != "defaults"}
    package = text.splitlines()[0].removeprefix("# @package ").strip()
    for part in reversed([] if package == "_global_" else package.split(".")):
        content = {part: content}
    return content


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem != "auto")


AXES: dict[str, list[str]] = {group: names(group) for group in (USER, ITEM, ATTENTION, LIKELIHOOD, ADVERSARIAL)}
AXES["normaliser"] = list(NORMALISERS)
Row = dict[str, str]


def covering(seed: int = 0) -> Iterator[Row]:
    """Rows in which all pairs of options of two axes meet; each pair that is missing starts a row, and the other axes
    take what meets most pairs for the first time."""
    draw = random.Random(seed)
    every = itertools.combinations(AXES, 2)
    missing = {frozenset(pair) for a, b in every for pair in itertools.product(*(_of(axis) for axis in (a, b)))}
    for pair in sorted(missing, key=sorted):
        if pair in missing:
            row = dict(sorted(pair))  # sets have an order of their own in every process
            for axis in draw.sample(sorted(set(AXES) - set(row)), len(AXES) - len(row)):
                gains = [sum(frozenset([(axis, o), p]) in missing for p in row.items()) for o in AXES[axis]]
                row[axis] = AXES[axis][max(range(len(gains)), key=lambda n: (gains[n], draw.random()))]
            missing -= {frozenset(p) for p in itertools.combinations(row.items(), 2)}
            yield {axis: row[axis] for axis in AXES}


def _of(axis: str) -> list[tuple[str, str]]:
    return [(axis, name) for name in AXES[axis]]


def composed(row: Row) -> DictConfig:
    base = {
        "model": {"_target_": "xrec.models.composed.Composed", "embedding_size": 8, "components": {}},
        "loss": {"weights": {"reconstruction": 1.0, "item_bias": 0.01}},
    }
    chosen = [option(group, row[group]) for group in (USER, ITEM, ATTENTION, LIKELIHOOD, ADVERSARIAL)]
    config = OmegaConf.create(OmegaConf.to_container(OmegaConf.merge(base, option("model/wide", "prior"), *chosen)))
    for node in (config.model.item_encoder, *config.model.components.values()):
        node.update({key: value for key, value in SMALL.items() if key in node})
        if "normaliser" in node:
            node.normaliser = row["normaliser"]
    if row[ADVERSARIAL] == "wgan_gp" and "spectral_norm" in config.model.item_encoder:
        config.model.item_encoder.spectral_norm = False
    for name in set(config.loss.weights) & {"adversarial", "item_reconstruction"}:
        config.loss.weights[name] = 0.1  # the game goes on in the ranker's steps
    assert isinstance(config, DictConfig)
    return config


def built(config: DictConfig, catalogue: Any) -> Composed:
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return instantiate(resolved["model"], catalogue=catalogue)


ROWS = list(covering())


def test_all_pairs_meet_in_few_rows() -> None:
    met = {frozenset(p) for row in ROWS for p in itertools.combinations(row.items(), 2)}
    sizes = [len(options) for options in AXES.values()]
    assert len(met) == sum(a * b for a, b in itertools.combinations(sizes, 2))
    largest, second = sorted(sizes)[:-3:-1]
    assert largest * second <= len(ROWS) < 1.5 * largest * second


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row.values()))
def test_what_is_composed_trains_and_masks_as_if_removed(row: Row, toy, tmp_path: Path) -> None:
    config = composed(row)
    model, data = built(config, toy.catalogue), fit_data(toy, tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    objective = Objective(dict(config.loss.weights), instantiate(config.loss.reconstruction))
    steps: list[dict[str, float]] = []
    settings = toy_settings(epochs=1, batch_size=40, windows=[5, 7])
    fit(model, data, settings, objective, tmp_path / "checkpoint", None, steps.append)
    assert len([s for s in steps if "loss/raw/reconstruction" in s]) == 2
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())

    history = histories(toy, [3])
    with torch.no_grad():
        keep = torch.ones(history.item.shape[1])
        keep[::3] = 0
        masked = model.score(model.prepare(history), keep[None, None])
        removed = model.score(model.prepare(history.without(keep)))
        nothing = model.score(model.prepare(history), 0 * keep[None, None])
    torch.testing.assert_close(masked, removed, rtol=1e-4, atol=1e-5)
    assert masked.isfinite().all() and nothing.isfinite().all()

    again = built(config, toy.catalogue)
    again.load_state_dict(model.state_dict())
    again.attach(data)
    with torch.no_grad():
        scores = [m.eval().score(m.prepare(history)) for m in (model, again)]
    torch.testing.assert_close(*scores, rtol=0, atol=0)


@pytest.mark.parametrize(("user", "attention"), [*itertools.product(AXES[USER], AXES[ATTENTION])])
def test_what_scores_no_positions_is_not_trained_on_sequences(user: str, attention: str, toy) -> None:
    row = ROWS[0] | {USER: user, ATTENTION: attention}
    config = composed(row)
    del config.model.components.prior
    parts = {**config.model.components}
    if not parts:
        with pytest.raises(SettingError, match="model.components is empty"):
            built(config, toy.catalogue)
        return
    model = built(config, toy.catalogue)
    unable = [name for name in parts if not model.component(name).positions]
    if unable:
        with pytest.raises(SettingError, match=f"model.components.{unable[0]} does not score positions"):
            model.check_sequences()
    else:
        model.check_sequences()
