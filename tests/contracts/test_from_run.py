"""A run that takes the model of another: what comes from there cannot be asked for otherwise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from xrec import pipeline
from xrec.errors import RunError
from xrec.stages.inherit import inherit_settings

SOURCE = ("seed=7", "split=cold_item", "split.fold=1", "data.clean.min_item_users=4", "model/attention=mean")

REFUSED = {
    "seed=0": "seed is 7 there, not 0",
    "split=random": 'split._target_ is "xrec.data.split.cold_item.ColdItemSplit" there, not "xrec.data.split.random',
    "split.fold=2": "split.fold is 1 there, not 2",
    "split.base.train_end=42": "split.base.train_end is 43 there, not 42",
    "split@split.base=leave_last_out": 'split.base._target_ is "xrec.data.split.temporal.TemporalSplit" there, not',
    "data.clean.min_item_users=3": "data.clean.min_item_users is 4 there, not 3",
    "model/attention=target": 'model.components.attention._target_ is "xrec.models.attention.mean.Mean" there, not',
    "model/wide=[prior,linear]": 'model.components is ["prior", "linear", "repeat", "attention", "user_encoder"] there',
    "model=ease": "model.",
    "loss.weights.kl=0.9": "loss.weights.kl is",
    "++training.learning_rate_scale.wide=3": "training.learning_rate_scale.wide is",
    "cases.part=validation": 'cases.part is "test" there, not "validation"',
}


def asked(configured, overrides, stages="stages=[fidelity]"):
    saved = OmegaConf.create(OmegaConf.to_container(configured(*SOURCE), resolve=True))
    needed = ["split=cold_item"] if any(o.startswith(("split.", "split@")) for o in overrides) else []
    config = configured(stages, "from_run=runs/x", *needed, *overrides)
    return config, saved, overrides


@pytest.mark.parametrize("override", REFUSED)
def test_an_override_that_does_not_agree_is_refused_by_name(configured, override):
    message = (
        f"from_run=runs/x brings its own seed, data, split.*\n  {re.escape(override)} .{re.escape(REFUSED[override])}"
    )
    with pytest.raises(RunError, match=message):
        inherit_settings(*asked(configured, [override]))


def test_all_of_them_are_named_at_once(configured):
    with pytest.raises(RunError, match=r"  seed=1 \(.*\n  split=temporal \("):
        inherit_settings(*asked(configured, ["split=temporal", "seed=1", "threads=1"]))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["seed=7", "model/attention=mean", "threads=1", "explainer=[random]", "tracking=none"],
        ["split=cold_item", "split.fold=1"],  # split.min_item_users is that of the saved data.clean
        ["split.fold=1", "data.clean.min_item_users=4"],
    ],
    ids=len,
)
def test_what_agrees_is_taken(configured, overrides):
    config, saved, _ = asked(configured, overrides)
    taken = inherit_settings(config, saved, overrides)
    assert taken == ["seed", "data", "split", "model", "loss", "training", "cases", "masker", "players", "output"]
    resolved = OmegaConf.to_container(config, resolve=True)
    assert all(resolved.get(name) == saved.get(name) for name in taken)  # type: ignore[union-attr]


def test_settings_of_a_stage_that_runs_are_its_own(configured):
    overrides = ["cases.part=validation"]
    config, saved, _ = asked(configured, overrides, "stages=[explain,fidelity]")
    assert "cases" not in inherit_settings(config, saved, overrides)
    assert config.cases.part == "validation"


def test_a_whole_run_refuses_before_it_makes_a_directory(configured, tmp_path: Path) -> None:
    pipeline.run(configured("stages=[fit]"), tmp_path / "first")
    second = configured("stages=[rank]", "split=leave_last_out", f"from_run={tmp_path / 'first'}")
    with pytest.raises(RunError, match=r"\n  split=leave_last_out \(split._target_ is "):
        pipeline.run(second, tmp_path / "second", ["stages=[rank]", "split=leave_last_out"])
    assert not (tmp_path / "second").exists()
