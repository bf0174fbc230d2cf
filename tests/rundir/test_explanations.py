"""Explanations on disk: an attribution comes back as it was, and files that do not belong together are refused."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.by_hand import OnPaper, attribution
from xrec.errors import RunError
from xrec.rundir.explanations import (
    ANSWERS,
    ATTRIBUTIONS,
    EXPLANATIONS,
    PLAYERS,
    Explanations,
    answer_rows,
    player_rows,
    write_explanations,
)
from xrec.types import Attribution, Case, Outcome

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=4)


@st.composite
def runs(draw) -> list[Attribution]:
    """Several draws of several explainers for the same cases, whose numbers come in any order."""
    n_cases = draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(1, 5), min_size=n_cases, max_size=n_cases))
    numbers = draw(st.lists(st.integers(0, 99), min_size=n_cases, max_size=n_cases, unique=True))
    cases = tuple(Case(i, "test", i, (7,), "new", 1, f"u{i}", ("i7",)) for i in numbers)
    players = tuple(
        tuple(draw(st.lists(NAME, min_size=n, max_size=n, unique=True))) for n in lengths
    )  # not in the order of their names
    there = np.arange(max(lengths)) < np.array(lengths)[:, None]

    def per_case(elements, dtype=np.float64) -> np.ndarray:
        return draw(arrays.arrays(dtype, n_cases, elements=elements))

    def per_player(elements) -> np.ndarray:
        return np.where(there, draw(arrays.arrays(np.float64, there.shape, elements=elements)), np.nan)

    def errors() -> np.ndarray:
        """Not estimated for every player, but for some."""
        table = per_player(st.floats(0, 9) | st.just(np.nan))
        table[draw(st.integers(0, n_cases - 1)), 0] = 0.25
        return table

    def answer(explainer: str, number: int) -> Attribution:
        return Attribution(
            explainer=explainer,
            draw=number,
            role=draw(st.sampled_from(["explainer", "control", "oracle"])),
            cases=cases,
            player_ids=players,
            values=per_player(NUMBER),
            output=draw(NAME),
            masker=draw(NAME),
            players=draw(NAME),
            signed=draw(st.booleans()),
            complete=draw(st.booleans()),
            f_x=per_case(NUMBER),
            f_empty=per_case(NUMBER),
            n_forwards=per_case(st.integers(0, 2**62), np.int64),
            seconds=per_case(st.floats(0, 1e6)),
            reference=draw(st.booleans()),
            standard_error=draw(st.sampled_from([None, errors()])),
            selected=draw(st.sampled_from([None, draw(arrays.arrays(np.bool_, there.shape)) & there])),
            outcome=draw(st.none() | st.tuples(*[st.sampled_from(get_args(Outcome))] * n_cases)),
        )

    names = draw(st.lists(NAME, min_size=1, max_size=3, unique=True))
    return [answer(name, number) for name in names for number in draw(st.sampled_from([[0], [0, 1, 2], [4, 3]]))]


def same(found: Attribution, saved: Attribution) -> None:
    for name in (f.name for f in fields(Attribution)):
        mine, other = getattr(found, name), getattr(saved, name)
        if isinstance(other, np.ndarray):
            assert mine.dtype == other.dtype, name
            np.testing.assert_array_equal(mine, other, err_msg=name)
            np.testing.assert_array_equal(np.signbit(mine), np.signbit(other), err_msg=name)
        else:
            assert mine == other and type(mine) is type(other), name


def rows(saved: list[Attribution]) -> tuple[pl.DataFrame, pl.DataFrame]:
    return pl.concat([player_rows(a) for a in saved]), pl.concat([answer_rows(a) for a in saved])


def read(folder: Path) -> Explanations:
    return Explanations(pl.read_parquet(folder / ATTRIBUTIONS), pl.read_parquet(folder / EXPLANATIONS))


@given(runs())
def test_an_attribution_comes_back_from_disk_as_it_was(tmp_path, saved: list[Attribution]) -> None:
    assert write_explanations(tmp_path, *rows(saved)) == [ATTRIBUTIONS, EXPLANATIONS]
    found = read(tmp_path)
    assert found.names() == list(dict.fromkeys(a.explainer for a in saved))
    for name in found.names():
        assert found.draws(name) == sorted(a.draw for a in saved if a.explainer == name)
    for one in saved:
        same(found.attribution(one.explainer, one.draw, one.cases), one)


@given(runs(), st.data())
def test_any_of_the_cases_come_back_in_any_order(saved: list[Attribution], data) -> None:
    found = Explanations(*rows(saved))
    for one in saved:
        order = data.draw(st.permutations(range(len(one.cases))))[: data.draw(st.integers(1, len(one.cases)))]
        width = int(one.n_players[order].max())
        few = {name: getattr(one, name)[order] for name in ("f_x", "f_empty", "n_forwards", "seconds")}
        for name in ("values", "standard_error", "selected"):
            table = getattr(one, name)
            few[name] = None if table is None else table[order, :width]
        if few["standard_error"] is not None and np.isnan(few["standard_error"]).all():
            few["standard_error"] = None  # estimated for other cases only
        few["outcome"] = None if one.outcome is None else tuple(one.outcome[i] for i in order)
        cases, players = (tuple(column[i] for i in order) for column in (one.cases, one.player_ids))
        same(found.attribution(one.explainer, one.draw, cases), replace(one, cases=cases, player_ids=players, **few))


def test_runs_from_before_there_were_outcomes_are_read() -> None:
    players, answers = rows([attribution()])
    found = Explanations(players, answers.drop("outcome"))
    same(found.attribution("by_hand", 0, attribution().cases), attribution())


def test_rows_are_those_of_the_players_with_columns_beside_them() -> None:
    saved = replace(attribution(), draw=2, standard_error=np.where(np.arange(8) == 1, np.nan, 0.5) * np.ones((4, 1)))
    frame = player_rows(saved, age=range(18))
    assert dict(frame.schema) == {**PLAYERS, "age": pl.Int64}
    assert frame["case"].to_list() == [0] * 8 + [1] * 3 + [2] * 5 + [3] * 2
    assert frame["player"].to_list()[8:11] == ["i2", "i13", "i20"]
    assert frame["value"].to_list()[8:11] == [-1.0, 3.0, -2.5]
    assert frame["standard_error"].to_list()[8:11] == [0.5, None, 0.5]
    assert frame["age"].to_list() == list(range(18))
    assert set(frame["draw"]) == {2} and frame["selected"].null_count() == 18
    answers = answer_rows(saved)
    assert dict(answers.schema) == ANSWERS and answers["n_players"].to_list() == [8, 3, 5, 2]
    assert answers.height == 4


def damaged() -> dict[str, tuple[pl.DataFrame, pl.DataFrame]]:
    saved = [attribution(draw=draw) for draw in (0, 1)]
    players, answers = rows(saved)
    elsewhere = player_rows(replace(saved[0], explainer="other"))
    return {
        "a player is missing": (players.head(-1), answers),
        "a player is there twice": (pl.concat([players, players.tail(1)]), answers),
        "a draw is missing": (players.filter(pl.col("draw") == 0), answers),
        "a case is explained twice": (players, pl.concat([answers, answers.head(1)])),
        "an answer is missing": (players, answers.head(-1)),
        "an explainer has no answers": (pl.concat([players, elsewhere]), answers),
    }


@pytest.mark.parametrize("what", list(damaged()))
def test_files_that_do_not_fit_together_are_refused(what: str) -> None:
    with pytest.raises(RunError, match="attributions.parquet and explanations.parquet do not fit together: case"):
        Explanations(*damaged()[what])


def test_a_mismatch_names_the_case_and_both_numbers() -> None:
    players, answers = damaged()["a player is missing"]
    with pytest.raises(RunError, match=r"case 3 of by_hand \(draw 1\) has 1 players instead of 2; explain again"):
        Explanations(players, answers)
    _, answers = rows([attribution([[1.0]], (OnPaper((2,), 23),))])
    with pytest.raises(RunError, match=r"case 0 of by_hand \(draw 0\) has 0 players instead of 1"):
        Explanations(players.clear(), answers)


def test_a_case_that_was_not_explained_is_an_error() -> None:
    found = Explanations(*rows([attribution()]))
    strange = replace(attribution().cases[0], index=17)
    with pytest.raises(RunError, match=r"by_hand \(draw 0\) has no answer for cases \[17\]; explain again"):
        found.attribution("by_hand", 0, (attribution().cases[1], strange))
    with pytest.raises(RunError, match=r"by_hand \(draw 1\) has no answer for cases \[0, 1, 2, 3\]"):
        found.attribution("by_hand", 1, attribution().cases)
