"""Logs that nobody prepared: one command each, without a setting but where the file is and what its columns are."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.contracts.test_application import ROOT, execute, hashes
from tests.logs import write_baskets, write_orders, write_ratings
from tests.small_journey import SHORT
from xrec.stages.examine import ProblemsError

#: name of the log -> what writes it, and its columns
LOGS = {
    "baskets.csv": (write_baskets, "{user: customer, item: product, time: week}"),
    "orders.csv": (write_orders, "{user: client, item: article, time: order_date}"),
    "ratings.tsv": (write_ratings, "{user: user, item: item, time: null}"),
}
SPLITS = {"baskets.csv": "temporal", "orders.csv": "temporal", "ratings.tsv": "leave_last_out"}
#: what is said of each, in part
SAID = {
    "baskets.csv": ["split: temporal by share, times are period numbers (if they count each user's own events: split=",
                    "; train to 24, validation to 27, test to 30 (",
                    "training: windows [-12, -8, -3], horizon 3, monitor validation/ndcg_at_10/all",
                    "repeat: chosen (users have items again in training)",
                    "item encoder: embedding (items have no attributes that tell them apart)"],
    "orders.csv": ["temporal by share, weeks; train to 2024-05-26, validation to 2024-06-16, test to 2024-07-07 (",
                   "training: windows [-12, -8, -3], horizon 3, monitor validation/ndcg_at_10/all"],
    "ratings.tsv": ["split: leave-last-out, of each user the last event (times count each user's own events; if",
                    "training: windows [-1, -2, -3, -5, -9], horizon 1, monitor validation/ndcg_at_10/new",
                    "repeat: left out (no user has an item again in training)"],
}  # fmt: skip
FAST = ["cases.n_users=3", "training.epochs=1", "tracking=none", "threads=1"]


def script(log: Path, cache: Path, columns: str, *overrides: str) -> list[str]:
    run = [sys.executable, str(ROOT / "experiments" / "run.py"), "data=table", f"data.path={log}"]
    return [*run, f"data.source.columns={columns}", f"paths.cache={cache}", *overrides]


@pytest.mark.parametrize(
    "name",
    [
        "baskets.csv",
        pytest.param("orders.csv", marks=pytest.mark.slow),
        pytest.param("ratings.tsv", marks=pytest.mark.slow),
    ],
)
def test_it_runs_in_one_command(name: str, tmp_path: Path) -> None:
    write, columns = LOGS[name]
    run = tmp_path / "run"
    fast = FAST if name == "ratings.tsv" else [*FAST, *SHORT]
    done = execute(script(write(tmp_path / name), tmp_path / "cache", columns, *fast, f"hydra.run.dir={run}"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "report:" in done.stdout
    assert [line for line in SAID[name] if line not in done.stderr] == []
    results = pl.read_parquet(run / "results.parquet")
    assert results["split"].unique().to_list() == [SPLITS[name]]
    assert set(results["stage"]) >= {"fit", "rank", "explain", "fidelity"}
    ndcg = results.filter((pl.col("metric") == "ndcg") & (pl.col("k") == 10) & pl.col("component").is_null())
    assert set(ndcg["model"]) == {"composed", "popularity", "personal_frequency", "ease"}
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["split"]["_target_"].endswith({"temporal": "TemporalSplit"}.get(SPLITS[name], "LeaveLastOutSplit"))
    assert "auto" not in config["model"] and None not in (config["training"][k] for k in ("windows", "monitor"))
    if name == "ratings.tsv":
        _runs_again_from_what_it_saved(run, tmp_path, columns)


def _runs_again_from_what_it_saved(run: Path, tmp_path: Path, columns: str) -> None:
    """Done again without the cache, where what was found is remembered; and taken as a model by the same command."""
    shutil.rmtree(tmp_path / "cache")  # so that the rerun has nothing to remember what was found by
    again = execute([sys.executable, str(ROOT / "experiments" / "rerun.py"), str(run)], tmp_path)
    assert again.returncode == 0 and "identical" in again.stdout, again.stdout + again.stderr
    shared = ["stages=[rank]", "tracking=none", f"from_run={run}", f"hydra.run.dir={tmp_path / 'from'}"]
    third = execute(script(tmp_path / "ratings.tsv", tmp_path / "cache", columns, *shared), tmp_path)
    assert third.returncode == 0, third.stderr
    assert hashes(tmp_path / "from")[0] == hashes(run)[0]


def test_a_look_lists_every_problem_and_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("who,what,when,kind\n1,2,01/02/2024,buy\n2,3,02/02/2024,view\n")
    look = ["stages=[]", "data.source.kinds=[bye]", "device=cuda:7", "explainer.random.n_draws=0"]
    look += ["ranking.groups=[all,cold]", f"paths.runs={tmp_path / 'runs'}"]
    columns = "{user: who, item: what, time: when, kind: kind}"
    done = execute(script(log, tmp_path / "cache", columns, *look), tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for problem in (
        "6 problems:" if "no CUDA" in done.stderr else "problems:",
        "device=cuda:7: this machine",
        "explainer.random.n_draws must be from 1 to 10000, got 0",
        "ranking.groups names cold, but split auto has no cold items",
        "times such as '01/02/2024', '02/02/2024' can be read in several ways",
        "no row is of the kind 'bye'; did you mean 'buy'?",
    ):
        assert problem in done.stderr.replace("5 problems", "6 problems"), done.stderr
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("*"))
    assert not (tmp_path / "wandb").exists()


def test_a_look_at_a_sound_data_set_prints_its_card_and_leaves_nothing(tmp_path: Path) -> None:
    log, columns = write_orders(tmp_path / "orders.csv"), LOGS["orders.csv"][1]
    done = execute(script(log, tmp_path / "cache", columns, "stages=[]", f"paths.runs={tmp_path / 'runs'}"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "training repeat share" in done.stdout and "split: temporal by share, weeks" in done.stderr
    assert not list((tmp_path / "runs").rglob("*"))


def test_a_look_lists_arguments_that_an_option_does_not_take(configured: Callable[..., object]) -> None:
    from xrec import pipeline

    with pytest.raises(ProblemsError, match="split.foo: unknown argument") as found:
        pipeline.examine(configured("stages=[]", "+split.foo=3", "device=cuda:99"))  # type: ignore[arg-type]
    assert any("device=cuda:99" in problem for problem in found.value.problems)


def test_a_look_finds_what_only_the_data_tells(
    configured: Callable[..., object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from xrec import pipeline

    config = configured(
        "stages=[]", "training.windows=[42]", "cases.min_players=1000", "players=field", "players.field=shelf",
        "baselines.ease.regularization=-1", f"paths.runs={tmp_path / 'runs'}",
    )  # fmt: skip
    with pytest.raises(ProblemsError) as found:
        pipeline.examine(config)  # type: ignore[arg-type]
    said = "\n".join(found.value.problems)
    for problem in (
        "players.field: no item field 'shelf'",
        "regularization must be above 0, got -1",
        "the window at 42 with horizon 4 reaches period 45",
    ):
        assert problem in said, said
    assert len(found.value.problems) == len(set(found.value.problems))
    assert not (tmp_path / "runs").exists()
