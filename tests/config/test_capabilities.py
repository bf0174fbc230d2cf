"""Pass 2: what the chosen parts require of the model, before and after the data is read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig

from xrec.config.capabilities import capabilities_of, check_requires, unmet_requires

Compose = Callable[..., DictConfig]
MASKER = "++masker._target_=tests.config.parts."


def test_attention_explainer_needs_attention(compose: Compose) -> None:
    (error,) = check_requires(compose("model=ease", "explainer=[random,attention,additive]"))
    for fragment in (
        "explainer.attention needs attention",
        "model=ease",
        "choose a model that has it",
        "explainer=[random,additive]",
    ):
        assert fragment in error
    assert check_requires(compose("model=ease", "explainer=[attention]", "stages=[fit,rank]")) == []


def test_capabilities_follow_the_parts(compose: Compose) -> None:
    always = {
        "gradients", "fractional_presence", "likelihood", "trainable", "cold_items", "components", "item_features",
    }  # fmt: skip
    assert capabilities_of(compose()) == always | {"attention", "attention_values", "additive"}
    assert capabilities_of(compose("~model/attention")) == always | {"additive"}
    off = ["~model/attention", "model/wide=[prior]"]
    assert capabilities_of(compose(*off)) == always
    assert capabilities_of(compose("model=ease")) == {"gradients", "fractional_presence", "additive", "linear"}
    assert capabilities_of(compose("model=popularity", "model.name=mine")) is not None


def test_asking_changes_no_random_number(compose: Compose) -> None:
    before = torch.random.get_rng_state()
    capabilities_of(compose())
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "override", ["+model.foo=1", "model.embedding_size=0", "model.embedding_size=100000000000", "~model._target_"]
)
def test_a_model_that_cannot_be_built_is_left_to_the_others(compose: Compose, override: str) -> None:
    config = compose("explainer=[attention]", "~model/attention", override)
    assert capabilities_of(config) is None and check_requires(config) == []
    assert len(unmet_requires(config, {"gradients"})) == 1


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (
            "Fractional",
            "masker=Fractional needs fractional_presence, which model=composed does not have (it has gradients)",
        ),
        ("Mistaken", "masker=Mistaken: its class requires 'gradient', takes attention, gradients,"),
    ],
)
def test_any_part_may_require(compose: Compose, part: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XREC_ALLOWED_TARGETS", "tests.config.parts")
    config = compose(MASKER + part, "explainer=[random]")
    (error,) = unmet_requires(config, {"gradients"})
    assert error.startswith(says)
    assert "requires" in error or error.endswith("that has it, or another masker: masker=...")
    assert unmet_requires(compose(MASKER + part, "explainer=[random]", "stages=[fit,rank]"), set()) == []


def test_an_output_that_is_no_sum_has_no_summands(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XREC_ALLOWED_TARGETS", "tests.config.parts")
    output = "++output._target_=tests.config.parts.Squared"
    (error,) = check_requires(compose(output, "explainer=[random,additive,leave_one_out]"))
    assert error.startswith("explainer.additive needs additive, which model=composed with output squared does not have")
    assert error.endswith("explainer=[random,leave_one_out]")


def test_what_a_game_needs_of_the_model_is_known_from_the_classes(compose: Compose) -> None:
    (error,) = check_requires(compose("output=log_probability", "explainer=[random,additive]"))
    assert "explainer.additive needs additive, which model=composed with output log_probability does not have" in error
    (error,) = check_requires(compose("model=ease", "output=log_probability", "explainer=[random]"))
    assert error.startswith("output=log_probability needs likelihood, which model=ease does not have")
    for loss, name in (("bpr", "BPR"), ("gaussian", "Gaussian")):
        (error,) = check_requires(
            compose("output=log_probability", "explainer=[random]", f"loss/reconstruction={loss}")
        )
        assert f"likelihood, which model=composed trained by {name} does not have" in error
    assert not check_requires(compose("output=log_probability", "explainer=[random]", "loss/reconstruction=bernoulli"))
    (error,) = check_requires(compose("model.combination=mixture", "explainer=[random]", "loss/reconstruction=bpr"))
    assert error.startswith("model.combination=mixture adds to exp of the scores, and BPR makes no logits of them")
    assert check_requires(compose("model=ease", "masker=popularity", "explainer=[random,additive]")) == []
