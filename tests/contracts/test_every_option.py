"""Every yaml under conf/ composes, trains, saves, loads, explains and is measured, the moment it exists."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
import yaml

from tests.contracts.conftest import CONF
from xrec import pipeline
from xrec.config.validate import validate_job
from xrec.rundir.saved import SavedRun


def adversarial(item_encoder: str, loss: str) -> tuple[str, ...]:
    """A short game, which goes on in the ranker's steps."""
    chosen = (f"model/item_encoder={item_encoder}", f"loss/adversarial={loss}", "loss.weights.adversarial=0.01")
    return (*chosen, "model.item_encoder.pretraining_steps=20")


#: What a whole run is made of: options that can work together, most of them beside others than the defaults. An option
#: that none of these names has a run of its own.
SCORES = "explainer=[random,popularity,leave_one_out,permutation_shap]"
APART = {"rollout", "exact_shapley"}  # want stacked attention, and few players
EVERY = ",".join(sorted({path.stem for path in (CONF / "explainer").glob("*.yaml")} - APART))
FITTED = (
    "boosted_trees,content_knn,ease,ials,item_knn,lightgcn,personal_frequency,popularity,repeat_classifier,tifu_knn"
)
RUNS = (
    ("model=composed", "model/wide=[auto]", "cases.part=validation", "fidelity=[removal]", f"explainer=[{EVERY}]"),
    ("model/attention=mean", "model/wide=[affinity]", "model/item_encoder=attributes", "masker=popularity",
     "split=random", "fidelity=[removal]", "loss/terms=[content]", "baselines=[external]",
     "baselines.external.scores=tests.ease_by_hand.popular", "explainer=[random,leave_one_out,attention,additive]"),
    ("model/attention=multi_head", "model/wide=[linear]", "model/item_encoder=bigan", "loss/adversarial=nonsaturating",
     "model/user_encoder=h_vamp", "loss/reconstruction=bpr",
     "model.item_encoder.pretraining_steps=20", "output=margin", "players=field", "split=cold_item", "fidelity=[score]",
     "explainer=[random,leave_one_out,attention,additive,attention_gradient,cosine,jaccard,exact_shapley]"),
    ("model/attention=none", "model/wide=[linear,neighbours]", "model/item_encoder=embedding",
     "model/user_encoder=recvae", "loss/reconstruction=bernoulli", "output=list",
     "split=leave_last_out", "fidelity=[eraser]",
     "explainer=[random,leave_one_out,additive]"),
    ("model/attention=self_attention", "model/wide=[prior]", "model/item_encoder=embedding_attributes",
     "model/user_encoder=macrid_vae", "loss/reconstruction=sampled_softmax",
     "masker=sampled_user", "players=period", "split=user_holdout", "fidelity=[axiomatic]",
     "explainer=[random,leave_one_out,attention,attention_norm,attention_gradient,rollout,smooth_grad,spinrec]"),
    ("model/user_encoder=none", "model/wide=[repeat]", "training=next_item", *adversarial("aae", "lsgan"),
     "model/attention=temporal", "model.components.attention.normaliser=entmax15",
     "output=log_probability",
     "explainer=[random,leave_one_out,attention,attention_gradient,integrated_gradients,lime_rs]"),
    ("training=profile", "model/wide=[prior,linear]", "schedule@loss.schedules.kl=cyclic",
     "schedule@training.learning_rate_schedule=cosine", "tracking=wandb", "split=temporal", "explainer=[additive]",
     f"baselines=[{FITTED}]", "baselines.boosted_trees.n_trees=5", "baselines.lightgcn.epochs=1",
     *adversarial("gan", "hinge")),
    ("training=sequence", "split=leave_last_out", "split.repeats=drop", "model/wide=[]", "model/user_encoder=gru",
     "model/attention=self_attention", "explainer=[random,leave_one_out,attention]",
     *adversarial("conditional_gan", "wgan_gp"), "model.item_encoder.spectral_norm=false"),
    ("model.combination=mixture", "model/wide=[prior,repeat]",
     "model/attention=dot_product", "model.components.attention.normaliser=sparsemax",
     *adversarial("bigan", "minimax"), "model/user_encoder=dae",
     "explainer=[random,leave_one_out,attention,integrated_gradients]"),
    ("model.combination=probabilities", "model/wide=[prior,ease]", *adversarial("bigan", "article_gan"),
     "explainer=[random,leave_one_out,attention,integrated_gradients]"),
    ("model.combination=product", "model/attention=additive", "model/wide=[linear,repeat]", "model/item_encoder=svd",
     "model/user_encoder=article_vae", "loss/reconstruction=gaussian",
     "explainer=[random,leave_one_out,attention,integrated_gradients]"),
    # one measure each; test_pairwise.py takes composed, ease, personal_frequency, popularity and external through all
    ("model=external", "model.scores=tests.ease_by_hand.popular", SCORES, "fidelity=[removal]"),
    ("model=tifu_knn", SCORES, "fidelity=[removal]"),
    ("model=ials", "explainer=[random,leave_one_out,integrated_gradients,permutation_shap]", "fidelity=[removal]"),
    ("model=boosted_trees", "model.n_trees=5", "explainer=[random,integrated_gradients]", "fidelity=[score]"),
    ("model=lightgcn", "model.epochs=1", "explainer=[random,integrated_gradients]", "fidelity=[score]"),
    ("model=content_knn", "fidelity=[score]"),
    ("model=ease", "fidelity=[eraser]"),
    ("model=item_knn", "fidelity=[removal]"),
    ("model=personal_frequency", "fidelity=[axiomatic]"),
    ("model=popularity", "fidelity=[removal]"),
    ("model=repeat_classifier", "fidelity=[removal]"),
)  # fmt: skip
BEFORE_THE_REPORT = "stages=[fit,rank,explain,fidelity]"
NEEDS_SWEEP = ("sweep", "experiment", "hydra")


