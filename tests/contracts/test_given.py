"""A log that comes split runs from fit to report, with validation and without."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl
import pytest

from tests.small_journey import SHORT
from xrec import pipeline
from xrec.config.validate import validate_job
from xrec.errors import RunError
from xrec.rundir.saved import SavedRun

COLUMNS = "{user: household_id, item: product_id, time: week}"


@pytest.fixture(scope="module")
def overrides(journey: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The small journey as one file for each part."""
    folder = tmp_path_factory.mktemp("parts")
    log = pl.read_parquet(journey / "transactions.parquet").filter(pl.col("household_id") <= 12)
    for part, first, last in (("train", 0, 43), ("valid", 44, 47), ("test", 48, 53)):
        log.filter(pl.col("week").is_between(first, last)).write_csv(folder / f"{part}.csv")
    of_table = [f"data.path={folder}", "data.source.path=${..path}", f"data.source.columns={COLUMNS}"]
    no_core = ["data.clean.min_item_users=0", "data.clean.min_user_items=0"]  # as split=given has it
    return ["data=table", "split=given", *of_table, *no_core, "data.source.time_format=period"]


WITHOUT = "data.source.parts={train: train.csv, test: test.csv}"
WITH = "data.source.parts={train: train.csv, validation: valid.csv, test: test.csv}"
FEW = [
    "model/item_encoder=embedding",
    *SHORT,
    "training.windows=[-4,-9]",
    "training.horizon=2",
]


@pytest.mark.parametrize("parts", [WITH, WITHOUT])
def test_a_log_that_comes_split_runs_from_fit_to_report(parts, configured, overrides, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    config = configured(*overrides, parts, *FEW, "training.patience=0")
    validate_job(config)
    reached = pipeline.run(config, tmp_path / "run")
    results = SavedRun(tmp_path / "run").results.frame
    ranked = results.filter(pl.col("stage") == "rank")
    fitted = results.filter(pl.col("stage") == "fit")["metric"].to_list()
    said = [record.getMessage() for record in caplog.records if "no validation part" in record.getMessage()]
    if parts == WITH:
        assert set(ranked["part"]) == {"validation", "test"} and "validation_ndcg_at_10_all" in reached
        assert "best_epoch" in fitted and said == []
    else:
        assert set(ranked["part"]) == {"test"} and not any(name.startswith("validation") for name in reached)
        assert fitted == ["epochs", "steps", "collapsed"]
        assert said == [
            "split given has no validation part: training goes on for all of its 2 epochs and keeps the last weights",
            "split given has no validation part: only test is ranked",
        ]
    assert results.filter(pl.col("metric") == "epochs")["value"].to_list() == [1.0 if parts == WITH else 2.0]
    assert set(results["split"]) == {"given"} and results["value"].is_finite().all()
    assert {"fidelity", "cost"} <= set(results["stage"]) and (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            "ranking.parts=[validation,test]",
            "ranking.parts asks for validation, but split given has no validation part",
        ),
        ("cases.part=validation", "cases.part asks for validation, but split given has no validation part"),
        ("objectives=[validation_ndcg_at_10_new]", "objectives asks for validation, but split given has no validation"),
    ],
)
def test_asking_for_validation_is_refused_before_anything_is_fitted(
    asked, says, configured, overrides, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(pipeline.WORK, "fit", lambda *_: pytest.fail("the fit began"))
    with pytest.raises(RunError, match=says):
        pipeline.run(configured(*overrides, WITHOUT, *FEW, asked), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_histories_of_one_item_are_explained_on_request(configured, overrides, tmp_path) -> None:
    """Of every user the first event trains and the last tests."""
    folder = tmp_path / "short"
    folder.mkdir()
    log = pl.read_csv(Path(overrides[2].removeprefix("data.path=")) / "train.csv").sort(
        "household_id", "week", "product_id"
    )
    ends = log.group_by("household_id", maintain_order=True)
    ends.first().write_csv(folder / "train.csv")
    ends.last().write_csv(folder / "test.csv")
    short = [
        *overrides,
        f"data.path={folder}",
        WITHOUT,
        "model=ease",
        "baselines=[]",
        "explainer=[random,leave_one_out,kernel_shap]",
    ]
    with pytest.raises(
        RunError, match="cases.min_players=2: no history of part test is that long, the longest has 1 pl"
    ):
        pipeline.run(configured(*short), tmp_path / "refused")
    pipeline.run(configured(*short, "cases.min_players=1"), tmp_path / "run")
    assert pl.read_parquet(tmp_path / "run" / "cases.parquet")["n_players"].unique().to_list() == [1]
    measured = SavedRun(tmp_path / "run").results.frame.filter(pl.col("stage") == "fidelity")
    assert measured["value"].is_finite().all() and "deletion" in set(measured["metric"])
    assert measured.filter(pl.col("variant").is_in(["discrete", "discrete_normalised"])).is_empty()
