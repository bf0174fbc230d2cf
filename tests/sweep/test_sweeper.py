"""Whole sweeps in this process, with a launcher that calls a function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from xrec.errors import SettingError
from xrec.sweep.grammar import read_space
from xrec.sweep.results import front, results, table
from xrec.sweep.space import SweepError

if TYPE_CHECKING:
    from tests.sweep.conftest import Bench

LAMBDAS = dict.fromkeys("abc", "tag(zero,log,interval(1e-3,1.0))")
TWO = {"objectives": ["gain", "cost"], "directions": ["maximize", "minimize"]}


def x_of(job: dict[str, str]) -> float:
    return float(job["x"])


def states(bench: Bench) -> list[str]:
    return [t.state.name for t in bench.trials()]


def test_job_numbers_are_trial_numbers(bench: Bench) -> None:
    content = bench.run(x_of)
    assert sorted(bench.launcher.jobs) == [t.number for t in bench.trials()] == list(range(6))
    for trial in bench.trials():
        assert float(bench.launcher.jobs[trial.number]["x"]) == trial.params["x"] == trial.values[0]
        assert trial.user_attrs["directory"] == str(trial.number)
    best = max(bench.trials(), key=lambda t: t.values[0])
    (entry,) = content["front"]
    assert entry == {
        "number": best.number,
        "values": {"quality": best.values[0]},
        "params": {"x": best.params["x"]},
        "directory": str(best.number),
    }
    assert yaml.safe_load((bench.sweep_dir / "optimization_results.yaml").read_text()) == content


def test_fixed_overrides_reach_every_job(bench: Bench) -> None:
    bench.run(x_of, ["training.epochs=1", "name='a,b'", "y=choice('p,q',r)"])
    for job in bench.launcher.jobs.values():
        assert (job["training.epochs"], job["name"]) == ("1", "'a,b'")
        assert job["y"] in ("'p,q'", "r")


def test_resume_goes_on_to_the_total(bench: Bench) -> None:
    bench.run(x_of, n_trials=4)
    bench.run(x_of, n_trials=9)
    assert sorted(bench.launcher.jobs) == [4, 5, 6, 7, 8]
    assert len({t.params["x"] for t in bench.trials()}) == 9


def test_a_reached_total_is_said_and_nothing_runs(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    first = bench.run(x_of, n_trials=3)
    with caplog.at_level("INFO"):
        assert bench.run(x_of, n_trials=3) == first
    assert "3 finished trials of 3: nothing to do" in caplog.text
    assert not bench.launcher.jobs


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_failures_are_recorded_and_the_sweep_goes_on(
    bench: Bench, sampler: str, caplog: pytest.LogCaptureFixture
) -> None:
    def objective(job: dict[str, str]) -> object:
        x = x_of(job)
        if x < 0.3:
            raise RuntimeError("too\nsmall")
        return float("nan") if x < 0.6 else x

    content = bench.run(objective, n_trials=20, sampler={"name": sampler})
    trials = bench.trials()
    assert len(trials) == 20
    for trial in trials:
        x = trial.params["x"]
        expected = "RuntimeError: too\nsmall" if x < 0.3 else "ValueError: quality is nan" if x < 0.6 else None
        assert trial.user_attrs.get("error") == expected
        assert trial.state.name == ("COMPLETE" if expected is None else "FAIL")
        assert (bench.sweep_dir / str(trial.number) / "error.txt").exists() == (expected is not None)
        if expected is not None:
            assert f"trial {trial.number} failed: {' '.join(expected.split())}" in caplog.text
    n_failed = sum("error" in t.user_attrs for t in trials)
    assert 0 < n_failed < 20
    assert content["n_trials"]["failed"] == n_failed
    assert content["n_trials"]["complete"] == 20 - n_failed
    bench.run(objective, n_trials=20, sampler={"name": sampler})
    assert not bench.launcher.jobs  # failures of their own accord count


def test_max_failures_stops_the_sweep(bench: Bench) -> None:
    def objective(job: dict[str, str]) -> float:
        raise RuntimeError("always")

    with pytest.raises(SweepError, match=r"3 trials .* failed, more than hydra.sweeper.max_failures=2"):
        bench.run(objective, n_trials=10, max_failures=2)
    assert len(bench.launcher.jobs) == 3
    content = yaml.safe_load((bench.sweep_dir / "optimization_results.yaml").read_text())
    assert content["n_trials"]["failed"] == 3
    assert content["front"] == []
    bench.run(x_of, n_trials=5, max_failures=3)
    assert states(bench) == ["FAIL"] * 3 + ["COMPLETE"] * 2


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_an_interrupt_leaves_the_study_consistent(bench: Bench, n_jobs: int) -> None:
    undisturbed = bench.sibling("undisturbed")
    undisturbed.run(x_of, n_trials=9, n_jobs=n_jobs)

    def objective(job: dict[str, str]) -> float:
        if len(bench.launcher.jobs) == 5:
            raise KeyboardInterrupt
        return x_of(job)

    with pytest.raises(KeyboardInterrupt):
        bench.run(objective, n_trials=9, n_jobs=n_jobs)
    assert "RUNNING" not in states(bench)
    content = bench.run(x_of, n_trials=9, n_jobs=n_jobs)
    complete = [t for t in bench.trials() if t.state.name == "COMPLETE"]
    assert content["n_trials"]["complete"] == len(complete) == 9
    assert [t.params["x"] for t in complete] == [t.params["x"] for t in undisturbed.trials()]


@pytest.mark.parametrize("n_jobs", [2, 4])
def test_batches_keep_numbers_and_the_total(bench: Bench, n_jobs: int) -> None:
    bench.run(lambda job: sum(map(float, job.values())), n_trials=13, n_jobs=n_jobs, space=LAMBDAS)
    trials = [t for t in bench.trials() if t.state.name == "COMPLETE"]
    assert len(trials) == 13
    assert sorted(bench.launcher.jobs) == [t.number for t in trials]
    space, _ = read_space(LAMBDAS)
    for trial in trials:
        assert {k: float(v) for k, v in bench.launcher.jobs[trial.number].items()} == space.values(trial.params)
    assert max(n for _, n in bench.launcher.calls) > 1


def test_a_mistake_that_every_trial_makes_ends_the_sweep(bench: Bench) -> None:
    def refuse(job: dict[str, str]) -> float:
        raise SettingError("tracking.mode=online needs a key")

    with pytest.raises(
        SweepError, match=r"the first 3 trials failed for the same reason: SettingError: tracking.mode=o"
    ):
        bench.run(refuse)
    assert states(bench) == ["FAIL"] * 3
    bench.run(x_of)  # put right
    assert states(bench) == ["FAIL"] * 3 + ["COMPLETE"] * 3


@pytest.mark.parametrize("good", ["none", "first", "bug"])
def test_trials_that_fail_for_reasons_of_their_own_do_not_end_the_sweep(bench: Bench, good: str) -> None:
    def work(job: dict[str, str]) -> float:
        n = len(bench.launcher.jobs)
        if good == "first" and n == 1:
            return 1.0
        raise RuntimeError("no luck") if good == "bug" else SettingError("no" if good == "first" else f"no {n}")

    bench.run(work)
    assert states(bench) == (["COMPLETE"] if good == "first" else ["FAIL"]) + ["FAIL"] * 5


def test_objectives_of_the_sweeper_are_those_that_jobs_return(bench: Bench) -> None:
    bench.config = {"objectives": ["other"]}
    with pytest.raises(
        SweepError, match=r"hydra.sweeper.objectives=\['quality'\], but the jobs return objectives=\['o"
    ):
        bench.run(x_of)
    assert not bench.sweep_dir.exists()
    bench.config = {"objectives": ["quality"]}
    bench.run(x_of, n_trials=1)


def test_a_study_with_other_settings_is_refused_before_anything_runs(bench: Bench) -> None:
    bench.config = {"epochs": 1, "threads": 1}
    bench.run(x_of, n_trials=1)
    bench.config = {"epochs": 1, "threads": 2}
    bench.run(x_of, ["+tracking=none"], n_trials=2)
    bench.config = {"epochs": 2}  # as when a yaml was edited
    with pytest.raises(SweepError, match="made for something else:\n  epochs: saved 1, now 2\n"):
        bench.run(x_of)
    bench.config = {"epochs": 1}
    with pytest.raises(SweepError, match="made for something else:\n  epochs: saved 1, now 3\n"):
        bench.run(x_of, ["epochs=3"])
    assert not bench.launcher.jobs
    bench.run(x_of, ["epochs=1"])


def test_a_name_that_leads_elsewhere_is_refused(bench: Bench) -> None:
    with pytest.raises(SweepError, match="hydra.sweeper.study_name='../escape'"):
        bench.run(x_of, study_name="../escape")
    assert not bench.sweep_dir.exists()


def test_an_exhausted_space_ends_the_sweep(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    content = bench.run(x_of, n_trials=50, space={"x": "choice(1,2,3,4)"}, n_jobs=3)
    assert sorted(t.params["x"] for t in bench.trials() if t.state.name == "COMPLETE") == [1, 2, 3, 4]
    assert "stopping early" in caplog.text
    assert content["front"][0]["params"] == {"x": 4}


def test_a_changed_space_is_refused_before_anything_runs(bench: Bench) -> None:
    bench.run(x_of, n_trials=2)
    with pytest.raises(SweepError, match=r"space: x: saved 0.0 to 1.0, now 0.0 to 3.0"):
        bench.run(x_of, ["x=interval(0,3)"], n_trials=4)
    assert not bench.launcher.jobs


def test_a_population_that_never_breeds_is_said(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.run(x_of, n_trials=3, sampler={"name": "nsga2"})
    assert "population_size=50" in caplog.text


@pytest.mark.parametrize("setting", [{"n_trials": 0}, {"n_jobs": 0}, {"max_failures": -1}])
def test_numbers_are_checked(bench: Bench, setting: dict[str, Any]) -> None:
    with pytest.raises(SweepError, match=f"hydra.sweeper.{next(iter(setting))}"):
        bench.run(x_of, **setting)


def dominates(a: list[float], b: list[float], signs: list[int]) -> bool:
    better = [s * x >= s * y for s, x, y in zip(signs, a, b, strict=True)]
    return all(better) and a != b


@given(values=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=14))
@settings(max_examples=40, deadline=None)
def test_the_front_is_what_nothing_dominates(values: list[tuple[int, int]]) -> None:
    study = optuna.create_study(directions=TWO["directions"])  # type: ignore[arg-type]
    for pair in values:
        study.add_trial(optuna.trial.create_trial(values=list(map(float, pair))))
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    signs = [1, -1]
    expected = {
        n
        for n, a in enumerate(values)
        if not any(dominates(list(map(float, b)), list(map(float, a)), signs) for b in values)
    }
    found = front(study)
    assert {t.number for t in found} == expected
    gains = [t.values[0] for t in found]
    assert gains == sorted(gains, reverse=True)


@pytest.mark.parametrize("sampler", [{"name": "tpe"}, {"name": "nsga2", "population_size": 4}])
def test_the_front_in_the_file_is_right(bench: Bench, sampler: dict[str, Any]) -> None:
    def objective(job: dict[str, str]) -> list[float]:
        a, b, c = (float(job[k]) for k in "abc")
        return [a - b, a * a + c]

    bench.run(objective, n_trials=16, space=LAMBDAS, sampler=sampler, **TWO)
    content = yaml.safe_load((bench.sweep_dir / "optimization_results.yaml").read_text())
    complete = {t.number: t.values for t in bench.trials() if t.state.name == "COMPLETE"}
    assert len(complete) == 16
    expected = {n for n, a in complete.items() if not any(dominates(b, a, [1, -1]) for b in complete.values())}
    assert {e["number"] for e in content["front"]} == expected
    for entry in content["front"]:
        assert list(entry["values"].values()) == complete[entry["number"]]
        assert entry["params"] == {k: float(v) for k, v in bench.launcher.jobs[entry["number"]].items()}
        assert (bench.sweep_dir / entry["directory"]).is_dir()
    lines = table(content, bench.sweep_dir).splitlines()
    assert lines[0].split() == ["trial", "gain", "cost", "a", "b", "c", "directory"]
    assert len(lines) == 1 + len(expected)


def test_a_study_without_results_has_an_empty_front() -> None:
    space, _ = read_space({"x": "interval(0,1)"})
    content = results(optuna.create_study(), space, ["quality"])
    assert content["front"] == []
    assert "no trial" in table(content, Path())
