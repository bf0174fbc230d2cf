"""A resumed run keeps its settings, but for what is asked for of tracking: an account may be gone by then."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

RUN = Path(__file__).resolve().parents[2] / "experiments" / "run.py"
ONLINE = ("tracking=wandb", "tracking.mode=online", "tracking.project=mine")
WANDB = "xrec.tracking.wandb_tracker.WandbTracker"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], {"_target_": WANDB, "project": "mine", "mode": "online", "group": None}),
        (["tracking=none"], {"_target_": "xrec.tracking.tracker.NoTracker"}),
        (["tracking.mode=offline"], {"_target_": WANDB, "project": "mine", "mode": "offline", "group": None}),
        (
            ["tracking=wandb", "tracking.group=x"],
            {"_target_": WANDB, "project": "xrec", "mode": "offline", "group": "x"},
        ),
    ],
)
def test_tracking_is_what_is_asked_for(
    configured: Callable[..., DictConfig], overrides: list[str], expected: dict[str, object]
) -> None:
    saved = OmegaConf.create(OmegaConf.to_container(configured(*ONLINE, "seed=7"), resolve=True))
    asked = configured(
        *(overrides if any(o.startswith("tracking=") for o in overrides) else ["tracking=wandb"]), *overrides
    )
    found = runpy.run_path(str(RUN))["_with_tracking"](saved, asked, ["resume=x", *overrides])
    assert OmegaConf.to_container(found.tracking) == expected
    assert found.seed == 7
