"""What counts as finished, who owns a trial, which trial comes next."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from xrec import processes as owner
from xrec.sweep import trials
from xrec.sweep.grammar import read_space
from xrec.sweep.journal import KernelLock, drop_torn_line
from xrec.sweep.samplers import SamplerFactory
from xrec.sweep.space import SweepError
from xrec.sweep.study import StudySettings, open_study
from xrec.sweep.sweeper import consecutive, objective_values
from xrec.sweep.trials import Fate

optuna.logging.set_verbosity(optuna.logging.WARNING)

LAMBDAS = dict.fromkeys("abc", "tag(zero,log,interval(1e-3,1.0))")
RANDOM = SamplerFactory("random", seed=0)


def settings(**changes: Any) -> StudySettings:
    return StudySettings(**{"name": "s", "storage": None, "objectives": ("q",), "directions": ("maximize",), **changes})


def values_of(study: optuna.Study, space: Any, wanted: Fate) -> list[dict[str, Any]]:
    return [space.values(t.params) for t in study.trials if trials.fate(t) is wanted]


def dead_process() -> dict[str, Any]:
    """The owner record of a process that has ended."""
    script = "import json; from xrec.processes import this_process; print(json.dumps(this_process()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_process_is_told_from_a_later_one_of_the_same_number() -> None:
    me = owner.this_process()
    assert not owner.is_dead(me)
    assert owner.is_dead({**me, "process_start": me["process_start"] - 1})
    assert owner.is_dead({**me, "boot": "before"})
    assert owner.is_dead(dead_process())
    assert owner.is_dead(None)
    assert not owner.is_dead({**me, "host": "elsewhere", "process_start": 1})


def test_a_zombie_is_dead() -> None:
    script = "import json; from xrec.processes import this_process; print(json.dumps(this_process()), flush=True)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        record = json.loads(process.stdout.readline())
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, but not yet taken off the table
        assert (Path("/proc") / str(process.pid)).exists()
        assert owner.is_dead(record)


def test_fates_and_what_counts(tmp_path: Path) -> None:
    space, _ = read_space(LAMBDAS)
    study = open_study(settings(), space, [], tmp_path)
    complete, failed, killed, running = (trials.ask(study, space, RANDOM) for _ in range(4))
    assert complete is not None
    assert failed is not None
    assert killed is not None
    assert running is not None
    study.tell(complete, 1.0)
    failed.set_user_attr(trials.ERROR, "ValueError: no")
    study.tell(failed, state=TrialState.FAIL)
    study.tell(killed, state=TrialState.FAIL)
    tally = {f.value: n for f, n in trials.counts(study).items() if n}
    skipped = tally.pop("skipped", 0)
    assert tally == {"complete": 1, "failed": 1, "killed": 1, "running": 1}
    assert len(study.trials) == 4 + skipped
    assert trials.n_finished(study) == 2


def test_killed_trials_are_asked_again_once(tmp_path: Path) -> None:
    space, _ = read_space(LAMBDAS)
    study = open_study(settings(), space, [], tmp_path)
    gone, alive, half = (trials.ask(study, space, RANDOM) for _ in range(3))
    assert gone is not None
    assert alive is not None
    assert half is not None
    gone.set_user_attr(trials.OWNER, dead_process())
    half_drawn = study.ask()
    half_drawn.suggest_categorical("a.on", [False, True])  # died while it drew, and before it was signed
    for _ in range(3):  # as often as one likes
        trials.fail_dead_trials(study)
        trials.enqueue_killed_trials(study, space)
    fates = [trials.fate(t) for t in study.trials if trials.fate(t) is not Fate.SKIPPED]
    assert fates == [Fate.KILLED, Fate.RUNNING, Fate.RUNNING, Fate.KILLED, Fate.WAITING]
    again = trials.ask(study, space, RANDOM)
    assert again is not None
    assert again.params == gone.params
    assert again.user_attrs[trials.RETRY_OF] == gone.number
    assert not owner.is_dead(again.user_attrs[trials.OWNER])
    again.set_user_attr(trials.OWNER, dead_process())  # the retry is killed as well
    trials.fail_dead_trials(study)
    trials.enqueue_killed_trials(study, space)
    third = trials.ask(study, space, RANDOM)
    assert third is not None
    assert third.params == gone.params
    assert third.user_attrs[trials.RETRY_OF] == again.number


def test_trials_on_another_machine_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    space, _ = read_space(LAMBDAS)
    study = open_study(settings(), space, [], tmp_path)
    trial = trials.ask(study, space, RANDOM)
    assert trial is not None
    trial.set_user_attr(trials.OWNER, {**owner.this_process(), "host": "elsewhere"})
    trials.fail_dead_trials(study)
    assert trials.counts(study)[Fate.RUNNING] == 1
    assert "on elsewhere" in caplog.text


@pytest.mark.parametrize("name", ["random", "tpe", "nsga2"])
def test_no_point_is_asked_twice_and_a_new_process_goes_on(tmp_path: Path, name: str) -> None:
    """16 trials of a space in which 1 of 8 draws is all zeros; every one from a study that was loaded anew."""
    space, _ = read_space(LAMBDAS)
    samplers = SamplerFactory(name, 0, {"population_size": 4} if name == "nsga2" else {})
    two = settings(objectives=("q", "r"), directions=("maximize", "minimize"))

    def step(study: optuna.Study) -> None:
        trial = trials.ask(study, space, samplers)
        assert trial is not None
        a, b, c = map(float, space.values(trial.params).values())
        study.tell(trial, [a - b, c])

    for _ in range(16):
        step(open_study(two, space, [], tmp_path))
    anew = values_of(open_study(two, space, [], tmp_path), space, Fate.COMPLETE)
    assert len({tuple(v.values()) for v in anew}) == 16
    undisturbed = open_study(replace(two, name="undisturbed"), space, [], tmp_path)
    for _ in range(16):
        step(undisturbed)
    assert values_of(undisturbed, space, Fate.COMPLETE) == anew  # a resume changes nothing


def test_nsga2_hands_values_down(tmp_path: Path) -> None:
    """The values behind the switches are inherited from the first generation, not drawn at random for ever."""
    space, _ = read_space(LAMBDAS)
    study = open_study(settings(), space, [], tmp_path)
    samplers = SamplerFactory("nsga2", 0, {"population_size": 4})
    for _ in range(12):
        trial = trials.ask(study, space, samplers)
        assert trial is not None
        study.tell(trial, trial.params["a"])
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    first = {t.params["a"] for t in complete[:4]}
    inherited = sum(t.params["a"] in first for t in complete[4:])
    assert inherited >= 4


@pytest.mark.parametrize("name", ["random", "tpe", "nsga2"])
def test_a_finite_space_is_tried_in_full_and_then_exhausted(tmp_path: Path, name: str) -> None:
    space, _ = read_space({"a": "choice(x,y,z)", "b": "tag(zero,range(1,4))"})
    study = open_study(settings(), space, [], tmp_path)
    samplers = SamplerFactory(name, 0)
    seen = []
    while (trial := trials.ask(study, space, samplers)) is not None:
        seen.append(tuple(space.values(trial.params).values()))
        study.tell(trial, 1.0)
    assert sorted(seen) == sorted((a, b) for a in "xyz" for b in (0, 1, 2, 3))


def test_a_sampler_that_is_stuck_on_one_point_does_not_end_the_sweep(tmp_path: Path) -> None:
    """All at 0 is best by far, so TPE wants nothing else; a few skipped draws later something new is tried."""
    space, _ = read_space(LAMBDAS)
    study = open_study(settings(), space, [], tmp_path)
    samplers = SamplerFactory("tpe", 0, {"n_startup_trials": 4})
    for _ in range(25):
        trial = trials.ask(study, space, samplers)
        assert trial is not None
        study.tell(trial, -sum(v != 0 for v in space.values(trial.params).values()))
    complete = values_of(study, space, Fate.COMPLETE)
    assert len({tuple(v.values()) for v in complete}) == 25
    n_skipped = trials.counts(study)[Fate.SKIPPED]
    assert 0 < n_skipped < 25 * 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space": {"a": "interval(0,2)", "b": "choice(1,2)"}}, "space: a: saved 0.0 to 1.0, now 0.0 to 2.0"),
        ({"space": {"a": "interval(0,1)"}}, "space: b: saved choice 1, 2, now not in the space"),
        ({"directions": ("minimize",)}, r"directions: saved \['maximize'\], now \['minimize'\]"),
        ({"objectives": ("other",)}, r"objectives: saved \['q'\], now \['other'\]"),
    ],
)
def test_a_study_made_for_something_else_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    texts = {"a": "interval(0,1)", "b": "choice(1,2)"}
    space, _ = read_space(texts)
    study = open_study(settings(), space, [], tmp_path)
    assert trials.ask(study, space, RANDOM) is not None
    changed, _ = read_space(changes.pop("space", texts))
    with pytest.raises(SweepError, match=says) as error:
        open_study(settings(**changes), changed, [], tmp_path)
    assert "hydra.sweeper.study_name=" in str(error.value)
    open_study(settings(name="another", **changes), changed, [], tmp_path)
    open_study(settings(), read_space(dict(reversed(texts.items())))[0], [], tmp_path)  # the order does not matter


def test_an_empty_study_takes_another_space(tmp_path: Path) -> None:
    open_study(settings(), read_space({"a": "interval(0,1)"})[0], [], tmp_path)
    space, _ = read_space({"a": "interval(0,2)"})
    assert open_study(settings(), space, [], tmp_path).user_attrs["space"] == {"a": "0.0 to 2.0"}


COMPOSED = {
    "a": 1.0,  # drawn
    "seed": 0,
    "threads": 2,
    "device": "cpu",
    "paths": {"runs": "runs"},
    "tracking": {"_target_": "None", "mode": "offline"},
    "training": {"epochs": 1, "windows": [3, 4], "log_every": 10},
    "experiment": {},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """COMPOSED with another value at a path; `...` for none."""
    config = json.loads(json.dumps(COMPOSED))
    *parents, last = path.split(".")
    node = config
    for name in parents:
        node = node.setdefault(name, {})
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("training.epochs", 2, "training.epochs: saved 1, now 2"),
        ("training.windows", [3], r"training.windows: saved \[3, 4\], now \[3\]"),
        ("training.windows", None, r"training.windows: saved \[3, 4\], now None"),
        ("training.horizon", None, "training.horizon: saved not there, now None"),
        ("training.epochs", ..., "training.epochs: saved 1, now not there"),
        ("seed", 1, "seed: saved 0, now 1"),
        ("ab", 1, "ab: saved not there, now 1"),
    ],
)
def test_a_study_is_not_continued_with_other_settings(tmp_path: Path, path: str, value: Any, says: str) -> None:
    space, _ = read_space(LAMBDAS)
    trials.ask(open_study(settings(), space, ["x=1"], tmp_path, COMPOSED), space, RANDOM)
    with pytest.raises(SweepError, match=f"(?s)made for something else:\n  {says}\nchoose another name"):
        open_study(settings(), space, ["x=1"], tmp_path, changed(path, value))
    open_study(settings(), space, ["x=2"], tmp_path, COMPOSED)  # the same, said in another way
    open_study(settings(name="another"), space, [], tmp_path, changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("threads", 4),
        ("device", "cuda"),
        ("paths.runs", "elsewhere"),
        ("tracking.mode", "online"),
        ("tracking", {}),
        ("training.log_every", 1),
        ("hydra.sweeper.n_trials", 3),
        ("a", 0.5),
        ("experiment.name", "mine"),
    ],
)
def test_what_changes_no_number_may_change(tmp_path: Path, path: str, value: Any) -> None:
    space, _ = read_space(LAMBDAS)
    trials.ask(open_study(settings(), space, [], tmp_path, COMPOSED), space, RANDOM)
    open_study(settings(), space, [f"{path}={value}"], tmp_path, changed(path, value))


def test_whole_sections_may_be_drawn(tmp_path: Path) -> None:
    space, _ = read_space({"model/attention": "choice(mean,target)"})
    parts = [{"model": {"attention": {"_target_": name}, "attention_size": 3}} for name in ("Mean", "Target")]
    trials.ask(open_study(settings(), space, [], tmp_path, parts[0]), space, RANDOM)
    open_study(settings(), space, [], tmp_path, parts[1])
    with pytest.raises(SweepError, match="model.attention_size: saved 3, now 4"):
        open_study(settings(), space, [], tmp_path, {"model": {"attention": {}, "attention_size": 4}})


def test_many_differences_are_counted(tmp_path: Path) -> None:
    space, _ = read_space(LAMBDAS)
    trials.ask(open_study(settings(), space, [], tmp_path, {}), space, RANDOM)
    with pytest.raises(SweepError, match=r"now 11\n  and 8 more\nchoose") as error:
        open_study(settings(), space, [], tmp_path, {f"k{i:02}": i for i in range(20)})
    assert len(str(error.value).splitlines()) == 15


def test_a_study_of_an_older_version_is_compared_by_its_overrides(tmp_path: Path) -> None:
    space, _ = read_space(LAMBDAS)
    trials.ask(open_study(settings(), space, ["threads=1", "epochs=1"], tmp_path, COMPOSED), space, RANDOM)
    journal = (tmp_path / "journal.log").read_text().splitlines(keepends=True)
    (tmp_path / "journal.log").write_text("".join(line for line in journal if '"config"' not in line))
    open_study(settings(), space, ["epochs=1", "tracking=none", "++paths.runs=x"], tmp_path, COMPOSED)
    with pytest.raises(SweepError, match=r"overrides: saved \['epochs=1'\], now \['epochs=2'\]"):
        open_study(settings(), space, ["epochs=2"], tmp_path, COMPOSED)


@pytest.mark.parametrize("name", ["../escape", "..", "", "/abs", "a/b", ".hidden", "-m", "a b", "a\n", "x" * 101])
def test_a_study_is_called_by_a_name_that_is_no_path(name: str) -> None:
    with pytest.raises(SweepError, match=r"hydra.sweeper.study_name=.*it is also the name of a directory"):
        settings(name=name).check()
    settings(name="lambda_weights-2.1").check()


@pytest.mark.parametrize("storage", ["nonsense", "nowhere://x", "sqlite:////nowhere/at/all.db"])
def test_a_storage_that_cannot_be_opened_is_named(tmp_path: Path, storage: str) -> None:
    with pytest.raises(SweepError, match=f"the study in {storage} cannot be opened .*takes an Optuna URL such as"):
        open_study(settings(storage=storage), read_space(LAMBDAS)[0], [], tmp_path)


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    space, _ = read_space(LAMBDAS)
    trials.ask(open_study(settings(), space, [], tmp_path), space, RANDOM)
    journal = tmp_path / "journal.log"
    journal.write_bytes(b'{"op_code":' + b"\n" + journal.read_bytes())
    with pytest.raises(SweepError, match=r"journal.log cannot be opened .*: put the file back as it was"):
        open_study(settings(), space, [], tmp_path)


def test_a_database_works_as_storage(tmp_path: Path) -> None:
    space, _ = read_space(LAMBDAS)
    where = settings(storage=f"sqlite:///{tmp_path / 'study.db'}")
    trial = trials.ask(open_study(where, space, [], tmp_path), space, RANDOM)
    assert trial is not None
    again = open_study(where, space, [], tmp_path)
    assert [space.values(t.params) for t in again.trials] == [space.values(trial.params)]
    assert not (tmp_path / "journal.log").exists()


def test_a_journal_line_cut_short_by_a_kill_is_dropped(tmp_path: Path) -> None:
    space, _ = read_space(LAMBDAS)
    study = open_study(settings(), space, [], tmp_path)
    trial = trials.ask(study, space, RANDOM)
    assert trial is not None
    journal = tmp_path / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":6,"wor')
    study = open_study(settings(), space, [], tmp_path)
    study.tell(trial.number, 1.0)
    assert open_study(settings(), space, [], tmp_path).trials[0].values == [1.0]
    drop_torn_line(journal)
    assert journal.read_bytes().startswith(whole)


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from xrec.sweep.journal import KernelLock;"
        "lock = KernelLock(Path(sys.argv[1])); lock.acquire(); print('locked', flush=True); time.sleep(600)"
    )
    journal = tmp_path / "journal.log"
    with subprocess.Popen([sys.executable, "-c", script, str(journal)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "locked\n"
            with journal.open("rb") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            process.kill()
    start = time.monotonic()
    lock = KernelLock(journal)
    assert lock.acquire()
    lock.release()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("nsga", {}, "did you mean 'nsga2'.*tpe, nsga2, random"),
        ("nsga2", {"poplation_size": 3}, "did you mean 'population_size'"),
        ("nsga2", {"population_size": 1}, "population_size"),
        ("tpe", {"seed": 3}, "hydra.sweeper.seed"),
    ],
)
def test_samplers_are_checked(name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(SweepError, match=says):
        SamplerFactory(name, 0, arguments).check()


def test_directions_and_objectives_are_checked() -> None:
    with pytest.raises(SweepError, match="did you mean 'maximize'"):
        settings(directions=("maximise",)).check()
    with pytest.raises(SweepError, match="same length"):
        settings(directions=("maximize", "minimize")).check()
    with pytest.raises(SweepError, match="twice"):
        settings(objectives=("q", "q"), directions=("maximize", "minimize")).check()


def test_a_launcher_gets_consecutive_numbers_only() -> None:
    batch: Any = [SimpleNamespace(number=n) for n in (7, 3, 4, 9, 8, 12)]
    assert [[t.number for t in g] for g in consecutive(batch)] == [[3, 4], [7, 8, 9], [12]]


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (None, "None instead of q, r"),
        ([1.0], "1 values instead of 2"),
        (1.0, "1 values instead of 2"),
        ([1.0, float("nan")], "r is nan"),
        ([float("inf"), 0.0], "q is inf"),
        (["good", 0.0], "could not convert"),
        ([None, 0.0], "NoneType"),
    ],
)
def test_what_is_no_result_is_refused(returned: object, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        objective_values(returned, ["q", "r"])


def test_results_are_numbers_in_the_order_of_the_objectives() -> None:
    assert objective_values((1, 2.5), ["q", "r"]) == [1.0, 2.5]
    assert objective_values(3, ["q"]) == [3.0]
