"""Tables and figure over seeds against numbers worked out by hand: two arms, three seeds, four users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.report.geometry import assert_words_have_room
from tests.seed_runs import GAINS, MORE, TARGET, USERS, config, toy_ndcg, write_multirun, write_run
from xrec.report.cells import CELL_SCHEMA, caption_of
from xrec.report.errors import ReportError
from xrec.report.fidelity import CaseGroup, fidelity_table
from xrec.report.render import to_html, to_latex, to_markdown, to_rich
from xrec.report.repeats import contrast, estimate, shared_units
from xrec.report.seeds import ranking_over_seeds, seeds_tables
from xrec.report.seeds_fidelity import fidelity_between_arms, fidelity_over_seeds
from xrec.report.seeds_figure import seeds_figure
from xrec.report.tables import ranking_table
from xrec.rundir.saved import SavedRun
from xrec.rundir.several import Several, read_several
from xrec.stats.bootstrap import generator_for
from xrec.stats.crossed import crossed_mean

NEW = CaseGroup("new")
A, B = "attention=target", "attention=mean"
#: eight users, each of whom the explainer gains something: p = 2 / 2^8
EIGHT = {f"{user}/1": 0.1 + 0.01 * number for number, user in enumerate("abcdefgh")}


@pytest.fixture(scope="module")
def multirun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_multirun(tmp_path_factory.mktemp("seeds") / "multirun")


@pytest.fixture(scope="module")
def several(multirun: Path) -> Several:
    return read_several([multirun])


@pytest.fixture(scope="module")
def ranking(several: Several) -> pl.DataFrame:
    return ranking_over_seeds(several)


def cell(table: pl.DataFrame, block: str, row: str, column: str) -> dict[str, Any]:
    """The one cell there."""
    found = table.filter((pl.col("block") == block) & (pl.col("row") == row) & (pl.col("column") == column))
    assert found.height == 1, table.select("block", "row", "column").rows()
    return found.row(0, named=True)


def blocks(table: pl.DataFrame) -> list[str]:
    return table["block"].unique(maintain_order=True).to_list()


def rows_of(values: Mapping[int, Mapping[str, float]]) -> pl.DataFrame:
    """Rows of one column: repetition -> 'user' or 'user/item' -> value."""
    found = [
        {"repetition": seed, "user": case.partition("/")[0], "item": case.partition("/")[2] or None, "value": value}
        for seed, of_seed in values.items()
        for case, value in of_seed.items()
    ]
    schema = {"repetition": pl.Int64, "user": pl.String, "item": pl.String, "value": pl.Float64}
    return pl.DataFrame(found, schema=schema)


class TestRanking:
    def test_means_and_spreads_of_seeds(self, ranking: pl.DataFrame) -> None:
        """Target: .25, .28, .31 by seed; mean: .30, .38, .26."""
        assert cell(ranking, "All targets", A, "NDCG@10")["value"] == pytest.approx(0.28)
        assert cell(ranking, "All targets, SD over seeds", A, "NDCG@10")["value"] == pytest.approx(0.03)
        assert cell(ranking, "All targets", B, "NDCG@10")["value"] == pytest.approx(0.94 / 3)
        own = np.std([0.30, 0.38, 0.26], ddof=1)
        assert cell(ranking, "All targets, SD over seeds", B, "NDCG@10")["value"] == pytest.approx(own)
        assert cell(ranking, "All targets", A, "Recall@10")["value"] == pytest.approx(0.38)
        assert cell(ranking, "New targets", A, "NDCG@10")["value"] == pytest.approx(0.23)

    def test_the_interval_is_over_users_and_seeds(self, ranking: pl.DataFrame) -> None:
        got = cell(ranking, "All targets", A, "NDCG@10")
        want = crossed_mean([TARGET[seed] for seed in range(3)], generator_for("mean", "composed", "ndcg", 10))
        assert (got["low"], got["high"]) == (pytest.approx(want.low), pytest.approx(want.high))
        assert (got["n_users"], got["n_cases"]) == (4, None)
        assert (got["name"], got["group"]) == ("composed", "all")

    def test_differences_are_paired_by_user_and_seed(self, ranking: pl.DataFrame) -> None:
        """By seed +.05, +.1, -.05: mean .1 / 3, ahead at two of three."""
        got = cell(ranking, f"All targets, minus {A}", B, "NDCG@10")
        assert got["value"] == got["difference"] == pytest.approx(0.1 / 3)
        key = ("difference", "ranking", "all", "ndcg", 10)
        want = crossed_mean([MORE[seed] for seed in range(3)], generator_for(*key))
        assert (got["low"], got["high"]) == (pytest.approx(want.low), pytest.approx(want.high))
        assert got["form"] == "+.4f"
        assert cell(ranking, "All targets, seeds ahead", B, "NDCG@10")["value"] == 2
        assert A not in ranking.filter(pl.col("block").str.contains("minus"))["row"].to_list()

    def test_one_test_is_corrected_for_nothing_and_two_of_a_family_for_two(
        self, ranking: pl.DataFrame, several: Several
    ) -> None:
        """By user .0667, 0, 0, .0667: two signs, p = 2 / 4, of NDCG@10 and of Recall@10 alike."""
        alone = ranking_over_seeds(several, ["ndcg"])
        assert cell(alone, "All targets, p (Holm)", B, "NDCG@10")["value"] == pytest.approx(0.5)
        for column in ("NDCG@10", "Recall@10"):
            got = cell(ranking, "All targets, p (Holm)", B, column)
            assert (got["value"], got["form"]) == (pytest.approx(1.0), "p")

    def test_marks_of_what_is_sure(self, tmp_path: Path) -> None:
        """Eight users, each a little better in `mean`: p = 2 / 2^8, of two metrics twice that, still below .05."""
        for seed in (0, 1):
            for number, attention in enumerate(("target", "mean")):
                values = {user: 0.1 + 0.02 * number + 0.001 * i for i, user in enumerate("abcdefgh")}
                write_run(tmp_path / f"{2 * seed + number}", config(seed, attention), values)
        several = read_several([tmp_path])
        table = ranking_over_seeds(several)
        got = cell(table, "All targets", B, "NDCG@10")
        assert (got["mark"], got["p"], got["best"]) == ("*", pytest.approx(4 / 2**8), False)
        assert cell(table, f"All targets, minus {A}", B, "NDCG@10")["mark"] == "*"
        assert cell(table, "All targets", A, "NDCG@10")["mark"] == ""
        again = ranking_over_seeds(several.with_reference(B))
        assert cell(again, "All targets", A, "NDCG@10")["mark"] == "†"

    def test_baselines_stand_there_once_and_untested(self, ranking: pl.DataFrame) -> None:
        got = cell(ranking, "All targets", "EASE", "NDCG@10")
        assert [got[name] for name in ("value", "low", "high")] == [pytest.approx(0.2)] * 3
        assert got["p"] is None
        in_blocks = ranking.filter(pl.col("row") == "EASE")["block"].unique(maintain_order=True).to_list()
        assert in_blocks == ["All targets", "New targets"]
        assert "Baselines, not tested here: EASE." in caption_of(ranking)

    def test_baselines_that_differ_between_arms_stand_there_for_each(self, tmp_path: Path) -> None:
        write_run(tmp_path / "0", config(0), baseline=0.2)
        write_run(tmp_path / "1", config(0, "mean"), baseline=0.3)
        table = ranking_over_seeds(read_several([tmp_path]))
        assert cell(table, "All targets", f"EASE ({A})", "NDCG@10")["value"] == pytest.approx(0.2)
        assert cell(table, "All targets", f"EASE ({B})", "NDCG@10")["value"] == pytest.approx(0.3)

    def test_an_arm_called_like_a_baseline(self, multirun: Path) -> None:
        table = ranking_over_seeds(read_several([multirun], ["EASE", "other"]))
        assert cell(table, "All targets", "EASE", "NDCG@10")["value"] == pytest.approx(0.28)
        assert cell(table, "All targets", "EASE (baseline)", "NDCG@10")["value"] == pytest.approx(0.2)

    def test_aggregates_have_a_spread_and_neither_interval_nor_test(self, several: Several) -> None:
        table = ranking_over_seeds(several, ["gini"])
        got = cell(table, "All targets", A, "Gini@10")
        assert (got["value"], got["low"], got["n_users"]) == (pytest.approx(0.6), None, None)
        assert cell(table, "All targets, SD over seeds", A, "Gini@10")["value"] == pytest.approx(0.1)
        assert blocks(table)[:2] == ["All targets", "All targets, SD over seeds"]
        assert not table["p"].is_not_null().any()

    def test_block_after_block(self, ranking: pl.DataFrame) -> None:
        kinds = ["", ", SD over seeds", f", minus {A}", ", p (Holm)", ", seeds ahead"]
        assert blocks(ranking) == [f"{group} targets{kind}" for group in ("All", "New") for kind in kinds]
        assert ranking.schema == pl.Schema(CELL_SCHEMA)

    def test_the_caption_says_what_was_done(self, ranking: pl.DataFrame) -> None:
        for words in (
            "test part of toy (split temporal)", "4 users (all), 3 users (new)",
            f"Arms {A}, {B}, each at seeds 0, 1, 2.", "The arms differ in model.attention.",
            "95% interval over users and seeds", f"* better than {A}", "ahead (of 3)",
        ):  # fmt: skip
            assert words in caption_of(ranking)
        assert "Left out" not in caption_of(ranking)

    def test_numbers_do_not_depend_on_the_order_of_the_runs(self, multirun: Path, ranking: pl.DataFrame) -> None:
        again = read_several([multirun / n for n in "531420"]).with_reference(A)
        assert ranking_over_seeds(again).equals(ranking)

    def test_an_arm_that_was_not_ranked_on_the_part_is_named(self, tmp_path: Path) -> None:
        write_run(tmp_path / "0", config(0))
        write_run(tmp_path / "1", config(0, "mean"), part="validation")
        table = ranking_over_seeds(read_several([tmp_path]))
        assert f"Not ranked on this part: {B}." in caption_of(table)
        assert B not in table["row"].to_list()
        with pytest.raises(ReportError, match="part='tset' does not occur"):
            ranking_over_seeds(read_several([tmp_path]), part="tset")


class TestOneSeed:
    def test_the_same_numbers_as_in_the_runs_own_table(self, multirun: Path) -> None:
        table = ranking_over_seeds(read_several([multirun / "0", multirun / "1"]))
        own = ranking_table(SavedRun(multirun / "0").results)
        got, want = (cell(t, "All targets", row, "NDCG@10") for t, row in ((table, A), (own, "composed")))
        assert [got[x] for x in ("value", "low", "high")] == [pytest.approx(want[x]) for x in ("value", "low", "high")]

    def test_no_spread_and_no_count_of_seeds(self, multirun: Path) -> None:
        table = ranking_over_seeds(read_several([multirun / "0", multirun / "1"]))
        assert blocks(table)[:3] == ["All targets", f"All targets, minus {A}", "All targets, p (Holm)"]
        assert f"Arms {A}, {B}, each at seed 0." in caption_of(table)
        assert "percentile bootstrap interval, 2,000 resamples of users" in caption_of(table)
        assert "ahead" not in caption_of(table)

    def test_a_single_arm_has_nothing_to_compare(self, multirun: Path) -> None:
        several = read_several([multirun / "0", multirun / "2"])
        table = ranking_over_seeds(several)
        assert blocks(table)[:2] == ["All targets", "All targets, SD over seeds"]
        assert "Runs of composed, seeds 0, 1." in caption_of(table)
        assert "better than" not in caption_of(table)
        assert fidelity_between_arms(several, NEW).is_empty()
        assert blocks(fidelity_over_seeds(several, NEW))[0] == "Explainers", "no arm's name before it"


class TestOtherSeeds:
    def test_arms_without_a_common_seed_are_paired_by_users_means(self, multirun: Path) -> None:
        """Target at seeds 0 and 1, mean at 2 only: by user .06 - .015, ... less .1, .1, 0, 0."""
        table = ranking_over_seeds(read_several([multirun / n for n in "025"]))
        got = cell(table, f"All targets, minus {A}", B, "NDCG@10")
        differences = [0.045 + MORE[2][i] for i in range(4)]
        assert got["value"] == pytest.approx(np.mean(differences))
        assert (got["low"], got["high"]) == (None, None)
        assert not any("ahead" in block for block in blocks(table))
        assert f"Arms {A} (seeds 0, 1); {B} (seed 2)." in caption_of(table)
        assert f"No seed in common with {A}: {B}; tests pair the users' means over seeds" in caption_of(table)

    def test_arms_that_share_some_seeds_are_paired_there(self, multirun: Path) -> None:
        table = ranking_over_seeds(read_several([multirun / n for n in "02435"]))
        got = cell(table, f"All targets, minus {A}", B, "NDCG@10")
        assert got["value"] == pytest.approx((0.1 - 0.05) / 2)
        assert cell(table, "All targets, seeds ahead", B, "NDCG@10")["value"] == 1
        assert "Arms are paired at the seeds that both have." in caption_of(table)

    def test_folds_are_repetitions_of_other_users(self, tmp_path: Path) -> None:
        for fold in (0, 1):
            values = {f"{user}{fold}": 0.1 + 0.2 * fold for user in USERS}
            write_run(tmp_path / f"{fold}", config(0, split__fold=fold), values, data=str(fold))
        table = ranking_over_seeds(read_several([tmp_path]))
        got = cell(table, "All targets", "composed", "NDCG@10")
        assert (got["value"], got["n_users"]) == (pytest.approx(0.2), 8)
        assert "All targets, SD over repetitions" in blocks(table)
        assert "Runs of composed, 2 repetitions: fold 0; fold 1." in caption_of(table)

    def test_unfinished_runs_are_counted(self, tmp_path: Path) -> None:
        write_multirun(tmp_path, seeds=(0,))
        write_run(tmp_path / "2", config(1), stages=("fit", "rank"))
        table = ranking_over_seeds(read_several([tmp_path]))
        assert "Left out: 1 unfinished run (2)." in caption_of(table)


class TestFidelity:
    def test_users_first_then_seeds(self, several: Several) -> None:
        """Gains: a .3 (of two cases), b .5: .4. Deletion 2 * (1 - .4), of random 2."""
        table = fidelity_over_seeds(several, NEW)
        got = cell(table, f"{A}: Explainers", "exact", "Removal gain")
        assert (got["value"], got["n_users"], got["n_cases"]) == (pytest.approx(0.4), 2, 9)
        assert (got["name"], got["group"]) == ("exact", "new")
        got = cell(table, f"{A}: Explainers", "exact", "Deletion")
        assert (got["value"], got["difference"]) == (pytest.approx(1.2), pytest.approx(-0.8))
        assert cell(table, f"{A}: Controls", "random", "Deletion")["value"] == pytest.approx(2.0)
        assert cell(table, f"{A}: SD over seeds", "exact", "Deletion")["value"] == pytest.approx(0, abs=1e-12)
        assert cell(table, f"{A}: seeds ahead", "exact", "Deletion")["value"] == 3, "lower is better"
        assert table["variant"].null_count() == table.height, "plain metrics only"
        assert "2 users, 9 cases. Left out: nothing." in caption_of(table)

    def test_tests_against_the_reference_in_one_family(self, tmp_path: Path) -> None:
        """Deletion and gain of eight users: p = 2 / 2^8 each, twice that for two tests of one family."""
        several = read_several([write_multirun(tmp_path, seeds=(0, 1), gains=EIGHT)])
        table = fidelity_over_seeds(several, NEW)
        for column in ("Deletion", "Removal gain"):
            got = cell(table, f"{B}: Explainers", "exact", column)
            assert (got["p"], got["mark"]) == (pytest.approx(4 / 2**8), "*")
        assert cell(table, f"{B}: Controls", "random", "Deletion")["p"] is None
        assert "* better than random" in caption_of(table)

    def test_an_arm_of_one_seed_has_its_runs_own_table(self, multirun: Path) -> None:
        table = fidelity_over_seeds(read_several([multirun / "0", multirun / "1"]), NEW)
        own = fidelity_table(SavedRun(multirun / "0").results, NEW, ["deletion"], cost=False)
        got, want = (
            cell(t, block, "exact", "Deletion") for t, block in ((table, f"{A}: Explainers"), (own, "Explainers"))
        )
        names = ("value", "low", "high", "n_users", "n_cases")
        assert [got[x] for x in names] == [pytest.approx(want[x]) for x in names]
        assert not any("seeds" in block for block in blocks(table))

    def test_a_case_that_one_side_left_out_pairs_with_nothing(self, tmp_path: Path) -> None:
        """Random deletes 5 in a/1 and 2 in a/2, the explainer was measured in a/2 only: -.8 of user a, -1 of b."""
        several = read_several([write_multirun(tmp_path, seeds=(0,), left_out=["a/1"])])
        got = cell(fidelity_over_seeds(several, NEW), f"{A}: Explainers", "exact", "Deletion")
        assert got["difference"] == pytest.approx((-0.8 - 1.0) / 2)

    def test_explainers_best_first_then_controls(self, tmp_path: Path) -> None:
        several = read_several([write_multirun(tmp_path, seeds=(0,), others={"a_worse": 0.5, "z_better": 1.5})])
        of_arm = fidelity_over_seeds(several, NEW).filter(pl.col("block").str.starts_with(B))
        assert of_arm["row"].unique(maintain_order=True).to_list() == ["z better", "exact", "a worse", "random"]
        best = of_arm.filter(pl.col("best"))
        assert best.select("row", "column").rows() == [("z better", "Deletion"), ("z better", "Removal gain")]

    def test_a_metric_that_is_normalised_only(self, several: Several) -> None:
        assert fidelity_over_seeds(several, NEW, ["share"]).is_empty()
        table = fidelity_between_arms(several, NEW, ["share"])
        assert cell(table, f"{B} minus {A}", "exact", "Share, normalised")["value"] == pytest.approx(0)

    def test_cases_of_a_group_of_their_own(self, several: Several) -> None:
        assert fidelity_over_seeds(several, CaseGroup("new", few=True)).is_empty()
        assert fidelity_between_arms(several, CaseGroup("repeat")).is_empty()


class TestBetweenArms:
    def write(self, folder: Path, more: float, gains: Mapping[str, float] = GAINS, **other: Any) -> Several:
        """Two seeds; in arm `mean` every gain is larger by `more`, and `gains` are its cases."""
        for seed in (0, 1):
            write_run(folder / f"{2 * seed}", config(seed), gains=GAINS)
            own = {case: gain + more for case, gain in gains.items()}
            write_run(folder / f"{2 * seed + 1}", config(seed, "mean", **other), toy_ndcg(seed, "mean"), gains=own)
        return read_several([folder])

    def test_the_same_explainer_paired_by_user_normalised(self, tmp_path: Path) -> None:
        table = fidelity_between_arms(self.write(tmp_path, 0.1), NEW)
        assert blocks(table) == [f"{B} minus {A}", f"{B}: p (Holm)", f"{B}: seeds ahead"]
        got = cell(table, f"{B} minus {A}", "exact", "Deletion, normalised")
        assert (got["value"], got["n_users"]) == (pytest.approx(-0.1), 2)
        assert cell(table, f"{B} minus {A}", "exact", "Removal gain")["value"] == pytest.approx(0.1)
        assert cell(table, f"{B} minus {A}", "random", "Deletion, normalised")["value"] == pytest.approx(0)
        assert cell(table, f"{B}: seeds ahead", "exact", "Deletion, normalised")["value"] == 2
        assert cell(table, f"{B}: seeds ahead", "random", "Deletion, normalised")["value"] == 0
        assert "Deletion" not in table["column"].to_list(), "scores of two models have no common scale"
        assert f"{B} and {A} share 6 of 6 cases (100%) and 4 of 4 users, counted at each seed." in caption_of(table)

    def test_p_is_corrected_over_explainers_and_metrics(self, tmp_path: Path) -> None:
        """Two users: p = .5 of Deletion and of the gain; random does not differ, p = 1. One family of three."""
        table = fidelity_between_arms(self.write(tmp_path, 0.1), NEW)
        assert cell(table, f"{B}: p (Holm)", "exact", "Removal gain")["value"] == pytest.approx(1.0)
        alone = fidelity_between_arms(read_several([tmp_path]), NEW, ["removal_gain"])
        assert cell(alone, f"{B}: p (Holm)", "exact", "Removal gain")["value"] == pytest.approx(0.5)

    def test_other_items_of_the_same_users_pair_by_user(self, tmp_path: Path) -> None:
        """User a has another second item in the arm; its mean is what is paired. User c is in one arm only."""
        several = self.write(tmp_path, 0.0, {"a/1": 0.2, "a/9": 0.8, "b/1": 0.5, "c/1": 9.0})
        table = fidelity_between_arms(several, NEW)
        got = cell(table, f"{B} minus {A}", "exact", "Removal gain")
        assert (got["value"], got["n_users"]) == (pytest.approx((0.5 - 0.3) / 2), 2)
        assert f"{B} and {A} share 4 of 10 cases (40%) and 4 of 6 users" in caption_of(table)

    def test_no_common_case_is_refused_by_name(self, tmp_path: Path) -> None:
        several = self.write(tmp_path, 0.0, {"a/7": 0.2, "b/8": 0.5})
        assert fidelity_between_arms(several, NEW).is_empty()
        for seed in (0, 1):
            third = config(seed, "other")
            write_run(tmp_path / f"{4 + seed}", third, gains=GAINS)
        caption = caption_of(fidelity_between_arms(read_several([tmp_path]), NEW))
        assert f"Not tested: {B} (it shares no case with {A})." in caption

    def test_another_masker_is_refused_by_name(self, tmp_path: Path) -> None:
        several = self.write(tmp_path, 0.0, masker__name="popularity")
        names = [arm.name for arm in several.arms]
        write_run(tmp_path / "4", config(0, "other"), gains=GAINS)
        table = fidelity_between_arms(read_several([tmp_path]), NEW)
        assert f"Not tested: masker=popularity, {B} (its masker is popularity and not zero)." in caption_of(table)
        both = caption_of(fidelity_over_seeds(several, NEW))
        assert f"{names[0]}: players items, masker zero, output logit; {names[1]}: players items, masker pop" in both

    def test_an_arm_that_explained_nothing_is_named(self, tmp_path: Path) -> None:
        self.write(tmp_path, 0.0)
        write_run(tmp_path / "4", config(0, "other", stages=["fit", "rank"]), stages=("fit", "rank"))
        several = read_several([tmp_path])
        assert "Without such cases: attention=other." in caption_of(fidelity_over_seeds(several, NEW))
        caption = caption_of(fidelity_between_arms(several, NEW))
        assert "Not tested: attention=other (it measured nothing on such cases)." in caption
        of_other = several.with_reference("attention=other")
        assert fidelity_between_arms(of_other, NEW).is_empty()


class TestComputed:
    def test_seeds_weigh_alike_whatever_they_hold(self) -> None:
        found = estimate(rows_of({0: {"a": 1.0}, 1: {"a": 2.0, "b": 4.0, "c": 6.0}}), "x")
        assert (found.value, found.by_repetition, found.n_users) == (2.5, {0: 1.0, 1: 4.0}, 3)
        assert found.spread == pytest.approx(np.std([1, 4], ddof=1))

    @pytest.mark.parametrize(("better", "ahead"), [("higher", 2), ("lower", 1), ("", None)])
    def test_ahead_is_by_direction_and_a_tie_is_not(self, better: str, ahead: int | None) -> None:
        first = rows_of({0: {"a": 1.0}, 1: {"a": 2.0}, 2: {"a": 0.0}, 3: {"a": 0.1 + 0.2}})
        second = rows_of({0: {"a": 0.0}, 1: {"a": 0.0}, 2: {"a": 5.0}, 3: {"a": 0.3}})
        found = contrast(first, second, ["user"], better, "x")
        assert found is not None
        assert found.ahead == ahead

    def test_pairs_by_case_are_averaged_within_users(self) -> None:
        """Case a/1 is there on both sides, a/2 on one only."""
        first, second = rows_of({0: {"a/1": 1.0, "a/2": 9.0, "b/1": 3.0}}), rows_of({0: {"a/1": 0.5, "b/1": 1.0}})
        by_case = contrast(first, second, ["user", "item"], "higher", "x")
        by_user = contrast(first, second, ["user"], "higher", "x")
        assert by_case is not None
        assert by_user is not None
        assert (by_case.estimate.value, by_case.estimate.n_cases) == (1.25, 2)
        assert (by_user.estimate.value, by_user.estimate.n_cases) == ((4.5 + 2) / 2, None)
        assert contrast(first, rows_of({0: {"z/1": 1.0}}), ["user"], "higher", "x") is None

    def test_ranks_may_point_elsewhere_than_the_mean(self) -> None:
        """Fourteen users gain a little, one loses a lot: the test says higher, the mean lower."""
        users = [f"u{i:02}" for i in range(15)]
        first = rows_of({0: {u: 0.1 + 0.001 * i for i, u in enumerate(users[:14])} | {users[14]: -5.0}})
        found = contrast(first, rows_of({0: dict.fromkeys(users, 0.0)}), ["user"], "higher", "x")
        assert found is not None
        assert found.p < 0.01
        assert found.estimate.value < 0 < found.rank
        from xrec.report.arm_cells import mean_cell

        shared = {"better": "higher", "form": ".3f"}
        assert mean_cell(shared, found.estimate, (found, found.p))["mark"] == ""

    def test_shared_units_are_counted_by_seed_or_over_all_of_them(self) -> None:
        first, second = rows_of({0: {"a/1": 1.0, "a/2": 1.0}}), rows_of({0: {"a/1": 1.0}, 1: {"a/2": 1.0}})
        assert shared_units(first, second, ["user", "item"]) == (1, 3)
        assert shared_units(first, rows_of({1: {"a/2": 1.0, "b/1": 1.0}}), ["user", "item"]) == (1, 3)


class TestAll:
    def test_names(self, several: Several) -> None:
        assert list(seeds_tables(several)) == [
            "seeds_ranking", "seeds_fidelity_new", "seeds_fidelity_new_between_arms",
        ]  # fmt: skip

    def test_nothing_to_show_is_said(self, tmp_path: Path) -> None:
        run = write_run(tmp_path / "x", config(0, stages=["fit"]), stages=("fit",))
        with pytest.raises(ReportError, match="nothing was ranked or explained in .*x: run the stages rank, explain"):
            seeds_tables(read_several([run]))
        assert seeds_figure(read_several([run])) is None

    def test_four_faces(self, several: Several) -> None:
        for name, table in seeds_tables(several).items():
            assert B in to_markdown(table)
            assert A in to_rich(table, name, width=120).plain
            assert A in to_html(table)
            assert rf"\label{{tab:{name.replace('_', '-')}}}" in to_latex(table, name=name)


class TestFigure:
    def test_a_dot_a_seed_their_mean_and_its_interval(self, several: Several, ranking: pl.DataFrame) -> None:
        figure = seeds_figure(several)
        assert figure is not None
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        assert titles == ["NDCG@10, all targets", "NDCG@10, new targets", "Removal gain, new\nexact"]
        lines = [line.get_xdata() for line in figure.axes[0].get_lines()]
        got = cell(ranking, "All targets", A, "NDCG@10")
        assert [got["low"], got["high"]] in [list(x) for x in lines]
        assert any(list(x) == [got["value"]] for x in lines)
        assert any(np.allclose(x, [0.25, 0.28, 0.31]) for x in lines if len(x) == 3)
        assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [A, B]
        assert [axes.get_xlabel() for axes in figure.axes] == ["NDCG@10", "NDCG@10", "share of f(x) − f(empty)"]
        assert_words_have_room(figure)

    def test_long_names_of_arms_have_room(self, several: Several) -> None:
        long = "model.attention=target, loss.weights.adversarial=0.1, " + "x" * 50
        arms = tuple(replace(arm, name=long) if arm.name == A else arm for arm in several.arms)
        figure = seeds_figure(replace(several, arms=arms))
        assert figure is not None
        assert_words_have_room(figure)

    def test_one_seed_has_no_dots_beside_its_mean(self, multirun: Path) -> None:
        figure = seeds_figure(read_several([multirun / "0", multirun / "1"]))
        assert figure is not None
        markers = [line.get_markersize() for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
        assert markers == [4.5, 4.5]