def read_results(run: Path) -> pl.DataFrame:
    return SavedRun(run).results.frame


def chosen_anyway() -> set[str]:
    """Overrides that change nothing, since the defaults choose the same: `model=composed` stands for all of them."""
    found = {"tracking=none"}  # of the small runs
    for name in ("config.yaml", "model/composed.yaml"):
        for entry in yaml.safe_load((CONF / name).read_text())["defaults"]:
            if isinstance(entry, dict):
                found |= {f"{group.strip('/')}={choice}" for group, choice in entry.items()}
    return found - {"model=composed", "tracking=wandb"}


def options() -> list[str]:
    found = []
    for path in sorted(CONF.rglob("*.yaml")):
        group, name = str(path.parent.relative_to(CONF)), path.stem
        if group in (".", "data", "schedule") or group.split("/")[0] in NEEDS_SWEEP:
            continue
        if (group, name) == ("players", "kind"):
            continue  # of one kind of events, as here, nobody has two players: tests/contracts/test_refused.py
        if (group, name) == ("split", "given"):
            continue  # of a log that comes split, which this is not: tests/contracts/test_given.py
        multiple = group in ("baselines", "explainer", "fidelity", "model/wide", "loss/terms")
        found.append(f"{group}=[{name}]" if multiple else f"{group}={name}")
    return [override for override in found if override not in chosen_anyway()]


def chosen(run: tuple[str, ...]) -> set[str]:
    """`group=option` of every option that a run names, lists taken apart."""
    named = [override.split("=", 1) for override in run]
    return {f"{key}={option}" for key, options in named for option in options.strip("[]").split(",")}


def reports(run: tuple[str, ...]) -> bool:
    """Whether it is worth a report, half of a small run: a model with a learning curve and components has one, and the
    rest of what is reported has no model in it."""
    return not run[0].startswith("model=") or run[0] in ("model=composed", "model=ease")


ALONE = [(o,) for o in options() if not chosen((o,)) <= set().union(*map(chosen, RUNS))]


