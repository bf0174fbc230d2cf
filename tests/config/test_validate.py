"""Pass 2: signatures and targets; and that everything in conf/ passes both passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from xrec.config.schema import ConfigError, check
from xrec.config.targets import check_objectives, check_targets
from xrec.config.validate import validate_job

CONF = Path(__file__).resolve().parents[2] / "conf"
Compose = Callable[..., DictConfig]

NO_ATTENTION = "explainer=[random,popularity,leave_one_out]"
MULTI = ("explainer", "fidelity", "baselines", "model/wide")
#: an option's own needs, and what it cannot be explained by
EXTERNAL = {
    "model": ("model.scores=tests.ease_by_hand.scores", "explainer=[random,popularity,leave_one_out]"),
    "baselines": ("baselines.external.scores=tests.ease_by_hand.scores",),
}
SCHEDULED = ("loss.schedules.kl", "training.learning_rate_schedule")


def options() -> list[tuple[str, ...]]:
    """Overrides that choose each option in conf/ once."""
    found = []
    for path in sorted(CONF.rglob("*.yaml")):
        group = path.parent.relative_to(CONF).as_posix()
        if group == "." or group.startswith("hydra"):
            continue
        if group == "schedule":  # chosen for a place
            found += [(f"{group}@{place}={path.stem}",) for place in SCHEDULED]
            continue
        choice = f"{group}=[{path.stem}]" if group in MULTI else f"{group}={path.stem}"
        if path.stem == "external":
            found.append((choice, *EXTERNAL[group]))
            continue
        if group == "loss/adversarial":
            found.append((choice, "model/item_encoder=bigan"))
            continue
        if choice == "explainer=[rollout]":
            found.append((choice, "model/attention=self_attention"))
            continue
        single = group == "model" and path.stem != "composed"
        of_sums = choice == "output=log_probability"  # summands of scores are none of it
        found.append((choice, NO_ATTENTION) if single or of_sums else (choice,))
    return found


@pytest.mark.parametrize("overrides", options(), ids=" ".join)
def test_every_option_of_conf_is_sound(
    compose: Compose, overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XREC_ALLOWED_TARGETS", "tests.ease_by_hand")
    validate_job(compose(*overrides))


BAD = [
    (
        "+model.embeding_size=3",
        ["model.embeding_size: unknown argument", "did you mean 'embedding_size'", "item_encoder"],
    ),
    ("+model.components.attention.kind=x", ["model.components.attention.kind: unknown argument", "MultiHead takes"]),
    ("~model.embedding_size", ["model.embedding_size is missing", "a whole number"]),
    ("++split.validation=high", ["split.validation: got 'high', takes a number or null"]),
    ("model.embedding_size=true", ["model.embedding_size: got true, takes a whole number"]),
    (
        "model.components.linear.regularization=high",
        ["linear.regularization: got 'high', takes a number"],
    ),
    ("model.components.attention.normaliser=sofmax", ["one of sigmoid, softmax", "did you mean 'softmax'"]),
    ("explainer.permutation_shap.budget=atuo", ["a whole number or 'auto'", "did you mean 'auto'"]),
    ("fidelity.eraser.shares=[0.1,x]", ["fidelity.eraser.shares: got [0.1, 'x'], takes a list of a number"]),
    ("fidelity.removal.cutoffs=5", ["fidelity.removal.cutoffs: got 5, takes a list of a whole number"]),
    ("tracking.mode=onlin", ["tracking.mode", "did you mean 'online'"]),
    ("tracking.mode=none", ["got 'none', takes one of offline, online; no tracking at all is tracking=none"]),
    ("tracking.mode=null", ["got null, takes one of offline, online; no tracking at all is tracking=none"]),
    ("+explainer.random.requires=[attention]", ["explainer.random.requires: unknown argument", "Random takes n_draws"]),
    ("++masker._target_=xrec.games.maskers.Zer", ["has no 'Zer'", "did you mean 'Zero'"]),
    ("++masker._target_=xrec.nowhere.Zero", ["masker._target_: cannot import 'xrec.nowhere.Zero'"]),
    ("++masker._target_=os.system", ["masker._target_: got 'os.system'", "under xrec"]),
    ("++masker._target_=xrec.config.allowed.os.system", ["xrec.config.allowed.os.system", "is from posix"]),
    ("++masker._target_=xrec.config.allowed.os", ["a module", "takes a class or a function"]),
    ("++masker._target_=xrec.config.prepass.Path.write_text", ["is from pathlib"]),
    ("++masker._target_=xrecord.evil.Thing", ["under xrec"]),
    ("++model.item_encoder.adversarial={_target_:subprocess.run}", ["adversarial._target_: got 'subprocess.run'"]),
    ("++fidelity.eraser.shares=[{_target_:os.system}]", ["fidelity.eraser.shares[0]._target_: got 'os.system'"]),
    ("++split._args_=[1]", ["split._args_: key not allowed"]),
    ("++split._convert_=all", ["split._convert_: key not allowed"]),
    ("++seed={_target_:os.system}", ["seed", "os.system"]),
]


@pytest.mark.parametrize(("line", "fragments"), BAD, ids=[line for line, _ in BAD])
def test_bad_parts_are_refused(compose: Compose, line: str, fragments: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        validate_job(compose(line))
    assert [f for f in fragments if f not in str(refused.value)] == [], str(refused.value)


def test_both_passes_report_together(compose: Compose) -> None:
    config = compose("loss.weights.kl=-1", "+masker.foo=1", "~model/attention", "explainer=[random,attention]")
    with pytest.raises(ConfigError) as refused:
        validate_job(config)
    errors = refused.value.errors
    assert [e.split(" ")[0] for e in errors] == ["loss.weights.kl:", "masker.foo:", "explainer.attention"]


def test_ghost_entry_is_named(compose: Compose) -> None:
    (error,) = check(compose("explainer=[random,additive]", "++explainer.attention.n=5"))
    assert error.startswith("explainer.attention has no _target_: it is set by an overlay but ")
    assert "explainer=[random,additive] does not select it" in error


def test_nan_is_no_number(compose: Compose) -> None:
    errors = check(compose("model.components.linear.regularization=nan", "players=field", "+players.of=[1,nan]"))
    assert {
        "model.components.linear.regularization: got nan, takes a number",
        "players.of[1]: got nan, takes a number",
    } <= set(errors)


def test_broken_interpolation_is_an_error(compose: Compose) -> None:
    with pytest.raises(ConfigError, match="does not resolve"):
        validate_job(compose("seed=${nothing.there}"))


def test_constructors_may_be_given_whole_numbers_for_floats(compose: Compose) -> None:
    whole = ("model.components.linear.regularization=500", "model.components.user_encoder.dropout=0")
    assert check_targets(compose(*whole)) == []


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ("explainer=[additive]",),
            "objectives: test_removal_gain_additive needs a control to compare with: add random",
        ),
        (("fidelity=[eraser]",), "objectives: test_removal_gain_additive needs the metric deletion: add score to"),
        ((), None),
    ],
)
def test_a_removal_gain_needs_a_control_and_a_metric(
    compose: Compose, overrides: tuple[str, ...], says: str | None
) -> None:
    config = compose("objectives=[test_removal_gain_additive]", *overrides)
    assert check(config) == []
    errors = check_objectives(config)
    assert len(errors) == (says is not None)
    assert says is None or errors[0].startswith(says)
    config.from_run = "runs/x"
    assert check_objectives(config) == []


def test_a_control_has_no_gain_of_its_own(compose: Compose) -> None:
    control = "++explainer.mine={_target_:xrec.explain.controls.Random}"
    (error,) = check_objectives(compose(control, "objectives=[test_removal_gain_mine,test_removal_gain_additive]"))
    assert error.startswith("objectives: test_removal_gain_mine needs another explainer than random, mine")
