"""Several runs in arms: which belong together, what they are called, what is refused, what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.seed_runs import USERS, config, toy_ndcg, write_multirun, write_run
from xrec.errors import RunError
from xrec.rundir.arms import Repetition, arm_names, differing, settings_of, split_data
from xrec.rundir.several import is_multirun, read_several


@pytest.fixture(scope="module")
def multirun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_multirun(tmp_path_factory.mktemp("several") / "multirun")


def pair(folder: Path, first: dict[str, Any], second: dict[str, Any], **second_run: Any) -> list[Path]:
    return [write_run(folder / "x", first), write_run(folder / "y", second, **second_run)]


class TestArms:
    def test_runs_that_differ_in_their_seed_are_an_arm(self, multirun: Path) -> None:
        several = read_several([multirun])
        assert {arm.name: [path.name for path in arm.runs.values()] for arm in several.arms} == {
            "attention=target": ["0", "2", "4"],
            "attention=mean": ["1", "3", "5"],
        }
        assert [list(arm.runs) for arm in several.arms] == [[Repetition(0), Repetition(1), Repetition(2)]] * 2
        assert several.repetition_words(several.arms[1]) == ["seed 0", "seed 1", "seed 2"]
        assert (several.differing, several.unit, several.unfinished) == (("model.attention",), "seed", {})

    def test_arms_stand_as_given_seeds_sorted(self, multirun: Path) -> None:
        several = read_several([multirun / n for n in "5410"])
        assert [arm.name for arm in several.arms] == ["attention=mean", "attention=target"]
        assert [path.name for path in several.arms[0].runs.values()] == ["1", "5"]

    def test_a_single_arm_has_the_name_of_its_model(self, multirun: Path) -> None:
        assert [arm.name for arm in read_several([multirun / "0", multirun / "2"]).arms] == ["composed"]

    @pytest.mark.parametrize(
        "irrelevant",
        [
            {"threads": 2}, {"paths__runs": "elsewhere"}, {"device": "cuda"}, {"tracking___target_": "wandb"},
            {"from_run": "x"}, {"experiment": {"name": "e"}}, {"objectives": ["o"]}, {"training__log_every": 9},
            {"data__source__path": "copy"}, {"stages": ["rank"]},
        ],
    )  # fmt: skip
    def test_what_changes_no_number_tells_no_arms_apart(self, irrelevant: dict[str, Any], tmp_path: Path) -> None:
        assert len(read_several(pair(tmp_path, config(0), config(1, **irrelevant))).arms) == 1

    def test_one_and_one_point_nought_are_one_number(self, tmp_path: Path) -> None:
        runs = pair(tmp_path, config(0, loss__weight=1), config(1, loss__weight=1.0))
        assert len(read_several(runs).arms) == 1

    @pytest.mark.parametrize(("key", "words"), [("split__seed", "split seed"), ("split__fold", "fold")])
    def test_a_split_drawn_again_is_a_repetition_of_its_own(self, key: str, words: str, tmp_path: Path) -> None:
        """At the same seed of the training; the data that were read are others, and the users too."""
        other = {u + "'": v for u, v in toy_ndcg(0, "target").items()}
        several = read_several(pair(tmp_path, config(0, **{key: 0}), config(0, **{key: 1}), data="b", ndcg=other))
        assert len(several.arms) == 1
        assert several.unit == "repetition"
        assert several.repetition_words(several.arms[0]) == [f"{words} 0", f"{words} 1"]

    def test_rows_say_whose_they_are(self, multirun: Path) -> None:
        rows = read_several([multirun]).results.frame
        assert rows["component"].null_count() == rows.height
        assert set(rows["variant"].to_list()) == {None, "normalised"}
        of_seed_2 = rows.filter((pl.col("repetition") == 2) & (pl.col("arm") == "attention=mean"))
        assert set(of_seed_2["seed"]) == {2}
        assert set(rows.filter(~pl.col("main"))["model"]) == {"ease"}
        assert set(rows.filter(pl.col("main"))["model"]) == {"composed"}

    def test_a_reference_goes_first(self, multirun: Path) -> None:
        several = read_several([multirun])
        assert several.with_reference(None) is several
        assert [arm.name for arm in several.with_reference("attention=mean").arms] == [
            "attention=mean",
            "attention=target",
        ]
        with pytest.raises(RunError, match=r"'attention=men'; did you mean 'attention=mean'\? \(arms: "):
            several.with_reference("attention=men")


class TestNames:
    def names(self, *configs: dict[str, Any]) -> list[str]:
        return arm_names([split_data(settings_of(c))[1] for c in configs])

    def differing(self, *configs: dict[str, Any]) -> list[str]:
        return differing([split_data(settings_of(c))[1] for c in configs])

    def test_choices_by_their_name_or_module_and_values_by_their_key(self) -> None:
        assert self.names(config(), config(attention="mean")) == ["attention=target", "attention=mean"]
        rates = [config(training__learning_rate=rate) for rate in (0.01, 0.1)]
        assert self.names(*rates) == ["learning_rate=0.01", "learning_rate=0.1"]

    def test_a_grid_is_named_by_both_of_its_sides(self) -> None:
        grid = [config(attention=a, training__learning_rate=r) for a in ("target", "mean") for r in (0.01, 0.1)]
        assert self.names(*grid) == [
            "attention=target, learning_rate=0.01",
            "attention=target, learning_rate=0.1",
            "attention=mean, learning_rate=0.01",
            "attention=mean, learning_rate=0.1",
        ]

    def test_what_follows_from_a_choice_stays_out_of_name_and_list(self) -> None:
        ease = config() | {
            "model": {"name": "ease", "_target_": "xrec.models.baselines.ease.EASE", "regularization": 5}
        }
        whole = config(loss__weights__kl=0.1)
        assert self.names(whole, ease) == ["model=composed", "model=ease"]
        assert self.differing(whole, ease) == ["loss", "model"]

    def test_what_one_arm_lacks_is_none(self) -> None:
        assert self.names(config(), config(masker__name="zero")) == ["masker=none", "masker=zero"]

    def test_keys_of_one_name_are_told_apart(self) -> None:
        configs = [config(model__a__size=a, model__b__size=b) for a, b in ((1, 1), (1, 2), (2, 1))]
        assert self.names(*configs) == ["a.size=1, b.size=1", "a.size=1, b.size=2", "a.size=2, b.size=1"]

    def test_a_second_difference_is_listed_where_the_name_needs_it_not(self) -> None:
        configs = config(), config(attention="mean", training__learning_rate=0.1)
        assert self.names(*configs) == ["attention=target", "attention=mean"]
        assert self.differing(*configs) == ["model.attention", "training.learning_rate"]

    def test_names_do_not_depend_on_the_order(self) -> None:
        grid = [config(attention=a, training__learning_rate=r) for a in ("target", "mean") for r in (0.01, 0.1)]
        assert self.names(*reversed(grid)) == list(reversed(self.names(*grid)))


class TestLabels:
    def test_one_per_arm(self, multirun: Path) -> None:
        assert [arm.name for arm in read_several([multirun], ["T", "M"]).arms] == ["T", "M"]

    def test_one_per_run_makes_the_arms(self, multirun: Path) -> None:
        several = read_several([multirun / n for n in "0213"], ["x", "x", "y", "y"])
        assert [(arm.name, [p.name for p in arm.runs.values()]) for arm in several.arms] == [
            ("x", ["0", "2"]),
            ("y", ["1", "3"]),
        ]

    def test_runs_of_one_config_and_seed_are_apart_under_two_labels(self, multirun: Path, tmp_path: Path) -> None:
        again = write_run(tmp_path / "again", config(0))
        assert len(read_several([multirun / "0", again], ["before", "after"]).arms) == 2
        with pytest.raises(RunError, match=r"0 and .*again are the same arm \(composed\) with the same seed"):
            read_several([multirun / "0", again])

    @pytest.mark.parametrize(
        ("labels", "words"),
        [
            (
                ["x"],
                r"labels: got x; takes one of its own per arm \(2: attention=target; attention=mean\), or one per ",
            ),
            (["x", "x"], "takes one of its own per arm"),
            (["x", "x", "x", "y", "y", "y"], "label 'x' stands for runs that differ in model.attention"),
        ],
    )
    def test_labels_that_do_not_fit(self, labels: list[str], words: str, multirun: Path) -> None:
        with pytest.raises(RunError, match=words):
            read_several([multirun], labels)


class TestRefused:
    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"split__train_end": 40}, r"differ in split.train_end \(43, 40\)"),
            ({"data__clean__min_item_users": 9}, r"differ in data.clean.min_item_users \(5, 9\)"),
            ({"data__source___target_": "xrec.other.Other"}, "differ in data.source;"),
            ({"split___target_": "xrec.split.Random", "split__share": 0.1}, "differ in split;"),
        ],
    )
    def test_other_data_or_splits(self, changed: dict[str, Any], words: str, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=rf"x and .*y cannot be compared: they {words}"):
            read_several(pair(tmp_path, config(0), config(1, **changed)))

    def test_the_same_settings_over_other_files(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"x and .*y cannot be compared: the same settings read other data \("):
            read_several(pair(tmp_path, config(0), config(1), data="other"))

    def test_other_users(self, tmp_path: Path) -> None:
        """Three of four users, the second in the first's place in the error: it is counted who both have."""
        users = dict.fromkeys(USERS[1:], 0.5)
        with pytest.raises(RunError, match=r"same users \(all targets of test: 4 and 3 users, 3 in both\)"):
            read_several(pair(tmp_path, config(0), config(1), ndcg=users))

    @pytest.mark.parametrize("kind", ["missing", "empty", "study"])
    def test_what_is_no_run(self, kind: str, tmp_path: Path) -> None:
        place, words = tmp_path / "place", {"missing": "does not exist", "empty": r"holds no run \(no config.yaml\)"}
        if kind != "missing":
            place.mkdir()
        if kind == "study":
            (place / "journal.log").write_text("")
        with pytest.raises(RunError, match=words.get(kind, "is a study")):
            read_several([place])

    @pytest.mark.parametrize("name", ["results.parquet", "config.yaml", "stages/rank.parquet", "stages.json"])
    def test_damaged_runs_are_named(self, name: str, tmp_path: Path) -> None:
        runs = pair(tmp_path, config(0), config(1))
        path = runs[1] / name
        path.write_bytes(path.read_bytes()[:-1] + b"#")
        with pytest.raises(RunError, match=rf"{tmp_path}/y/.*{name}"):
            read_several(runs)