@pytest.mark.parametrize("overrides", [*RUNS, *ALONE], ids=" ".join)
def test_options_run_from_fit_to_report(overrides, configured, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XREC_ALLOWED_TARGETS", "tests.ease_by_hand")
    config = configured(*overrides, *(() if reports(overrides) else (BEFORE_THE_REPORT,)))
    validate_job(config)
    reached = pipeline.run(config, tmp_path / "run")
    results = read_results(tmp_path / "run")
    assert {"rank", "fidelity", "cost"} <= set(results["stage"].unique())
    measured = results.filter(pl.col("stage") == "fidelity")["explainer"].drop_nulls().unique().to_list()
    assert set(config.explainer) <= set(measured)
    if reports(overrides):
        assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert any(name.endswith("ndcg_at_10_new") for name in reached)
    assert results["value"].is_finite().all()
    for column, setting in (("fold", "fold"), ("split_seed", "seed")):  # null where the split has none
        assert results[column].unique().to_list() == [config.split.get(setting)]


@pytest.mark.parametrize(
    "override",
    [
        "model=composed",
        "model=ease",
        *(
            pytest.param(override, marks=pytest.mark.slow)
            for override in ("model=ials", "model=repeat_classifier", "model/user_encoder=none")
        ),
    ],
)
def test_saved_model_loads_to_the_same_scores(override, configured, tmp_path: Path) -> None:
    explainers = "explainer=[random,leave_one_out]"
    config = configured(override, explainers, "stages=[fit,rank,explain,fidelity]")
    pipeline.run(config, tmp_path / "first")
    again = configured(explainers, "stages=[rank,explain,fidelity]", f"from_run={tmp_path / 'first'}")
    pipeline.run(again, tmp_path / "second")
    stages = pl.col("stage").is_in(["rank", "fidelity"])
    one, two = (read_results(tmp_path / n).filter(stages) for n in ("first", "second"))
    assert one.equals(two)
    assert torch.are_deterministic_algorithms_enabled()


def test_fidelity_stage_takes_attributions_from_a_saved_run(configured, tmp_path: Path) -> None:
    explainers = "explainer=[random,leave_one_out]"
    pipeline.run(configured(explainers, "stages=[fit,explain,fidelity]"), tmp_path / "first")
    again = configured(explainers, "stages=[fidelity]", f"from_run={tmp_path / 'first'}")
    pipeline.run(again, tmp_path / "second")
    one, two = (read_results(tmp_path / n).filter(pl.col("stage") == "fidelity") for n in ("first", "second"))
    assert one.height > 0
    assert one.equals(two)


def test_a_run_that_takes_over_from_another_is_whole_and_says_whose_numbers_they_are(
    configured, tmp_path: Path
) -> None:
    explainers = "explainer=[random,leave_one_out]"
    pipeline.run(configured(explainers, "seed=7", "stages=[fit,rank,explain]"), tmp_path / "first")
    second = configured(explainers, "stages=[fidelity]", "cases.part=validation", f"from_run={tmp_path / 'first'}")
    pipeline.run(second, tmp_path / "second")
    rows = read_results(tmp_path / "second")
    assert rows["seed"].unique().to_list() == [7]
    measured = rows.filter(pl.col("stage") == "fidelity")
    assert measured["part"].unique().to_list() == ["test"]
    assert {"rank", "explain", "fidelity"} <= set(rows["stage"].unique())
    third = configured("stages=[report]", f"from_run={tmp_path / 'second'}")
    pipeline.run(third, tmp_path / "third")
    again = read_results(tmp_path / "third")
    assert again.filter(pl.col("stage") == "fidelity").equals(measured)
    assert (tmp_path / "third" / "report.html").stat().st_size > 30_000


def test_leave_one_out_counts_the_forwards_of_each_case(configured, tmp_path: Path) -> None:
    pipeline.run(configured("explainer=[leave_one_out]", "stages=[fit,explain]"), tmp_path / "run")
    saved = pl.read_parquet(tmp_path / "run" / "attributions.parquet")
    players = saved.group_by("case").len().sort("case")["len"].to_list()
    cost = read_results(tmp_path / "run").filter(pl.col("metric") == "forwards")
    assert sorted(cost["value"].to_list()) == sorted(float(n + 1) for n in players)
    assert len(set(players)) > 1
