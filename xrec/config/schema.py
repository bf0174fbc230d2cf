"""Pass 1: a schema of everything in the composed config that is not an argument of a `_target_`. No heavy imports."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from xrec.config.allowed import foreign_targets
from xrec.config.objectives import objective_errors
from xrec.config.rules import (
    Entries,
    ListOf,
    MapOf,
    Node,
    OrNull,
    Rule,
    Section,
    choice,
    flag,
    nullable,
    number,
    shown,
    text,
    whole,
)
from xrec.errors import UserError
from xrec.plan import PLAN, STAGES
from xrec.words import did_you_mean, listed

#: how the one error about a broken interpolation begins
UNRESOLVED = "the config does not resolve"

_NAME = text("a name of letters, digits, '_', '-' and '.'", r"[\w.-]+")
#: a run that was saved on a larger machine must start on a smaller one, so it is not this machine's cores that count
MOST_THREADS = max(1024, os.cpu_count() or 1)
_THREADS = whole(1, MOST_THREADS, f"more than this machine's {os.cpu_count()} cores only make it slower")
_DEEPEST = 10_000
_CUTOFFS = ListOf(whole(1, _DEEPEST, "a list of that many items is kept for every user"))
_TOGETHER = "what is scored together is held in memory"
_MOMENT = Rule(
    "a date such as 2015-01-31 or a whole number",
    lambda x: (isinstance(x, int) and not isinstance(x, bool)) or (isinstance(x, str) and x[:4].isdigit()),
)
_WINDOW = Rule(
    "a whole number other than 0 (negative: counted back from the end of training)",
    lambda x: isinstance(x, int) and not isinstance(x, bool) and x != 0,
)
_PART = choice("validation", "test")
_UNIT = Rule(
    "hour, day, week, month or a number of days such as '10 days'", lambda x: isinstance(x, str), optional=True
)
_ENDS = Section({"train": _MOMENT, "validation": _MOMENT, "test": _MOMENT, "period": _UNIT})
#: see `xrec.stages.settle`
_AUTO = Rule(
    "what an option becomes where the data lacks something: {needs, otherwise, without}",
    lambda x: isinstance(x, Mapping) and "needs" in x and set(x) <= {"needs", "otherwise", "without"},
)

SCHEMA = Section(
    {
        "seed": whole(0, 2**32 - 1),
        "threads": _THREADS,
        "device": text("a device such as cpu, cuda or cuda:0", r"cpu|mps|cuda(:\d+)?"),
        "stages": ListOf(choice(*STAGES), may_be_empty=True),
        "from_run": nullable(text("a run directory")),
        "resume": nullable(text("a run directory")),
        "objectives": ListOf(_NAME, may_be_empty=True),
        "paths": Section({"runs": text("a directory"), "cache": text("a directory")}),
        "cases": Section(
            {
                "part": _PART,
                "n_users": whole(1),
                "top_n": whole(1, _DEEPEST),
                "groups": ListOf(choice("new", "repeat")),
                "min_players": whole(1),
                "few_players": whole(0),
                "chunk_size": whole(1, 10_000, _TOGETHER),
                "mask_chunk": whole(1, 65_536, _TOGETHER),
            }
        ),
        "data": Section(
            {
                "source": Node("data"),
                "ends": OrNull(_ENDS, optional=True),
                "path": OrNull(text("a file or folder"), optional=True),
                "attributes": OrNull(text("a file"), optional=True),
                "clean": Section(
                    {
                        "since": nullable(_MOMENT),
                        "until": nullable(_MOMENT),
                        "min_value": nullable(number(-1e30)),
                        "kind_weights": OrNull(MapOf(number(0))),
                        "target_kinds": OrNull(ListOf(text("a kind of event"))),
                        "strength": choice("value", "one"),
                        "deduplicate": flag(),
                        "outlier_mads": nullable(number(0, open_low=True)),
                        "min_item_users": whole(0),
                        "min_user_items": whole(0),
                        "min_level_count": whole(0),
                        "strict": flag(),
                    }
                ),
            }
        ),
        "split": Node("split"),
        "model": Node("model", {"name": _NAME, "auto": MapOf(_AUTO, optional=True)}),
        "loss": Section(
            {
                "weights": MapOf(number(0)),
                "schedules": Entries("schedule"),
                "terms": Entries("loss/terms"),
                "reconstruction": Node("loss/reconstruction", optional=True),
                "adversarial": Node("loss/adversarial", optional=True),
            },
            others=Node("loss"),
            optional=True,
        ),
        "baselines": Entries("baselines", {"name": _NAME}),
        "training": Section(
            {
                "windows": OrNull(ListOf(_WINDOW)),
                "horizon": nullable(whole(1)),
                "epochs": whole(1),
                "batch_size": whole(1, 1_000_000, _TOGETHER),
                "learning_rate": number(0, open_low=True),
                "learning_rate_schedule": Node("schedule"),
                "learning_rate_scale": MapOf(number(0)),
                "examples": choice("windows", "profile", "sequence"),
                "masked_share": number(0),
                "hidden_only": flag(),
                "n_negatives": nullable(whole(1)),
                "popularity_share": number(0),
                "max_pairs": whole(1, 1_000_000_000, _TOGETHER),
                "patience": whole(0),
                "monitor": nullable(choice(*(f"validation/ndcg_at_10/{group}" for group in ("all", "new", "cold")))),
                "validation_users": nullable(whole(1)),
                "log_every": whole(1),
                "max_loss": number(0, open_low=True),
            }
        ),
        "ranking": Section(
            {
                "parts": OrNull(ListOf(_PART)),
                "groups": ListOf(choice("all", "new", "cold")),
                "ndcg": _CUTOFFS,
                "recall": _CUTOFFS,
                "map": _CUTOFFS,
                "coverage": _CUTOFFS,
                "chunk_size": whole(1, 10_000, _TOGETHER),
                "ablations": flag(),
            }
        ),
        "masker": Node("masker"),
        "players": Node("players"),
        "output": Node("output"),
        "explainer": Entries("explainer"),
        "fidelity": Entries("fidelity"),
        "tracking": Node("tracking"),
        "experiment": Section({"name": _NAME}, optional=True),
        "sweep": Section({"name": _NAME}, optional=True),
    }
)


class ConfigError(UserError):
    """Everything that is wrong with a config, in one message; `errors` holds the single ones."""

    def __init__(self, errors: list[str]) -> None:
        self.errors = list(errors)
        super().__init__(report(self.errors))


def report(errors: list[str]) -> str:
    """All errors as one text, one a line."""
    count = f"{len(errors)} error{'s' if len(errors) != 1 else ''} in the config"
    return "\n".join([f"{count}:", *(f"  - {error}" for error in errors)])


def check(cfg: Any) -> list[str]:
    """All that pass 1 finds wrong with a composed config (a DictConfig or a plain mapping, without Hydra's own node).

    Each error names the key, the value it got and the values it takes.
    """
    try:
        config = plain(cfg)
    except Exception as error:
        if not type(error).__module__.startswith("omegaconf"):
            raise
        return [f"{UNRESOLVED}: {' '.join(str(error).split())}"]
    config.pop("hydra", None)
    found = [e for key in ("sweep", "experiment") if config.get(key, 0) is None for e in [_null(key)]]
    return found + SCHEMA.errors("", config) + _cross(config) + foreign_targets(config)


def plain(cfg: Any) -> dict[str, Any]:
    """The config as dicts and lists, with interpolations resolved."""
    from omegaconf import DictConfig, OmegaConf

    if not isinstance(cfg, DictConfig):
        return dict(cfg)
    if "hydra" in cfg:  # has interpolations of its own, which resolve inside a job only
        cfg = OmegaConf.masked_copy(cfg, [str(k) for k in cfg if k != "hydra"])
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(k): v for k, v in container.items()}


def _null(key: str) -> str:
    return f"{key}: got null; leave it out, or write ~{key}"


def _cross(config: Mapping[str, Any]) -> list[str]:
    """Rules between keys. Each stands aside when a key it reads is itself wrong."""
    rules = (_numbers, _stages, _explained, _namesakes, _schedules, _windows, objective_errors)
    return [error for rule in rules for error in rule(config)]


def _numbers(config: Mapping[str, Any], path: str = "") -> list[str]:
    """nan is no setting of anything: it would pass most checks of a range."""
    found = []
    for key, value in config.items():
        entries = enumerate(value) if isinstance(value, list) else [(None, value)]
        for place, entry in entries:
            here = f"{path}{key}" if place is None else f"{path}{key}[{place}]"
            if isinstance(entry, Mapping):
                found += _numbers(entry, f"{here}.")
            elif isinstance(entry, float) and math.isnan(entry):
                found.append(f"{here}: got nan, takes a number")
    return found


def _stages(config: Mapping[str, Any]) -> list[str]:
    stages = config.get("stages")
    if not isinstance(stages, list) or config.get("resume") is not None:
        return []
    if config.get("from_run") is not None:
        if {"fit", "fidelity"} <= set(stages) and "explain" not in stages:
            return [
                (
                    f"stages: got {shown(stages)}: explanations of the model in from_run say nothing of a model "
                    "that is fitted now; add explain, or leave out fit"
                )
            ]
        return []
    found = [
        f"stages: got {shown(stages)}: {stage.name} needs {stage.needs}; add it, or give from_run=RUN"
        for stage in PLAN
        if stage.name in stages and stage.needs is not None and stage.needs not in stages
    ]
    if stages == ["report"]:
        found.append("stages: got ['report'], which has nothing to report on; add stages, or give from_run=RUN")
    return found


def _explained(config: Mapping[str, Any]) -> list[str]:
    stages = config.get("stages")
    if not isinstance(stages, list) or config.get("explainer") or "explain" not in stages:
        return []
    return [f"explainer: got [], but stages={shown(stages)}; choose an explainer, or leave out explain and fidelity"]


def _namesakes(config: Mapping[str, Any]) -> list[str]:
    """A baseline that is called as the model is must be the same model."""
    model, baselines = config.get("model"), config.get("baselines")
    if not isinstance(model, Mapping) or not isinstance(baselines, Mapping):
        return []
    return [
        f"baselines.{key}.name: got {node['name']!r}, the name of the model, but with other settings; give one of them "
        f"another name, such as model.name={node['name']}_2"
        for key, node in baselines.items()
        if isinstance(node, Mapping) and node.get("name") == model.get("name") and dict(node) != dict(model)
    ]


def _schedules(config: Mapping[str, Any]) -> list[str]:
    loss = config.get("loss")
    if not isinstance(loss, Mapping):
        return []
    weights, schedules = loss.get("weights"), loss.get("schedules")
    if not isinstance(weights, Mapping) or not isinstance(schedules, Mapping):
        return []
    return [
        f"loss.schedules.{name}: no loss.weights.{name}{did_you_mean(str(name), weights)} (weights: {listed(weights)})"
        for name in schedules
        if name not in weights
    ]


def _windows(config: Mapping[str, Any]) -> list[str]:
    training, split = config.get("training"), config.get("split")
    if not isinstance(training, Mapping) or not isinstance(split, Mapping):
        return []
    windows, horizon = training.get("windows"), training.get("horizon")
    end = split.get("train_end", (split.get("ends") or {}).get("train"))
    if not isinstance(windows, list) or not isinstance(horizon, int):
        return []
    whole_windows = [w for w in windows if isinstance(w, int)]
    found = [
        f"training.windows: got {w}, which with training.horizon={horizon} reaches past the end of training; takes at "
        f"most {-horizon}"
        for w in whole_windows
        if -horizon < w < 0
    ]
    if not isinstance(end, int):
        return found
    return found + [
        f"training.windows: got {w}, which with training.horizon={horizon} reaches period {w + horizon - 1}; "
        f"takes at most {end - horizon + 1}, so that windows end by the last training period {end}"
        for w in whole_windows
        if w + horizon - 1 > end
    ]