class TestUnfinished:
    def test_left_out_by_name_with_what_it_lacks(self, tmp_path: Path) -> None:
        runs = pair(tmp_path, config(0), config(1), stages=("fit", "rank"))
        begun = write_run(tmp_path / "z", config(2), stages=())
        several = read_several([*runs, begun])
        assert several.unfinished == {runs[1]: ["explain", "fidelity", "report"], begun: config()["stages"]}
        assert [list(arm.runs.values()) for arm in several.arms] == [[runs[0]]]
        assert several.left_out_words()[0] == (
            f"{runs[1]} is left out: it has not finished explain, fidelity, report "
            f"(`python experiments/run.py resume={runs[1]}` does)"
        )

    def test_a_stage_that_was_not_asked_for_is_not_missing(self, tmp_path: Path) -> None:
        runs = pair(tmp_path, config(0), config(1, stages=["fit", "rank"]), stages=("fit", "rank"))
        assert not read_several(runs).unfinished

    def test_a_job_of_a_multirun_that_has_not_begun(self, tmp_path: Path) -> None:
        folder = write_multirun(tmp_path / "multirun", seeds=(0,))
        (folder / "2").mkdir()
        several = read_several([folder])
        assert several.unfinished == {folder / "2": []}
        assert several.left_out_words() == [f"{folder / '2'} is left out: no run was begun there"]

    def test_labels_of_runs_that_are_left_out_go_with_them(self, tmp_path: Path) -> None:
        runs = pair(tmp_path, config(0), config(1), stages=("fit",))
        third = write_run(tmp_path / "z", config(2))
        several = read_several([*runs, third], ["x", "y", "z"])
        assert [arm.name for arm in several.arms] == ["x", "z"]

    def test_none_finished(self, tmp_path: Path) -> None:
        run = write_run(tmp_path / "x", config(0), stages=("fit",))
        with pytest.raises(RunError, match=r"no run is finished: .*x it has not finished rank, explain, fid"):
            read_several([run])


def test_what_is_a_multirun(multirun: Path, tmp_path: Path) -> None:
    assert is_multirun(multirun)
    assert not is_multirun(multirun / "0")
    assert not is_multirun(tmp_path)
    (tmp_path / "0").mkdir()
    assert not is_multirun(tmp_path), "a number is no run"
    study = write_multirun(tmp_path / "study", seeds=(0,))
    (study / "journal.log").write_text("")
    assert not is_multirun(study)
