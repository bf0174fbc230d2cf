"""Stage fidelity on four cases worked out on paper: what lands in the results table, number by number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from tests.by_hand import CASES, ITEM_IDS, Table, attribution, cases, measured_slowly
from xrec.data.cache import ArrayCache
from xrec.data.interactions import SplitInteractions
from xrec.errors import RunError
from xrec.rundir.directory import RunDirectory
from xrec.rundir.explanations import answer_rows, player_rows, write_explanations
from xrec.stages.cases import rules_of, save_cases
from xrec.stages.fidelity import fidelity
from xrec.stages.run import Done, Run
from xrec.types import Attribution, Catalogue

CUTOFFS = [1, 3, 10]
SHARES = ["0.1", "0.5"]
HIGHER = {"insertion", "neg_at_k", "comprehensiveness"}
LOWER = {"deletion", "cdcg", "pos_at_k", "sufficiency", "completeness_error"}
SETTINGS: dict[str, Any] = {
    "seed": 3,
    "model": {"name": "table"},
    "cases": {"part": "test", "chunk_size": 8, "mask_chunk": 5},
    "masker": {"_target_": "xrec.games.maskers.Zero"},
    "players": {"_target_": "xrec.games.players.Items"},
    "output": {"_target_": "xrec.games.outputs.Logit"},
    "fidelity": {
        "removal": {"_target_": "xrec.fidelity.rank.RankRemoval", "cutoffs": CUTOFFS},
        "score": {"_target_": "xrec.fidelity.score.ScoreRemoval"},
        "eraser": {"_target_": "xrec.fidelity.eraser.Eraser", "shares": [0.1, 0.5]},
        "axiomatic": {"_target_": "xrec.fidelity.axiomatic.Axiomatic"},
    },
}
#: explainer -> values of each draw and case
ANSWERS: dict[str, list[list[list[float]]]] = {
    "good": [[*(c.contributions for c in CASES[:3]), [0.25, -0.5]]],
    "chance": [
        [[-4, 1, 3, 2, 0.5, 7, 6, 5], [1, 2, 3], [5, 1, 2, 4, 3], [1, 2]],
        [[8, 3, 2, 1, 4, -5, 6, 7], [2, 1, 3], [1, 5, 3, 4, 2], [2, 1]],
        [[5, 2, 8, 7, 6, 1, 4, -3], [3, 1, 2], [1, 2, 6, 3, 4], [3, -1]],
    ],
    "bad": [[[-v for v in c.contributions] for c in CASES[:3]] + [[-0.25, 0.5]]],
}


def answers() -> list[Attribution]:
    control: dict[str, Any] = {"role": "control", "complete": False, "reference": True}
    return [
        attribution(values, explainer=name, draw=draw, **(control if name == "chance" else {}))
        for name, draws in ANSWERS.items()
        for draw, values in enumerate(draws)
    ]


def dataset() -> SplitInteractions:
    """The histories on paper as events of period 1; period 2 is the test part, in which everybody buys item 0."""
    events = [(user, item, 1) for user, case in enumerate(CASES) for item in case.history]
    events = sorted([*events, *((user, 0, 2) for user in range(len(CASES)))])
    user, item, time_ = (np.array(c, dtype=np.int32) for c in zip(*events, strict=True))
    return SplitInteractions(
        user=user,
        item=item,
        time=time_,
        strength=np.ones(len(user), dtype=np.float32),
        kind=np.zeros(len(user), dtype=np.uint8),
        catalogue=Catalogue(ITEM_IDS, ITEM_IDS, (), tuple(f"u{n}" for n in range(len(CASES)))),
        train_end=1,
        parts={"test": (2, 2), "validation": (2, 2)},
        fingerprint="by hand",
        card={"name": "paper", "split": {"name": "temporal"}},
    )


@pytest.fixture
def measure(tmp_path: Path) -> Callable[..., Done]:
    """Stage fidelity on saved answers, with some settings changed."""

    def make(given: list[Attribution], lost: str | None = None, **changes: Any) -> Done:
        config = OmegaConf.merge(SETTINGS, changes.pop("config", {}))
        for name in changes.pop("without", ()):
            del config.fidelity[name]
        directory = tmp_path / f"run {len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        tracker = cast(Any, SimpleNamespace())
        run = Run(config, RunDirectory(directory), tracker, dataset(), ArrayCache(tmp_path), torch.device("cpu"))
        save_cases(run, changes.pop("cases", list(cases())), rules_of(run))
        if given:
            players, about = (pl.concat([rows(a) for a in given]) for rows in (player_rows, answer_rows))
            write_explanations(directory, players, about)
        if lost is not None:
            (directory / lost).unlink()
        return fidelity(run, Table())

    return make


def frame(done: Done) -> pl.DataFrame:
    return pl.concat([rows.frame() for rows in done.rows])


def slowly(values: list[list[float]], complete: bool) -> list[dict]:
    return [measured_slowly(c, v, CUTOFFS, SHARES, complete) for c, v in zip(CASES, values, strict=True)]


def wanted() -> dict[tuple, float]:
    """(explainer, role, metric, variant, k, step, case) -> value, without cases that are left out."""
    draws = {name: [slowly(v, name != "chance") for v in values] for name, values in ANSWERS.items()}
    found: dict[tuple, float] = {}
    for row, case in enumerate(CASES):
        chance = [draw[row] for draw in draws["chance"]]
        mean_deletion = sum(d["deletion", None, None, None] for d in chance) / 3
        measured = {
            ("good", "explainer"): draws["good"][0][row],
            ("bad", "explainer"): draws["bad"][0][row],
            ("chance", "control"): {key: sum(d[key] for d in chance) / 3 for key in chance[0]},
            ("chance_best_of_3", "oracle"): {
                key: (max if key[0] in HIGHER else min)(d[key] for d in chance)
                for key in chance[0]
                if key[0] != "sparsity" and key[1] != "curve"
            },
        }
        for who, values in measured.items():
            found |= {(*who, *key, row): value for key, value in values.items() if not math.isnan(value)}
            if who[0] != "chance" and case.effect != 0:
                gain = mean_deletion - values["deletion", None, None, None]
                found[*who, "removal_gain", None, None, None, row] = gain / abs(case.effect)
    return found


def values_of(rows: pl.DataFrame) -> dict[tuple, float]:
    columns = ("explainer", "role", "metric", "variant", "k", "step", "user", "value")
    measured = rows.filter(pl.col("user").is_not_null()).select(columns)
    found = {(*row[:-2], int(row[-2][1:])): row[-1] for row in measured.iter_rows()}
    assert len(found) == measured.height, "two rows of one value"
    return found


@pytest.mark.parametrize("chunk_size", [1, 3, 8])
def test_every_row_of_every_explainer_is_that_of_the_slow_loops(measure, chunk_size: int) -> None:
    found = values_of(frame(measure(answers(), config={"cases": {"chunk_size": chunk_size}})))
    expected = wanted()
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_removal_gain_by_hand(measure) -> None:
    """The second case, whose history takes .5 from the score: a gain is a gain whatever the sign of the effect."""
    found = frame(measure(answers())).filter(pl.col("metric") == "removal_gain")
    gains = dict(found.filter(pl.col("user") == "u1").select("explainer", "value").iter_rows())
    left = {"good": -8.0, "bad": (-3.0 - 2.0) / 2}
    # draw 1 removes 20, 13: -3, -6; draw 2 removes 20, 2: -3, -2; draw 3 removes 2, 20: -4.5, -2
    chance = [(-3 - 6) / 2, (-3 - 2) / 2, (-4.5 - 2) / 2]
    gain = {name: (sum(chance) / 3 - deletion) / 0.5 for name, deletion in left.items()}
    assert gains == pytest.approx(gain | {"chance_best_of_3": (sum(chance) / 3 - min(chance)) / 0.5})
    assert gains["good"] > 0 > gains["bad"]
    assert found["direction"].unique().to_list() == ["higher"]


def test_best_of_n_is_the_best_draw_of_each_case_and_metric_in_its_own_direction(measure) -> None:
    found = values_of(frame(measure(answers())))
    single = [values_of(frame(measure([replace(a, draw=0)]))) for a in answers() if a.explainer == "chance"]
    assert all(("chance_best_of_3", "oracle", *key[2:]) not in one for one in single for key in one)
    for key, best in found.items():
        if key[:2] == ("chance_best_of_3", "oracle") and key[2] != "removal_gain":
            draws = [one["chance", "control", *key[2:]] for one in single]
            assert best == (max(draws) if key[2] in HIGHER else min(draws))
    metrics = {key[2] for key in found if key[0] == "chance_best_of_3"}
    assert metrics == (HIGHER | LOWER | {"removal_gain"}) - {"completeness_error"}


def test_rows_say_which_case_they_are_of_and_which_way_is_better(measure) -> None:
    rows = frame(measure(answers()))
    measured = rows.filter(pl.col("user").is_not_null())
    of_case = measured.select("user", "item", "group", "few").unique().sort("user").rows()
    assert of_case == [(c.user_id, c.item_id, c.group, c.few) for c in cases()]
    directions = dict(measured.select("metric", "direction").unique().iter_rows())
    both = dict.fromkeys(HIGHER | {"removal_gain"}, "higher") | dict.fromkeys(LOWER, "lower")
    assert directions == both | {"sparsity": None}
    same = {"data": "paper", "split": "temporal", "part": "test", "model": "table", "seed": 3, "stage": "fidelity"}
    same |= {"masker": "zero", "players": "items", "output": "logit"}
    assert [dict(zip(same, row, strict=True)) for row in rows.select(*same).unique().iter_rows()] == [same]


def test_what_is_left_out_is_counted_by_group_and_few(measure) -> None:
    """The case without effect is there twice."""
    on_paper = (*CASES, CASES[3])
    twice = [*cases(), replace(cases()[3], index=4)]
    given = replace(attribution(on_paper=on_paper), cases=tuple(twice))
    rows = frame(measure([given], cases=twice, config={"cases": {"chunk_size": 1}}))
    counts = rows.filter(pl.col("user").is_null()).select("metric", "group", "few", "step", "value")
    found = {row[:-1]: row[-1] for row in counts.iter_rows()}
    assert len(found) == counts.height
    left_out = {("new", False): [0, 0, 0, 0, 0], ("new", True): [0, 2, 3, 3, 3], ("repeat", False): [0, 0, 0, 0, 1]}
    expected = {("n_left_out", *g, n): c for g, numbers in left_out.items() for n, c in enumerate(numbers, start=1)}
    flagged = {("new", False): 0, ("new", True): 2, ("repeat", False): 0}
    assert found == expected | {("n_flagged", *g, None): n for g, n in flagged.items()}


def test_without_a_reference_or_without_deletion_there_is_no_removal_gain(measure) -> None:
    unreferenced = [replace(a, reference=False) for a in answers()]
    for rows in (frame(measure(unreferenced)), frame(measure(answers(), without=["score"]))):
        assert rows.height > 0 and "removal_gain" not in rows["metric"].to_list()


@pytest.mark.parametrize("order", [1, -1])
def test_the_reference_is_the_explainer_that_declares_it_wherever_it_stands(measure, order: int) -> None:
    assert measure(answers()[::order]).reference == "chance"
    assert measure([a for a in answers() if a.explainer != "chance"]).reference is None


def test_two_draws_are_enough_for_a_best_of_them_and_one_is_not(measure) -> None:
    some = [a for a in answers() if a.draw < 2]
    names = frame(measure(some))["explainer"].drop_nulls().unique().sort().to_list()
    assert names == ["bad", "chance", "chance_best_of_2", "good"]


def test_without_a_metric_cases_are_still_counted(measure) -> None:
    rows = frame(measure(answers(), config={"fidelity": None}))
    assert set(rows["metric"]) == {"n_flagged", "n_left_out"}


def test_rows_are_of_the_part_of_the_saved_cases(measure) -> None:
    other = tuple(replace(c, part="validation") for c in cases()[:1])
    given = replace(attribution(on_paper=CASES[:1]), cases=other)
    assert set(frame(measure([given], cases=list(other)))["part"]) == {"validation"}


def test_metrics_are_declared_in_the_order_of_the_tables(measure) -> None:
    metrics = measure(answers()).rows[0].metrics
    headline = {name for name, metric in metrics.items() if metric.headline}
    assert headline == {"deletion", "insertion", "comprehensiveness", "sufficiency", "removal_gain"}
    declared = list(metrics)
    scores = ["deletion", "insertion", "comprehensiveness", "sufficiency", "removal_gain", "n_flagged", "n_left_out"]
    assert declared == [*scores, "cdcg", "pos_at_k", "neg_at_k", "completeness_error", "sparsity"]


def test_ties_are_broken_by_a_seed_of_the_case_and_the_run(measure) -> None:
    tied = [attribution([[0.0] * len(c.history) for c in CASES])]
    one, again, other = (frame(measure(tied, config={"seed": seed})).drop("seed") for seed in (3, 3, 4))
    assert one.equals(again) and not one.equals(other)
    apart = frame(measure(tied, config={"cases": {"chunk_size": 1}})).drop("seed")
    assert values_of(apart) == pytest.approx(values_of(one))


def test_two_cases_of_one_history_break_ties_each_in_its_own_way(measure) -> None:
    twice = (cases()[0], replace(cases()[0], index=1, group="repeat"))
    tied = replace(attribution([[0.0] * 8] * 2, (CASES[0],) * 2), cases=twice)
    rows = frame(measure([tied], cases=list(twice))).filter(pl.col("metric") == "deletion")
    one, two = (rows.filter(pl.col("group") == group)["value"].to_list() for group in ("new", "repeat"))
    assert len(one) == len(two) > 0 and one != two


def test_explanations_of_other_histories_are_refused(measure) -> None:
    given = answers()[0]
    swapped = (*given.player_ids[:2], given.player_ids[2][::-1], given.player_ids[3])
    with pytest.raises(RunError, match=r"case 2 \(user u2\): the saved players are not those of this history"):
        measure([replace(given, player_ids=swapped)])


def test_cases_without_explanations_name_the_stage_to_run_first(measure) -> None:
    with pytest.raises(RunError, match=r"attributions.parquet is missing: run the stage explain"):
        measure([])


@pytest.mark.parametrize("name", ["attributions.parquet", "explanations.parquet"])
def test_one_of_the_two_files_is_not_enough(measure, name: str) -> None:
    with pytest.raises(RunError, match=f"{name} is missing: run the stage explain with at least one explainer first"):
        measure(answers(), lost=name)


def test_without_a_case_there_is_nothing_to_measure(measure) -> None:
    done = measure([], cases=[])
    assert frame(done).height == 0 and done.reference is None
