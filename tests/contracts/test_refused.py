"""What a run refuses, in this process: by name, as early as it can be known, and without leaving a directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from xrec import pipeline
from xrec.config import capabilities
from xrec.errors import SettingError, UserError

Configured = Callable[..., DictConfig]

#: override -> what is said, before any data is read
AT_ONCE = {
    "device=cuda:99": "device=cuda:99: this machine",
    "explainer.random.n_draws=0": "explainer.random.n_draws must be from 1 to 10000, got 0",
    "explainer.permutation_shap.budget=0": "PermutationShap: budget must be 'auto' or from 1 to 1000000",
    "fidelity.removal.cutoffs=[100000000]": "fidelity.removal.cutoffs must be different ranks from 1 to 10000",
    "fidelity.eraser.shares=[2]": r"fidelity.eraser.shares must lie in \(0, 1\)",
    "split=temporal split.train_end=60": "split: needs train_end < validation_end < test_end, got 60",
    "ranking.groups=[all,cold]": "ranking.groups names cold, but split temporal has no cold items; use split=cold_item",
    "training.monitor=validation/ndcg_at_10/cold": "training.monitor names cold, but split temporal has no cold items",
    "schedule@loss.schedules.kl=warm_up loss.schedules.kl.steps=0": "warm_up: takes steps of at least 1",
    "data.ends.train=50": "split: needs train_end < validation_end < test_end, got 50, 47, 53",
}
#: override -> what is said once the data is known, before anything is fitted
BEFORE_THE_FIT = {
    "data.source.path=/nowhere": "completejourney: /nowhere lacks transactions.parquet",
    "model.embedding_size=1000000000": "^model needs at least .* of memory .*: lower model.embedding_size=1000000000, ",
    "model.embedding_size=0": "model.embedding_size must be at least 1, got 0",
    "model.components.user_encoder.hidden_size=0": "hidden_size must be at least 1, got 0",
    "model/item_encoder=bigan model.item_encoder.latent_size=-3": "latent_size must be at least 1, got -3",
    "model.components.user_encoder.dropout=1": r"dropout must be in \[0, 1\), got 1",
    "baselines.ease.regularization=-1": "regularization must be above 0, got -1",
    "training.windows=[42]": "the window at 42 with horizon 4 reaches period 45, past the last training period 43",
    "+loss.weights.kll=1": "loss.weights.kll has no term: the model produces .*did you mean 'kl'",
    "loss/terms=[content] model/user_encoder=none": "loss.terms.content.components: .*no component 'user_encoder'",
    "cases.min_players=1000": "cases.min_players=1000: no history of part test is that long, the longest has",
    "players=kind": r"no history of part test is that long, the longest has 1 player \(kind\)",  # there is one kind
}


@pytest.mark.parametrize("override", AT_ONCE)
def test_refused_before_any_data_is_read(
    override: str, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "build", lambda *_: pytest.fail("the data was read"))
    with pytest.raises(UserError, match=AT_ONCE[override]):
        pipeline.run(configured(*override.split()), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("override", BEFORE_THE_FIT)
def test_refused_before_anything_is_fitted(
    override: str, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipeline.WORK, "fit", lambda *_: pytest.fail("the fit began"))
    with pytest.raises(UserError, match=BEFORE_THE_FIT[override]):
        pipeline.run(configured(*override.split()), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stages", ["[fit,explain]", "[fit]"])
def test_what_the_model_really_is_decides(
    stages: str, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that says what it can do by the data it is given is asked again once that is there."""
    config = configured("~model/attention", "explainer=[random,attention]", f"stages={stages}", "baselines=[]")
    monkeypatch.setattr(capabilities, "stand_in", lambda: None)
    assert capabilities.check_requires(config) == []
    monkeypatch.setitem(pipeline.WORK, "fit", lambda *_: pytest.fail("the fit began"))
    says = "the fit began"
    if "explain" in stages:
        says = "explainer.attention needs attention, which model=composed does not have .* out: explainer=.random."
    with pytest.raises((UserError, pytest.fail.Exception), match=says):
        pipeline.run(config, tmp_path / "run")


def test_a_model_that_is_trained_is_no_baseline(configured: Configured, tmp_path: Path) -> None:
    config = configured()
    config.baselines = {"mine": {**config.model, "name": "sasrec"}}
    with pytest.raises(UserError, match="baselines.mine: the model sasrec is trained, and baselines are fitted only"):
        pipeline.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_options_of_stages_that_are_left_out_are_not_asked(configured: Configured, tmp_path: Path) -> None:
    pipeline.run(
        configured("stages=[fit]", "explainer.random.n_draws=0", "fidelity.eraser.shares=[2]"), tmp_path / "run"
    )
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_key_is_asked_for_before_any_data_is_read(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in os.environ if n.startswith("WANDB_") or n == "NETRC"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(pipeline, "build", lambda *_: pytest.fail("the data was read"))
    with pytest.raises(SettingError) as refused:
        pipeline.run(configured("tracking=wandb", "tracking.mode=online"), tmp_path / "run")
    for word in ("tracking.mode=online", "wandb login", "WANDB_API_KEY", "tracking.mode=offline", "tracking=none"):
        assert word in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_model_of_the_users_own_is_named_with_the_shape_it_gave(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xrec.models.baselines.ease import EASE

    score = EASE.score
    monkeypatch.setattr(EASE, "score", lambda *a, **k: score(*a, **k)[:, 0])
    with pytest.raises(SettingError, match=r"model EASE: score gave \(\d+, \d+\), expected a tensor \(\d+, 1, \d+\)"):
        pipeline.run(configured("model=ease", "baselines=[]", "stages=[fit,rank]"), tmp_path / "rank")
    with pytest.raises(SettingError, match=r"model EASE: score gave"):
        pipeline.run(configured("model=ease", "baselines=[]", "stages=[fit,explain]"), tmp_path / "explain")


def test_running_out_of_memory_in_a_stage_says_what_to_lower(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explain(*_: object) -> None:
        raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setitem(pipeline.WORK, "explain", explain)
    with pytest.raises(SettingError, match=r"^the stage explain runs out of memory \(Unable.*: lower cases.chunk_size"):
        pipeline.run(configured("model=ease", "baselines=[]", "stages=[fit,explain]"), tmp_path / "run")
