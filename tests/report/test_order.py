"""The order of the rows of results.parquet decides nothing: not a digit, not a row's place, not a word."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.synthetic import METRICS, explained, results_of, row
from tests.rundirs import put_on_record
from xrec.report.cells import paired_differences, summarise
from xrec.report.fidelity import CaseGroup, fidelity_table
from xrec.report.html import write_report
from xrec.report.run_figures import RunFigures
from xrec.report.run_tables import RunTables
from xrec.report.summary import summaries
from xrec.report.tables import components_table, cost_table, ranking_table
from xrec.rundir.saved import SavedRun
from xrec.rundir.table import Results, canonical_hash, summary

WHERE = {"stage": "fidelity", "group": "new", "metric": "removal_gain", "explainer": "kernel_shap"}


@pytest.fixture(scope="module")
def several(results: Results) -> pl.DataFrame:
    """Three seeds and two folds of the run, cut down to keep this quick, each with numbers of its own."""
    few = results.frame.filter(pl.col("user").is_null() | pl.col("user").is_in(["u0", "u1", "u2", "u3", "u4"]))
    few = few.filter(pl.col("explainer").is_null() | pl.col("explainer").is_in(["random", "kernel_shap", "attention"]))
    frames = [
        few.with_columns(
            pl.lit(seed).cast(pl.Int64).alias("seed"),
            pl.lit(fold).cast(pl.Int64).alias("fold"),
            pl.lit(10 * fold).cast(pl.Int64).alias("split_seed"),
            (pl.col("value") * (1 + seed / 7) / (1 + fold / 3)).alias("value"),
        )
        for seed in range(3)
        for fold in range(2)
    ]
    return pl.concat(frames)


def shuffled(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    other = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    assert not other.equals(frame)
    return other


@pytest.mark.parametrize("seed", range(3))
def test_tables(several: pl.DataFrame, seed: int) -> None:
    one, other = (Results(frame, METRICS, "random") for frame in (several, shuffled(several, seed)))
    for cases in (CaseGroup("new"), CaseGroup("repeat")):
        tables = [fidelity_table(r, cases, variants=(None, "normalised", "discrete")) for r in (one, other)]
        assert tables[0].height
        assert tables[0].equals(tables[1])
    for make in (ranking_table, components_table, cost_table):
        first, second = make(one), make(other)
        assert first.height
        assert first.equals(second), make.__name__


@pytest.mark.parametrize("seed", range(3))
def test_what_a_sweep_optimises_has_the_same_bits(several: pl.DataFrame, seed: int) -> None:
    other = shuffled(several, seed)
    for where in (WHERE, {"stage": "rank", "group": "all", "metric": "ndcg", "k": 10, "component": None}):
        assert summary(several, **where).hex() == summary(other, **where).hex()
    assert canonical_hash(several) == canonical_hash(other)


@pytest.mark.slow
def test_a_whole_report(run_directory: Path, tmp_path: Path) -> None:
    """Every word and every drawing of it, and what a tracker is told."""
    run = tmp_path / run_directory.parent.name / run_directory.name
    shutil.copytree(run_directory, run)
    shuffled(pl.read_parquet(run / "results.parquet"), 1).write_parquet(run / "results.parquet")
    put_on_record(run)
    tables = [RunTables(SavedRun(directory)) for directory in (run_directory, run)]
    pages = [write_report(t, RunFigures(t)).read_bytes() for t in tables]
    assert pages[0] == pages[1]
    one, other = (dict(t.all()) for t in tables)
    assert list(one) == list(other)
    assert all(table.equals(other[name]) for name, table in one.items())
    told = [summaries(t) for t in tables]
    assert list(told[0].items()) == list(told[1].items())


@pytest.mark.parametrize("seed", range(5))
def test_models_that_tie_but_for_the_last_digit(seed: int) -> None:
    # Numbers whose mean depends on their order, so that a tie falls either way.
    values = [1e15 / 3, 0.1, -1e15 / 3, 0.7, 1e8 / 7, -2e8 / 3, 0.9]
    of_model = {"a": values, "b": values[::-1], "c": sorted(values), "d": values[3:] + values[:3]}
    rows = [
        row(stage="rank", group="all", metric="ndcg", k=10, model=model, user=f"u{u}", value=v)
        for model, ordered in of_model.items()
        for u, v in enumerate(ordered)
    ]
    one = results_of(rows)
    other = Results(shuffled(one.frame, seed), METRICS, "random")
    assert ranking_table(one).equals(ranking_table(other))


#: numbers whose sum depends on their order in its last digits
NUMBERS = st.lists(st.floats(-1e3, 1e3).map(lambda x: x / 3), min_size=3, max_size=8)


@given(NUMBERS, st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_means_and_differences(values: list[float], random) -> None:
    """Several rows of one user and case, and aggregates without a user, in any order."""
    rows = []
    for explainer in ("a", "b"):
        about = explained("fidelity", "new", explainer, metric="deletion")
        rows += [row(**about, user="u", item="i", seed=s, value=v) for s, v in enumerate(values)]
        rows += [row(**about, user="u", item=f"i{s}", value=-v) for s, v in enumerate(values)]
        rows += [row(**about, user="u", item="twice", value=v) for v in values]
        rows += [row(**about, seed=s, value=v) for s, v in enumerate(values)]
    again = random.sample(rows, len(rows))
    one, other = (results_of(r).frame for r in (rows, again))
    assert summarise(one, ["explainer"]).equals(summarise(other, ["explainer"]))
    for unit in (["user"], ["user", "item"]):
        pairs = [paired_differences(f, "explainer", "a", "b", unit) for f in (one, other)]
        assert pairs[0].equals(pairs[1])
