"""The reading side of a run directory: what is whole is read, what is missing is empty, what is damaged is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.rundirs import put_on_record
from xrec.errors import RunError
from xrec.rundir.directory import RunDirectory
from xrec.rundir.saved import SavedRun, require_directory
from xrec.rundir.table import SCHEMA, Rows
from xrec.types import Metric

LINES = [
    {"step": 0, "epoch": 1, "loss/total": 9.0},
    {"step": 9, "epoch": 1, "loss/total": 8.0},
    {"step": 9, "epoch": 1, "validation/ndcg_at_10/all": 0.5},
    {"step": 10, "epoch": 2, "loss/total": 7.0},
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with RunDirectory(tmp_path / "run") as writer:
        writer.begin("seed: 0\n", ["seed=0"], "d", {"data_card.json": {"name": "toy"}})
        for line in LINES:
            writer.log(line)
        writer.finish("fit", [Rows(())], ["metrics.jsonl"])
        rows = Rows([Metric("ndcg", "NDCG", "higher", ".4f")], stage="rank")
        rows.add("ndcg", [0.5, 0.25], user=["a", "b"], k=10)
        pl.DataFrame({"case": [0]}).write_parquet(writer.path("cases.parquet"))
        writer.finish("rank", [rows], ["cases.parquet"], "random")
    return tmp_path / "run"


def test_what_was_written(run: Path) -> None:
    saved = SavedRun(run)
    saved.check()
    assert saved.stages == ["fit", "rank"]
    assert saved.log == LINES
    assert saved.config == {"seed": 0}
    assert saved.json("data_card.json") == {"name": "toy"}
    assert saved.yaml("overrides.yaml") == ["seed=0"]
    assert saved.results.frame.select("stage", "metric", "direction", "user", "k", "value").rows() == [
        ("rank", "ndcg", "higher", "a", 10, 0.5),
        ("rank", "ndcg", "higher", "b", 10, 0.25),
    ]
    assert saved.results.metrics == {"ndcg": Metric("ndcg", "NDCG", "higher", ".4f")}
    assert saved.results.reference == "random"
    assert saved.results.metric("own_metric").label == "own metric", "nobody declared it"


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    saved = SavedRun(tmp_path)
    assert saved.results.frame.schema == pl.Schema(SCHEMA)
    assert saved.results.frame.is_empty()
    assert (saved.log, saved.config, saved.stages) == ([], {}, [])
    assert (saved.table("cases.parquet"), saved.json("data_card.json"), saved.yaml("overrides.yaml")) == (None,) * 3
    with pytest.raises(RunError, match=f"{tmp_path / 'config.yaml'} is missing: finish the run with .*resume="):
        saved.require("config.yaml")


FILES: dict[str, Callable[[SavedRun], object]] = {
    "results.parquet": lambda saved: saved.results,
    "stages/rank.json": lambda saved: saved.results,
    "metrics.jsonl": lambda saved: saved.log,
    "cases.parquet": lambda saved: saved.table("cases.parquet"),
    "data_card.json": lambda saved: saved.json("data_card.json"),
    "overrides.yaml": lambda saved: saved.yaml("overrides.yaml"),
    "config.yaml": lambda saved: saved.config,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["cut", "altered", "missing"])
def test_a_file_on_record_is_compared_before_it_is_believed(run: Path, name: str, how: str) -> None:
    path = run / name
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if how == "cut" else content + b"\n")
    words = "is missing" if how == "missing" else "is not what the run wrote"
    for read in (FILES[name], SavedRun.check):
        with pytest.raises(RunError, match=f"{path} {words}") as caught:
            read(SavedRun(run))
        assert f"resume={run}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("results.parquet", b"PAR1 and no more", "is not a whole parquet file"),
        ("cases.parquet", b"", "is not a whole parquet file"),
        ("data_card.json", b"{", "is not JSON"),
        ("data_card.json", b"\xff", "is not JSON"),
        ("overrides.yaml", b"a: [", "is not YAML"),
        ("config.yaml", b"\xff", "is not YAML"),
        ("metrics.jsonl", b'{"step": 0}\n{"step"\n{"step": 2}\n', "line 2: not JSON"),
    ],
)
def test_what_cannot_be_read_is_named(run: Path, name: str, content: bytes, words: str) -> None:
    (run / name).write_bytes(content)
    put_on_record(run)
    with pytest.raises(RunError, match=words) as caught:
        FILES[name](SavedRun(run))
    assert str(run / name) in str(caught.value)


def test_a_table_of_another_version(run: Path) -> None:
    pl.DataFrame({"value": [1.0]}).write_parquet(run / "results.parquet")
    put_on_record(run)
    with pytest.raises(RunError, match="lacks the columns data, split, .*another version of xrec wrote it"):
        _ = SavedRun(run).results


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_values_that_are_not_finite(run: Path, value: float | None) -> None:
    frame = SavedRun(run).results.frame
    frame = frame.with_columns(pl.when(pl.col("user") == "a").then(pl.lit(value)).otherwise("value").alias("value"))
    frame.write_parquet(run / "results.parquet")
    put_on_record(run)
    with pytest.raises(RunError, match=r"1 values are not finite \(metrics: ndcg\)"):
        _ = SavedRun(run).results


def test_columns_in_another_order_and_type(run: Path) -> None:
    frame = SavedRun(run).results.frame
    other = frame.select(reversed(frame.columns)).with_columns(pl.col("k").cast(pl.Int32), pl.lit(1).alias("more"))
    other.write_parquet(run / "results.parquet")
    put_on_record(run)
    assert SavedRun(run).results.frame.equals(frame)


def test_the_log_of_a_fit_that_was_killed(tmp_path: Path) -> None:
    lines = "\n".join(map(json.dumps, LINES)) + '\n\n[1]\n{"no": "step"}\n{"step": 11, "lo'
    (tmp_path / "metrics.jsonl").write_text(lines)
    assert SavedRun(tmp_path).log == LINES, "in the order written; what is no step, and the torn line, left out"


def test_each_file_is_read_once(run: Path) -> None:
    saved = SavedRun(run)
    before = (saved.results, saved.log, saved.config)
    for name in FILES:
        (run / name).write_text("gone")
    assert (saved.results, saved.log, saved.config) == before


def test_a_place_that_is_no_directory(run: Path) -> None:
    assert require_directory(run) == run
    for place, words in ((run / "nowhere", "does not exist"), (run / "config.yaml", "is a file")):
        with pytest.raises(RunError, match=f"{place} {words}; give a run directory"):
            require_directory(place)
