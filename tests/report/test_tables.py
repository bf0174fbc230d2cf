"""Tables against numbers worked out by hand from tiny results, and against numpy on the fake run."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.report import synthetic
from tests.report.synthetic import explained, results_of, row
from xrec.report.errors import ReportError
from xrec.report.fidelity import CaseGroup, left_out_words
from xrec.report.tables import (
    components_table,
    cost_table,
    data_card_table,
    data_facts_table,
    fidelity_table,
    front_table,
    learned_table,
    main_model,
    ranking_table,
)
from xrec.rundir.study import read_study
from xrec.rundir.table import Results
from xrec.stats.bootstrap import bootstrap_mean, generator_for
from xrec.stats.paired import holm, wilcoxon_p

NEW = CaseGroup("new")


def cell(table: pl.DataFrame, name: str, column: str, block: str | None = None) -> dict[str, Any]:
    """The one cell of a row and column."""
    found = table.filter((pl.col("name").fill_null(pl.col("row")) == name) & (pl.col("column") == column))
    found = found if block is None else found.filter(pl.col("block") == block)
    assert found.height == 1, found
    return found.row(0, named=True)


def values(results: Results, **where: Any) -> np.ndarray:
    """Values of the rows that match, sorted by user and item."""
    frame = results.frame
    for column, value in where.items():
        frame = frame.filter(pl.col(column).is_null() if value is None else pl.col(column) == value)
    return frame.filter(pl.col("user").is_not_null()).sort("user", "item")["value"].to_numpy()


def fidelity(
    explainer: str, user: str, item: str, value: float, metric: str = "deletion", **more: Any
) -> dict[str, Any]:
    about = explained("fidelity", "new", explainer) | {"user": user, "item": item, "metric": metric, "value": value}
    return row(**about | more)


def ranking(model: str, user: str, value: float, **more: Any) -> dict[str, Any]:
    shared = {"stage": "rank", "group": "all", "metric": "ndcg", "k": 10}
    return row(**shared | {"model": model, "user": user, "value": value} | more)


class TestRanking:
    def test_means_and_intervals(self, results: Results) -> None:
        table = ranking_table(results)
        for group, block in (("all", "All targets"), ("new", "New targets")):
            for model in synthetic.MODELS:
                got = cell(table, model, "NDCG@10", block)
                own = values(
                    results, stage="rank", part="test", group=group, model=model, component=None, metric="ndcg", k=10
                )
                assert got["value"] == pytest.approx(own.mean())
                interval = bootstrap_mean(own, np.random.default_rng(99), n_resamples=20_000)
                np.testing.assert_allclose([got["low"], got["high"]], [interval.low, interval.high], atol=0.02)
                assert got["low"] < got["value"] < got["high"]
                assert got["n_users"] == len(own) == (30 if group == "all" else 28)

    def test_main_minus_baseline_and_holm(self, results: Results) -> None:
        table = ranking_table(results)
        baselines = [name for name in synthetic.MODELS if name != "composed"]
        shared = {"stage": "rank", "part": "test", "group": "new", "metric": "ndcg", "k": 10}
        own = values(results, model="composed", component=None, **shared)
        differences = [own - values(results, model=name, **shared) for name in baselines]
        corrected = holm([wilcoxon_p(d) for d in differences])
        for name, difference, p in zip(baselines, differences, corrected, strict=True):
            got = cell(table, name, "composed minus this, NDCG@10", "New targets")
            assert got["value"] == pytest.approx(difference.mean())
            assert got["low"] < difference.mean() < got["high"]
            assert got["p"] == cell(table, name, "p (Holm)", "New targets")["value"] == pytest.approx(p)

    def test_paired_interval_is_that_of_the_differences(self) -> None:
        """Users differ wildly, models by exactly .1: the paired interval has no width."""
        rows = []
        for u in range(12):
            rows += [ranking("composed", f"u{u}", 0.05 * u + 0.1), ranking("ease", f"u{u}", 0.05 * u)]
        got = cell(ranking_table(results_of(rows)), "ease", "composed minus this, NDCG@10")
        np.testing.assert_allclose([got["value"], got["low"], got["high"]], 0.1, atol=1e-12)
        assert got["p"] == pytest.approx(2 / 2**12)

    def test_order_aggregates_ablations_and_best(self, results: Results) -> None:
        table = ranking_table(results)
        block = table.filter(pl.col("block") == "All targets")
        assert block["row"].unique(maintain_order=True).to_list() == [
            "composed",
            "personal frequency",
            "EASE",
            "popularity",
        ]
        assert cell(table, "ease", "Coverage@10", "All targets")["low"] is None
        leaders = block.filter(pl.col("best") & (pl.col("column") == "NDCG@10"))
        assert leaders["value"].to_list() == [block.filter(pl.col("column") == "NDCG@10")["value"].max()]
        assert not block.filter(pl.col("column") == "Gini")["best"].any(), "all alike: nobody leads"

    def test_caption_says_what_was_averaged(self, results: Results) -> None:
        caption = ranking_table(results)["caption"][0]
        for words in (
            "test part of toy",
            "30 users (all), 28 users (new)",
            "2,000 resamples",
            "Left out: 2 users without a new target",
        ):
            assert words in caption

    def test_seeds_are_averaged_within_users(self) -> None:
        rows = [ranking("composed", "a", v, seed=s) for s, v in ((0, 0.0), (1, 0.4), (2, 0.8))]
        rows += [ranking("composed", "b", 1.0, seed=s) for s in range(3)]
        table = ranking_table(results_of(rows))
        got = cell(table, "composed", "NDCG@10")
        assert (got["value"], got["n_users"]) == (pytest.approx(0.7), 2)
        assert "3 training seeds" in table["caption"][0]

    def test_part_is_chosen_or_refused(self, results: Results) -> None:
        validation = cell(ranking_table(results, part="validation"), "ease", "NDCG@10", "All targets")["value"]
        own = values(results, stage="rank", part="validation", group="all", model="ease", metric="ndcg", k=10)
        assert validation == pytest.approx(own.mean())
        only_validation = results.where(pl.col("part") == "validation")
        assert "validation part" in ranking_table(only_validation)["caption"][0]
        with pytest.raises(ReportError, match=r"part='tset' does not occur.*'test', 'validation'"):
            ranking_table(results, part="tset")

    def test_mixed_data_sets_are_refused(self) -> None:
        with pytest.raises(ReportError, match="mix data sets"):
            ranking_table(results_of([ranking("ease", "a", 1.0), ranking("ease", "a", 0.0, data="other")]))

    def test_the_model_that_was_explained_is_the_main_one(self) -> None:
        """Baselines are ranked and nothing else, whatever their names and wherever they stand."""
        rows = [ranking(model, u, 0.5) for model in ("a_baseline", "own", "z_baseline") for u in "abc"]
        for stage, metric in (("cost", "wall_seconds"), ("fidelity", "deletion"), ("fit", "epochs")):
            frame = results_of([*rows, row(model="own", stage=stage, metric=metric, value=1.0)])
            assert main_model(frame) == "own"
            assert ranking_table(frame)["row"][0] == "own"
        assert main_model(results_of(rows)) == "a_baseline", "by name, where nothing says more"
        assert main_model(results_of([*rows, ranking("composed", "a", 0.5)])) == "a_baseline"

    def test_a_single_model_needs_no_composed(self) -> None:
        frame = results_of([ranking("ease", u, 0.5) for u in "abc"])
        assert main_model(frame) == "ease"
        assert ranking_table(frame)["column"].to_list() == ["NDCG@10"]


class TestComponents:
    def test_lost_and_shares(self, results: Results) -> None:
        table = components_table(results)
        assert table["row"].unique(maintain_order=True).to_list() == ["repeat", "linear", "prior", "attention"]
        shared = {"stage": "rank", "part": "test", "group": "new", "metric": "ndcg", "k": 10}
        whole = values(results, model="composed", component=None, **shared)
        lost = {
            name: whole - values(results, model="composed", component=name, **shared) for name in synthetic.COMPONENTS
        }
        corrected = dict(zip(lost, holm([wilcoxon_p(d) for d in lost.values()]), strict=True))
        for part, difference in lost.items():
            got = cell(table, part, "NDCG@10 lost, new")
            assert got["value"] == pytest.approx(difference.mean())
            assert got["p"] == pytest.approx(corrected[part])
        share = values(results, stage="explain", component="linear", metric="component_share").mean()
        assert cell(table, "linear", "Share of score variance, new")["value"] == pytest.approx(share)

    def test_a_part_that_does_nothing(self, results: Results) -> None:
        got = cell(components_table(results), "attention", "NDCG@10 lost, all")
        assert (got["value"], got["low"], got["high"], got["p"]) == (0, 0, 0, 1)


class TestFidelity:
    def test_cases_of_a_user_are_averaged_first(self) -> None:
        rows = [fidelity("additive", "a", f"i{i}", 1.0) for i in range(9)] + [fidelity("additive", "b", "i", 0.0)]
        got = cell(fidelity_table(results_of(rows), NEW), "additive", "Deletion")
        assert (got["value"], got["n_users"], got["n_cases"]) == (0.5, 2, 10)

    def test_p_and_difference_by_hand(self) -> None:
        """Ten users, always .1 better than random but for ties: p = 2 / 2^10, Holm over two explainers."""
        rows = []
        for u in range(10):
            level = 0.3 + 0.01 * u
            rows += [
                fidelity("random", f"u{u}", "i", level),
                fidelity("additive", f"u{u}", "i", level - 0.1 - 0.01 * u),
            ]
            rows += [
                fidelity("attention", f"u{u}", "i", level + 0.1 + 0.01 * u),
                fidelity("popularity", f"u{u}", "i", level),
            ]
        table = fidelity_table(results_of(rows), NEW)
        single = 2 / 2**10
        good, bad, same = (cell(table, name, "Deletion") for name in ("additive", "attention", "popularity"))
        assert good["p"] == pytest.approx(3 * single)
        assert bad["p"] == pytest.approx(3 * single)
        assert same["p"] == 1.0
        assert good["difference"] == pytest.approx(-0.145)
        assert (good["mark"], bad["mark"], same["mark"]) == ("**", "††", "")
        assert cell(table, "random", "Deletion")["p"] is None

    def test_random_is_paired_case_by_case(self) -> None:
        """A case that random has no row for does not enter the test, whatever its value."""
        rows = [fidelity("random", f"u{u}", "i", 0.5) for u in range(6)]
        rows += [fidelity("additive", f"u{u}", "i", 0.5) for u in range(6)]
        rows += [fidelity("additive", f"u{u}", "other", 0.0) for u in range(6)]
        got = cell(fidelity_table(results_of(rows), NEW), "additive", "Deletion")
        assert (got["value"], got["difference"], got["p"]) == (0.25, 0.0, 1.0)

    def test_removal_gain_is_tested_against_none(self) -> None:
        rows = [fidelity("additive", f"u{u}", "i", 0.1 + 0.01 * u, metric="removal_gain") for u in range(8)]
        got = cell(fidelity_table(results_of(rows), NEW), "additive", "Removal gain")
        assert got["p"] == pytest.approx(2 / 2**8)
        assert got["difference"] == pytest.approx(0.135)

    def test_against_numpy_on_the_run(self, results: Results) -> None:
        table = fidelity_table(results, CaseGroup("repeat"), variants=(None, "discrete"), cost=False)
        where = {"stage": "fidelity", "group": "repeat", "metric": "pos_at_k", "k": 10, "variant": None}
        tested = [name for name in synthetic.EXPLAINERS if name != "random"]
        means = {
            name: values(results, explainer=name, **where).reshape(-1, 3).mean(axis=1) for name in synthetic.EXPLAINERS
        }
        corrected = holm([wilcoxon_p(means[name] - means["random"]) for name in tested])
        for name, p in zip(tested, corrected, strict=True):
            got = cell(table, name, "Pos@10")
            assert got["value"] == pytest.approx(means[name].mean())
            assert got["p"] == pytest.approx(p)
        assert cell(table, "additive", "Deletion, 3 players")["value"] == pytest.approx(
            values(
                results,
                explainer="additive",
                stage="fidelity",
                group="repeat",
                metric="deletion",
                variant="discrete",
                step=3.0,
            ).mean()
        )
        assert not any("curve" in column for column in table["column"].to_list())

    def test_controls_and_oracles_stand_apart_and_never_lead(self) -> None:
        rows = [
            fidelity(name, f"u{u}", "i", value + 0.001 * u, role=role)
            for name, role, value in (
                ("spinrec", "oracle", 0.0),
                ("random", "control", 0.1),
                ("popularity", "control", 0.05),
                ("good", "explainer", 0.2),
                ("better", "explainer", 0.15),
            )
            for u in range(6)
        ]
        table = fidelity_table(results_of(rows), NEW)
        assert table.select("block", "row").unique(maintain_order=True).rows() == [
            ("Explainers", "better"),
            ("Explainers", "good"),
            ("Controls", "popularity"),
            ("Controls", "random"),
            ("Oracles (chose their answer by the metric)", "spinrec"),
        ]
        assert table.filter(pl.col("best"))["row"].to_list() == ["better"]

    def test_higher_is_better_sorts_the_other_way(self) -> None:
        rows = [
            fidelity(n, f"u{u}", "i", v, metric="insertion") for n, v in (("low", 0.1), ("high", 0.9)) for u in range(3)
        ]
        table = fidelity_table(results_of(rows), NEW, metrics=("insertion",))
        assert table["row"].to_list() == ["high", "low"]
        assert table.filter(pl.col("best"))["row"].to_list() == ["high"]

    def test_settings_are_not_mixed(self) -> None:
        rows = [fidelity("additive", f"u{u}", "i", 0.2) for u in range(3)]
        rows += [fidelity("additive", f"u{u}", "i", 0.8, masker="popularity") for u in range(3)]
        rows += [fidelity("additive", f"u{u}", "i", 0.9, output="rank") for u in range(3)]
        rows += [fidelity("additive", f"u{u}", "i", 0.7, part="validation") for u in range(3)]
        frame = results_of(rows)
        assert cell(fidelity_table(frame, NEW), "additive", "Deletion")["value"] == pytest.approx(0.2)
        assert cell(fidelity_table(frame, NEW, masker="popularity"), "additive", "Deletion")["value"] == pytest.approx(
            0.8
        )
        assert cell(fidelity_table(frame, NEW, part="validation"), "additive", "Deletion")["value"] == pytest.approx(
            0.7
        )
        with pytest.raises(ReportError, match="masker='zeros' does not occur"):
            fidelity_table(frame, NEW, masker="zeros")

    def test_caption_and_cost(self, results: Results) -> None:
        table = fidelity_table(results, NEW)
        caption = table["caption"][0]
        for words in (
            "new cases of the test part of toy", "model composed", "players items", "masker zero", "output logit",
            "30 users, 90 cases", "2 cases from normalised figures", "3 cases at removals of 5 players", "Holm",
        ):  # fmt: skip
            assert words in caption
        assert cell(table, "additive", "Forwards")["value"] == pytest.approx(100 + 29 / 2)
        ms = values(results, stage="cost", explainer="additive", metric="milliseconds").mean()
        assert cell(table, "additive", "ms")["value"] == pytest.approx(ms)


def test_nothing_saved_gives_empty_tables() -> None:
    empty = results_of([])
    for table in (
        ranking_table(empty),
        components_table(empty),
        fidelity_table(empty, NEW),
        cost_table(empty),
        learned_table(empty),
        data_card_table({}),
    ):
        assert table.is_empty()


def test_cost_by_stage(results: Results) -> None:
    table = cost_table(results, threads=2)
    assert table["row"].unique(maintain_order=True).to_list() == [
        "fit",
        "rank",
        "explain",
        "fidelity",
        "total",
        "largest",
    ]
    assert cell(table, "total", "Wall, s")["value"] == pytest.approx(106.5)
    assert cell(table, "largest", "Peak memory, MB")["value"] == 1060
    assert "2 threads" in table["caption"][0]


def test_data_card() -> None:
    card = synthetic.data_card() | {"seeds": [1, 2], "ok": True}
    steps = data_card_table(card)
    assert cell(steps, "2. quantity", "Change")["value"] == -69_307
    facts = data_facts_table(card)
    assert cell(facts, "end", "Value", "Splits, train")["value"] == 43
    assert cell(facts, "test", "Value", "Splits")["text"] == "48-53"
    assert cell(facts, "users", "Value", "Sizes")["value"] == 2321
    assert cell(facts, "2", "Value", "Notes")["text"] == "second"
    assert cell(facts, "ok", "Value")["text"] == "True"
    assert cell(facts, "seeds", "Value", "")["text"] == "1, 2"


def test_numbers_of_a_card_have_one_format() -> None:
    """Counts whole and in thousands, shares with four digits, other measures with one."""
    facts = data_facts_table({"n_users": 2321, "n_events": 1_056_247, "density": 0.027, "all": 1.0, "mean": 1235.84})
    assert facts["row"].to_list() == ["users", "events", "density", "all", "mean"]
    shown = [format(v, form) for v, form in facts.select("value", "form").iter_rows()]
    assert shown == ["2,321", "1,056,247", "0.0270", "1.0000", "1,235.8"]


def test_rows_are_named_for_people_and_kept_as_the_results_name_them(results: Results) -> None:
    for table, name, words in (
        (fidelity_table(results, NEW), "permutation_shap", "permutation SHAP"),
        (ranking_table(results), "ease", "EASE"),
        (components_table(results), "prior", "prior"),
    ):
        assert set(table.filter(pl.col("name") == name)["row"].to_list()) == {words}
        assert table["name"].null_count() == table["group"].null_count() == 0


def test_front(study_directory: Any) -> None:
    table = front_table(read_study(study_directory))
    assert table["row"].unique(maintain_order=True).to_list() == ["trial 1", "trial 3", "trial 4"]
    assert cell(table, "trial 3", "validation NDCG@10 new")["best"]
    assert cell(table, "trial 1", "validation removal gain")["best"]
    assert cell(table, "trial 4", "loss.weights.kl")["value"] == pytest.approx(0.4)
    assert "5 finished trials; left out: 1 trial" in table["caption"][0]


def test_intervals_are_drawn_from_the_cells_name(results: Results) -> None:
    own = values(results, stage="rank", part="test", group="all", model="ease", metric="ndcg", k=10)
    of_model = results.frame.filter(
        (pl.col("model") == "ease") & (pl.col("group") == "all") & (pl.col("metric") == "ndcg")
    )
    assert len(own) == of_model["user"].n_unique()
    expected = bootstrap_mean(own, generator_for("mean", "ease", "ndcg", 10))
    got = cell(ranking_table(results), "ease", "NDCG@10", "All targets")
    assert (got["low"], got["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_what_is_left_out_is_named_and_zeros_are_not() -> None:
    columns = {"seed": 0, "fold": 0}

    def counts(*rows: tuple[str, float | None, float]) -> pl.DataFrame:
        schema = {"metric": pl.String, "step": pl.Float64, "value": pl.Float64, "seed": pl.Int64, "fold": pl.Int64}
        return pl.DataFrame([{"metric": m, "step": s, "value": v, **columns} for m, s, v in rows], schema=schema)

    assert left_out_words(counts()) == "Left out: not counted by this run"
    assert left_out_words(counts(("n_flagged", None, 0), ("n_left_out", 1, 0))) == "Left out: nothing"
    assert (
        left_out_words(counts(("n_left_out", 5, 3), ("n_left_out", 5, 3), ("n_left_out", 1, 0), ("n_flagged", None, 1)))
        == "Left out: 1 case from normalised figures (f(x) - f(empty) too small to normalise by); "
        "3 cases at removals of 5 players"
    )
