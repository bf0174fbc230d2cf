"""What a run leaves for Weights & Biases, read back from its offline log."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from xrec.tracking.tracker import NoTracker
from xrec.tracking.wandb_tracker import WandbTracker

LOG = [
    {"step": 0, "epoch": 1, "loss/total": 3.0, "loss/raw/kl": 1.0},
    {"step": 9, "epoch": 1, "loss/total": 2.0, "discriminator_loss": 0.5},
    {"step": 9, "epoch": 1, "seconds": 1.5, "validation/ndcg_at_10/all": 0.25},
    {"step": 10, "epoch": 2, "loss/total": 1.0},
]


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "white").save(buffer, format="png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The records of one run with everything a tracker is given."""
    folder = tmp_path_factory.mktemp("wandb")
    tracker = WandbTracker()
    tracker.start(folder, {"seed": 0}, "name", "group", "run")
    for row in LOG:
        tracker.log(row)
    tracker.table("ranking", ["row", "NDCG@10"], [["EASE", 0.25], ["composed", None]])
    tracker.image("forest", png)
    tracker.summary({"summary/ranking/all/ease/ndcg@10": 0.25, "summary/ranking/all/ease/ndcg@10/low": 0.2})
    tracker.finish()
    (run,) = (folder / "wandb").glob("offline-run-*")
    wandb = shutil.which("wandb", path=str(Path(sys.executable).parent)) or "wandb"
    lines = subprocess.run([wandb, "leet", "inspect", "--json", str(run)], capture_output=True, text=True, check=True)
    assert (run / "files" / "media" / "images" / "figures").is_dir()
    return [json.loads(line) for line in lines.stdout.splitlines()]


def updates(records: list[dict[str, Any]], kind: str, part: str) -> dict[str, Any]:
    return {name: value for r in records if r["type"] == kind for name, value in r[kind].get(part, {}).items()}


def test_what_a_fit_logs_is_drawn_against_its_step(records: list[dict[str, Any]]) -> None:
    axes = {
        r["metric"].get("glob_name", r["metric"].get("name")): r["metric"] for r in records if r["type"] == "metric"
    }
    assert "step" in axes
    against = {name for name, metric in axes.items() if metric.get("step_metric") == "step"}
    logged = {name for row in LOG for name in row if name != "step"}
    assert not {name for name in logged if not any(name.startswith(a.rstrip("*")) for a in against)}


def test_rows_keep_their_step_and_several_may_share_one(records: list[dict[str, Any]]) -> None:
    rows = [r["history"]["item"] for r in records if r["type"] == "history"]
    kept = [{name: row[name] for name in row if not name.startswith("_")} for row in rows if "step" in row]
    assert kept == LOG


def test_the_summary_holds_intervals_and_is_no_row_of_the_history(records: list[dict[str, Any]]) -> None:
    found = updates(records, "summary", "update")
    assert found["summary/ranking/all/ease/ndcg@10"] == 0.25
    assert found["summary/ranking/all/ease/ndcg@10/low"] == 0.2
    rows = [r["history"]["item"] for r in records if r["type"] == "history"]
    assert not [name for row in rows for name in row if name.startswith("summary/")]


def test_figures_are_images_and_tables_are_tables(records: list[dict[str, Any]]) -> None:
    rows = {k: v for r in records if r["type"] == "history" for k, v in r["history"]["item"].items()}
    assert (rows["figures/forest._type"], rows["figures/forest.width"]) == ("image-file", 40)
    assert (rows["tables/ranking._type"], rows["tables/ranking.nrows"]) == ("table-file", 2)


def test_no_tracker_draws_nothing(tmp_path: Path) -> None:
    tracker = NoTracker()
    tracker.start(tmp_path, {}, "name", None, "run")

    def fail() -> bytes:
        raise AssertionError("drawn for nobody")

    tracker.image("forest", fail)
    tracker.summary({"a": 1.0})
    tracker.table("t", ["a"], [[1]])
    tracker.finish()
    assert not list(tmp_path.iterdir())
