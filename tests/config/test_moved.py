"""Old spellings are refused with the new one, wherever a key or a target is not known."""

from __future__ import annotations

import pytest

from xrec.config.instantiate import resolve
from xrec.config.moved import key_hint, target_hint
from xrec.config.rules import MapOf, number, unknown
from xrec.config.schema import ConfigError
from xrec.config.signatures import argument_errors

KEYS = {
    "model.linear_path": "model/wide=[...], where linear is named or left out",
    "model.repeat_features": "model/wide=[...], where repeat is named or left out",
    "model.regularization": "model.components.linear.regularization",
    "model.attention": "model.components.attention",
    "model.attention.normaliser": "model.components.attention.normaliser",
    "model.user_encoder.dropout": "model.components.user_encoder.dropout",
    "loss.anneal": "loss.schedules",
    "loss.anneal.kl": "loss.schedules.kl",
    "training.decay": "training.learning_rate_schedule",
    "training.learning_rate_scale.discriminator": "model.item_encoder.discriminator_learning_rate",
    "model.item_encoder.discriminator_learning_rate_scale": "model.item_encoder.discriminator_learning_rate",
    "explainer.mine.requires": "said by the explainer's class (requires = ...)",
}


@pytest.mark.parametrize("key", KEYS)
def test_an_old_key_is_answered_with_the_new_one(key: str) -> None:
    said = f"; it is now {KEYS[key]}"
    assert key_hint(key, [key + "s"]) == said
    path, _, name = key.rpartition(".")
    assert said in unknown(path, name, ("other",))
    (error,) = argument_errors(path, lambda other: None, {"_target_": "xrec.x", name: 1}, None)
    assert said in error


def test_an_open_mapping_refuses_an_old_name() -> None:
    rates = MapOf(number(0))
    assert rates.errors("training.learning_rate_scale", {"wide": 1, "mine": 2}) == []
    (error,) = rates.errors("training.learning_rate_scale", {"wide": 1, "discriminator": 2})
    assert "it is now model.item_encoder.discriminator_learning_rate" in error


def test_other_keys_get_the_closest_known_one() -> None:
    for key in ("model.attention_size", "models.attention", "explainer.requires", "loss.annealing"):
        assert "it is now" not in key_hint(key, ())
    assert key_hint("cases.n_user", ["cases.n_users"]) == "; did you mean 'cases.n_users'?"


def test_an_old_target_is_answered_with_the_new_one() -> None:
    with pytest.raises(ConfigError, match="'xrec.masking.maskers.Zero': .*; it is now xrec.games.maskers.Zero"):
        resolve("xrec.masking.maskers.Zero")
    assert target_hint("xrec.models.baselines.ease.EASE") == ""
